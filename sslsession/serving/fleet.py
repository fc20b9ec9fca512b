"""Workers: this process, or forked ones on one port, which tell it of each connection and end when it does."""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import ssl
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Any, Callable, NoReturn

from sslsession.probing.failures import ProbeError, of_lookup, told
from sslsession.serving.worker import Tell, Worker

BACKLOG = 128
PIECE = 65536
READY = b" "
"""What a worker says first: it has closed the others' sockets, which would outlive them."""


def listen(host: str, port: int, workers: int) -> list[socket.socket]:
    """A socket for each worker on one port; 0: one that is free.

    On Linux, which spreads connections over them, they are as many sockets (SO_REUSEPORT); elsewhere one for all.
    Errors: :class:`SessionError`.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, ValueError) as error:
        raise of_lookup(host, error) from error
    try:
        # Alone at first: sockets with SO_REUSEPORT would share the port with another server's.
        found = [socket.create_server(address, family=family, backlog=BACKLOG)] * workers
        if workers > 1 and sys.platform == "linux":
            address = found[0].getsockname()
            found[0].close()
            found = []
            for _ in range(workers):
                found.append(socket.create_server(address, family=family, backlog=BACKLOG, reuse_port=True))
    except OSError as error:
        raise ProbeError(f"port {port} of {host} cannot be listened on: {told(error)}") from error
    for each in found:
        each.setblocking(False)
    return found


class Fleet:
    """Workers, and what ends them: the function ``end``, SIGINT or SIGTERM, and the end of this process."""

    def __init__(
        self, context: ssl.SSLContext, protocol: str, at_end: Callable[[], object], *, early: bool = False
    ) -> None:
        """at_end: called in each worker when it ends. early: whether early data is read."""
        self._early = early
        self.signal = 0
        """The signal that ended it; 0: none did."""
        self._context, self._protocol, self._at_end = context, protocol, at_end
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._workers: dict[int, int] = {}

    def end(self, number: int = 0, _: Any = None) -> None:
        """Ends all workers; also a handler of signals."""
        self.signal = self.signal or number
        signal.set_wakeup_fd(-1)
        self._ours.close()

    @property
    def ending(self) -> bool:
        """Whether workers are to end."""
        return self._ours.fileno() < 0

    def run(
        self,
        listeners: Sequence[socket.socket],
        begun: Callable[[list[int]], object],
        tell: Tell,
        died: Callable[[int, int], object],
    ) -> None:
        """Serves until the end.

        ``begun`` gets the workers' process ids, ``tell`` what :class:`Worker` tells, ``died`` the number and the exit
        status, negative for a signal, of a worker that ended before its time.
        """
        before = [(each, signal.signal(each, self.end)) for each in (signal.SIGINT, signal.SIGTERM)]
        try:
            if len(listeners) == 1:
                signal.set_wakeup_fd(self._ours.fileno())  # on Windows nothing else ends a select()
                begun([os.getpid()])
                self._work(1, listeners[0], tell)
            else:
                self._fork(listeners, begun, tell, died)
        finally:
            self.end()
            self._theirs.close()
            for each in listeners:
                each.close()
            for pid in self._workers.values():
                os.waitpid(pid, 0)
            for number, handler in before:
                signal.signal(number, handler)

    def _work(self, number: int, listener: socket.socket, tell: Tell) -> None:
        try:
            Worker(self._context, listener, self._theirs, number, tell, self._protocol, self._early).run()
        finally:
            self._at_end()

    def _fork(
        self,
        listeners: Sequence[socket.socket],
        begun: Callable[[list[int]], object],
        tell: Tell,
        died: Callable[[int, int], object],
    ) -> None:
        with selectors.DefaultSelector() as selector:
            for number, listener in enumerate(listeners, 1):
                ours, theirs = os.pipe()
                with warnings.catch_warnings():
                    # 3.12 warns of the library's thread, which starts anew in a child.
                    warnings.simplefilter("ignore", DeprecationWarning)
                    pid = os.fork()
                if not pid:
                    self._child(number, listener, listeners, theirs)
                os.close(theirs)
                self._workers[number] = pid
                selector.register(ours, selectors.EVENT_READ, number)
            for each in listeners:
                each.close()  # or a dead worker's would go on taking connections
            for key in selector.get_map().values():
                os.read(key.fd, len(READY))
            begun(list(self._workers.values()))
            rests = dict.fromkeys(self._workers, b"")
            while selector.get_map():
                for key, _ in selector.select():
                    data = os.read(key.fd, PIECE)
                    *lines, rests[key.data] = (rests[key.data] + data).split(b"\n")
                    for line in lines:
                        tell(json.loads(line))
                    if not data:
                        selector.unregister(key.fd)
                        os.close(key.fd)
                        _, status = os.waitpid(self._workers.pop(key.data), 0)
                        if not self.ending:
                            died(key.data, os.waitstatus_to_exitcode(status))

    def _child(
        self, number: int, listener: socket.socket, listeners: Sequence[socket.socket], told: int
    ) -> NoReturn:
        status = 1
        try:
            for each in (signal.SIGINT, signal.SIGTERM):
                signal.signal(each, signal.SIG_IGN)  # the parent hears them too
            self._ours.close()
            for other in listeners:
                if other is not listener:
                    other.close()
            os.write(told, READY)
            self._work(number, listener, lambda record: os.write(told, json.dumps(record).encode() + b"\n"))
            status = 0
        except BrokenPipeError:  # the parent is gone
            pass
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
