"""docs/recipes/pyftpdlib.md: logins and transfers of a client of plain ssl, at four processes."""

from __future__ import annotations

import ftplib
import io
import re
import ssl
from functools import partial
from pathlib import Path

from helpers.certs import Authority, Identity
from helpers.recipes import needs, programs
from helpers.stores import PATIENT
from helpers.visitors import KINDS, Answer, Visitor, at_once, workers

(PROGRAM,) = programs("pyftpdlib")
TOLD = re.compile(r"^worker \d+, resumed: (True|False)$", re.MULTILINE)


class PlainFTP(ftplib.FTP_TLS):
    """ftplib with what it lacks: the session of the last login is offered, and its own for data connections."""

    session: ssl.SSLSession | None = None
    transfers: tuple[bool, ...] = ()

    def auth(self) -> str:
        """As ftplib's, but for the session."""
        answer = self.voidcmd("AUTH TLS")
        at_once(self.sock)
        self.sock = self.context.wrap_socket(self.sock, server_hostname="localhost", session=self.session)
        self.file = self.sock.makefile(mode="r", encoding=self.encoding)
        return answer

    def ntransfercmd(self, cmd: str, rest: int | None = None) -> tuple[ssl.SSLSocket, int | None]:
        """As ftplib's, but for the session."""
        conn, size = ftplib.FTP.ntransfercmd(self, cmd, rest)  # noqa: S321
        at_once(conn)
        conn = self.context.wrap_socket(conn, server_hostname="localhost", session=self.sock.session)
        self.transfers += (bool(conn.session_reused),)
        return conn, size


class Login(Visitor):
    """A visit is a login that lists and downloads."""

    def come(self, port: int) -> Answer:
        """Once. Errors: ``ConnectionRefusedError`` where nobody listens."""
        with PlainFTP(context=self.context, timeout=20) as ftp:
            ftp.session = self.session
            worker = int(ftp.connect("127.0.0.1", port).split()[-1])
            ftp.login()
            ftp.prot_p()
            assert ftp.nlst() == ["serve.py"]
            got = io.BytesIO()
            ftp.retrbinary("RETR serve.py", got.write)
            assert b"pyftpdlib" in got.getvalue()
            assert ftp.transfers == (True, True)
            self.session = ftp.sock.session
            answer = Answer(worker, "", bool(ftp.sock.session_reused))
            ftp.quit()
        return answer


def test_any_process_resumes_what_any_made(ca: Authority, server_identity: Identity, tmp_path: Path):
    needs(PROGRAM)
    store = f"sqlite://{tmp_path}/own/tls.db?timeout={PATIENT:.0f}"
    run = partial(
        workers, identity=server_identity, store=store, visitor=partial(Login, ca, "1.3"), expected=4
    )
    with run(PROGRAM.without_added) as plain:
        for kind in KINDS:
            answers = Login(ca, kind).visit(plain)
            pairs = zip(answers, answers[1:])
            assert [each.resumed for each in answers[1:]] == [one.worker == two.worker for one, two in pairs]

    logins = {kind: Login(ca, kind) for kind in KINDS}
    count = 1  # the login that found the server ready
    with run(PROGRAM.code) as found:
        for kind, login in logins.items():
            answers = login.visit(found)
            assert [each.resumed for each in answers] == [False] + [True] * (len(answers) - 1), kind
            count += len(answers)
    told = TOLD.findall(found.output)
    assert len(told) == 3 * count
    assert told.count("False") == 1 + len(KINDS)
    assert re.sub(r"\d+", "N", PROGRAM.output).splitlines() == [
        f"worker N, resumed: {how}" for how in ("False", "True", "True")
    ]
    with run(PROGRAM.code) as anew:
        for kind, login in logins.items():
            answers = login.visit(anew)
            assert [each.resumed for each in answers] == [True] * len(answers), kind
