"""Other programs, run to their end or kept running, and always reaped."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import IO

import pytest

SYSTEM_DIRECTORIES = ("/usr/sbin", "/usr/local/sbin", "/sbin")


def which(program: str) -> str | None:
    """Where `program` is, looking also where daemons are kept."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *SYSTEM_DIRECTORIES])
    return shutil.which(program, path=path)


def find_program(program: str) -> str:
    """Where `program` is; FileNotFoundError if it is nowhere."""
    found = which(program)
    if found is None:
        raise FileNotFoundError(f"{program} is not installed")
    return found


def require(program: str) -> str:
    """Where `program` is; without it the test is skipped, or fails where CI=true."""
    found = which(program)
    if found is not None:
        return found
    if os.environ.get("CI") == "true":
        pytest.fail(f"{program} is not installed, and CI must have it")
    pytest.skip(f"{program} is not installed")


def run(*argv: str | Path, stdin: str = "", timeout: float = 60) -> str:
    """Run to the end; its stdout, or AssertionError with all it said if it fails."""
    done = subprocess.run(
        list(map(str, argv)),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode:
        command = " ".join(map(str, argv))
        raise AssertionError(f"{command}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def free_port() -> int:
    """A port of 127.0.0.1 that was free just now; another process may yet take it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Process:
    """A running program whose stdout and stderr are gathered, in one, as they come.

    Leaving the `with` block ends it: SIGTERM, then SIGKILL after `grace` seconds.
    """

    def __init__(
        self,
        *argv: str | Path,
        cwd: Path | None = None,
        env: dict[str, str] | None = None,
        grace: float = 5,
    ) -> None:
        self.argv = list(map(str, argv))
        self._grace = grace
        self._said = bytearray()
        self._news = threading.Condition()
        self._ended = False
        self._popen = subprocess.Popen(
            self.argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=None if env is None else {**os.environ, **env},
        )
        assert self._popen.stdout is not None
        self._reader = threading.Thread(target=self._read, args=[self._popen.stdout])
        self._reader.start()

    def _read(self, stdout: IO[bytes]) -> None:
        while True:
            piece = os.read(stdout.fileno(), 65536)
            with self._news:
                self._said += piece
                self._ended = not piece
                self._news.notify_all()
            if not piece:
                return

    @property
    def output(self) -> str:
        """All it said so far."""
        with self._news:
            return self._said.decode(errors="replace")

    @property
    def returncode(self) -> int | None:
        """Its status, negative for a signal; None while it runs."""
        return self._popen.poll()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    def send(self, data: bytes) -> None:
        """Write to its stdin; nothing happens if it has gone."""
        assert self._popen.stdin is not None
        try:
            self._popen.stdin.write(data)
            self._popen.stdin.flush()
        except OSError:
            return

    def find(self, pattern: str, timeout: float = 10) -> re.Match[str] | None:
        """Wait until it has said `pattern` (a regex); None if it closed first.

        AssertionError after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        with self._news:
            while True:
                match = re.search(pattern, self._said.decode(errors="replace"))
                if match or self._ended:
                    return match
                if not self._news.wait(deadline - time.monotonic()):
                    raise self.error(f"did not say {pattern!r} in {timeout} s")

    def expect(self, pattern: str, timeout: float = 10) -> re.Match[str]:
        """Wait until it has said `pattern` (a regex); AssertionError if it did not."""
        match = self.find(pattern, timeout)
        if match is None:
            raise self.error(f"ended without saying {pattern!r}")
        return match

    def accepts(self, port: int, timeout: float = 10) -> bool:
        """Wait until 127.0.0.1:`port` takes connections; False if it ended first."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.ends(0.005):
                return False
            try:
                with socket.create_connection(("127.0.0.1", port), 1):
                    return not self.ends(0)
            except OSError:
                continue
        raise self.error(f"took no connection on port {port} in {timeout} s")

    def ends(self, timeout: float) -> bool:
        """Whether it has ended by itself within `timeout` seconds."""
        try:
            self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self) -> None:
        """End it, wait for it, and read what it still said."""
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        if self._popen.poll() is None:
            self._popen.terminate()
            if not self.ends(self._grace):
                self._popen.kill()
        self._popen.wait()
        self._reader.join()
        with contextlib.suppress(OSError):
            self._popen.stdin.close()
        self._popen.stdout.close()

    def error(self, why: str) -> AssertionError:
        """An error to raise that says `why`, the command and its output."""
        return AssertionError(f"{' '.join(self.argv)}: {why}\n{self.output}")

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        if error is not None:
            print(f"{' '.join(self.argv)} said:\n{self.output}")
