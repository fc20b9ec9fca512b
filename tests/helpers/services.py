"""Daemons on loopback for the recipes: started in a directory of their own, and asked what they logged."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from helpers.certs import Identity
from helpers.processes import Process, find_program, free_port

Configure = Callable[[Path, Sequence[int]], Sequence["str | Path"]]
"""Writes the configuration for a directory and its ports; returns the command."""
CERTIFICATE, KEY = "server.pem", "server.key"
OPENSSL_LIMIT = """\
openssl_conf = all
[all]
ssl_conf = settings
[settings]
system_default = limits
[limits]
MinProtocol = TLSv{version}
MaxProtocol = TLSv{version}
"""


@dataclass(frozen=True)
class Service:
    """A daemon that runs: its ports on 127.0.0.1, its process, its directory, its log file if it has one."""

    ports: tuple[int, ...]
    process: Process
    directory: Path
    log_file: str | None

    @property
    def port(self) -> int:
        """The first of its ports."""
        return self.ports[0]

    @property
    def log(self) -> str:
        """All it said so far, and its log file."""
        kept = self.directory / self.log_file if self.log_file else None
        return self.process.output + (kept.read_text() if kept is not None and kept.exists() else "")

    def logged(self, pattern: str, count: int, timeout: float = 10) -> list[str]:
        """The matches of `pattern` in its log as soon as there are `count`; AssertionError if there never are."""
        deadline = time.monotonic() + timeout
        while len(found := re.findall(pattern, self.log)) < count:
            if self.process.ends(0.01) or time.monotonic() > deadline:
                raise self.process.error(f"logged {pattern!r} {len(found)} times, not {count}\n{self.log}")
        return found


@contextmanager
def service(
    configure: Configure,
    identity: Identity,
    *,
    ports: int = 1,
    account: Account | None = None,
    log_file: str | None = None,
    openssl_version: str | None = None,
) -> Iterator[Service]:
    """Runs a daemon that `configure` sets up; its key and certificate are `KEY` and `CERTIFICATE` in its directory.

    account: whom it runs as, and who owns the directory, if this is root. openssl_version: "1.2" or "1.3" for a daemon
    whose own settings cannot say so: OpenSSL's configuration file does.
    """
    with ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="service-"))
        directory = Path(name)
        shutil.copy(identity.cert_pem_path, directory / CERTIFICATE)
        shutil.copy(identity.key_path, directory / KEY)
        env = {}
        if openssl_version is not None:
            (directory / "openssl.cnf").write_text(OPENSSL_LIMIT.format(version=openssl_version))
            env["OPENSSL_CONF"] = str(directory / "openssl.cnf")
        for _ in range(5):
            chosen = tuple(free_port() for _ in range(ports))
            argv = list(configure(directory, chosen))
            if account is not None and os.geteuid() == 0:
                give(directory, account)
                become = (f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups")
                argv = [find_program("setpriv"), *become, *argv]
            with Process(*argv, cwd=directory, env=env) as process:
                running = Service(chosen, process, directory, log_file)
                if all(process.accepts(port) for port in chosen):
                    try:
                        yield running
                    except BaseException:
                        print(f"{argv} logged:\n{running.log}")
                        raise
                    return
            if not re.search("already in use|could not bind|cannot bind", running.log, re.IGNORECASE):
                break
        raise AssertionError(f"{argv} did not start\n{running.log}")


class Account(NamedTuple):
    """Whom a daemon runs as."""

    user: str
    group: str
    uid: int
    gid: int


def account(user: str | None = None) -> Account:
    """Of `user`; without a name, of one that a daemon accepts: nobody if this is root, else this user."""
    import grp  # POSIX only, and every test module must be importable everywhere
    import pwd

    if user is None:
        user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    entry = pwd.getpwnam(user)
    return Account(user, grp.getgrgid(entry.pw_gid).gr_name, entry.pw_uid, entry.pw_gid)


def give(directory: Path, to: Account) -> None:
    """Make the directory, and all that is in it, belong to the account."""
    for path in (directory, *directory.rglob("*")):
        os.chown(path, to.uid, to.gid)
