"""Real redis-server and memcached on loopback, and what tests of stores need beside them."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from helpers.processes import Process, free_port, require

SECRET = "a secret of the tests, which has enough bytes"
OTHER_SECRET = "another secret of theirs, that is long enough too"
# Machines that run tests are slow at times; what is late is tested with less.
PATIENT = 20.0

_prefixes = itertools.count()


@dataclass(frozen=True)
class Server:
    """A server that runs: its port on 127.0.0.1 and its process."""

    port: int
    process: Process

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"


def new_prefix() -> str:
    """A prefix that no other test uses."""
    return f"test {next(_prefixes)}*:".replace(" ", "-")


@contextmanager
def redis_server(*options: str | Path, port: int | None = None) -> Iterator[Server]:
    """redis-server without persistence, on `port` or on one that is free."""
    program = require("redis-server")
    with tempfile.TemporaryDirectory(prefix="redis-") as directory:
        for _ in range(5):
            used = port or free_port()
            argv = [
                *(program, "--port", str(used), "--bind", "127.0.0.1", "--dir", directory),
                *("--save", "", "--appendonly", "no", "--daemonize", "no", *options),
            ]
            with Process(*argv) as process:
                if process.find(r"Ready to accept connections"):
                    yield Server(used, process)
                    return
                said = process.output
            if "Address already in use" not in said or port:
                break
        raise AssertionError(f"redis-server did not start\n{said}")


@contextmanager
def memcached(*options: str, port: int | None = None) -> Iterator[Server]:
    """memcached on `port` or on one that is free."""
    program = require("memcached")
    for _ in range(5):
        used = port or free_port()
        argv = [program, "-p", str(used), "-U", "0", "-l", "127.0.0.1", "-u", "nobody", "-c", "256", *options]
        with Process(*argv) as process:
            if process.accepts(used):
                yield Server(used, process)
                return
            said = process.output
        if "in use" not in said or port:
            break
    raise AssertionError(f"memcached did not start\n{said}")
