"""Sessions in files: formats told apart, written safely, and resumed by another process."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers.certs import Authority, Identity
from helpers.children import run_python
from helpers.peers import EchoServer, client_context, dial, server_context
from helpers.programs import nginx, s_client, s_server
from sslsession import InvalidSession, Session, SessionError, get_session
from sslsession.probing import Probe, ProbeError, Trust, load_session, parse_target, save_session

SETTINGS: dict[str, dict[str, Any]] = {
    "1.2 session id": {"tls": "1.2", "tickets": False},
    "1.2 ticket": {"tls": "1.2", "cache": False},
    "1.3 PSK": {"tls": "1.3", "cache": False},
}
TAKE = """
    import os, socket, ssl, sys
    from sslsession import get_session
    port, ca, version, path, end = sys.argv[1:]
    ctx = ssl.create_default_context(cafile=ca)
    ctx.minimum_version = ctx.maximum_version = ssl.TLSVersion["TLSv1_" + version[-1]]
    conn = ctx.wrap_socket(socket.create_connection(("127.0.0.1", int(port))), server_hostname="localhost")
    conn.sendall(b"HEAD / HTTP/1.0\\r\\n\\r\\n")
    conn.recv(1)
    with open(path, "wb") as file:
        file.write(get_session(conn).to_bytes())
    if end == "dropped":
        os._exit(0)
    while conn.recv(65536):
        pass
    conn.unwrap().close()
"""


@pytest.fixture(scope="module")
def session(ca: Authority, server_identity: Identity) -> Session:
    """A TLS 1.2 session of this process."""
    with EchoServer(server_context(server_identity, version="1.2")) as server:
        with dial(server.port, client_context(ca)) as conn:
            taken = get_session(conn)
    assert taken is not None
    return taken


class TestTwoProcesses:
    @pytest.mark.parametrize("end", ["closed", "dropped"])
    @pytest.mark.parametrize("kind", list(SETTINGS))
    def test_one_takes_and_another_resumes(
        self, ca: Authority, server_identity: Identity, tmp_path: Path, kind: str, end: str
    ) -> None:
        path = tmp_path / "session"
        with nginx(server_identity, **SETTINGS[kind]) as server:
            run_python(TAKE, args=[str(server.port), ca.pem_path, kind[:3], path, end])
            target = parse_target(f"localhost:{server.port}")
            report = Probe(target, Trust(ca.pem_path)).resume(load_session(path).session)
        assert (report.version, report.resumed, report.why_not) == (kind[:3], True, None)
        assert report.tickets == (1 if kind == "1.3 PSK" else 0)

    def test_one_after_the_other(self, ca: Authority, server_identity: Identity, tmp_path: Path) -> None:
        """Each resumes with the ticket that the one before it got."""
        path = tmp_path / "session"
        with nginx(server_identity, tls="1.3") as server:
            run_python(TAKE, args=[str(server.port), ca.pem_path, "1.3", path, "dropped"])
            work = Probe(parse_target(f"localhost:{server.port}"), Trust(ca.pem_path))
            for _ in range(3):
                report = work.resume(load_session(path).session)
                assert report.resumed
                assert report.session is not None
                save_session(path, report.session)


class TestResuming:
    def test_openssl_saves_and_we_resume(
        self, ca: Authority, server_identity: Identity, tls_version: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "session.pem"
        with s_server(server_identity, version=tls_version) as server:
            s_client(server.port, "-CAfile", ca.pem_path, "-sess_out", path)
            saved = load_session(path)
            report = Probe(parse_target(f"localhost:{server.port}"), Trust(ca.pem_path)).resume(saved.session)
        assert (saved.format, report.resumed) == ("PEM", True)

    def test_what_is_refused_here_is_told_and_the_handshake_is_full(
        self, ca: Authority, server_identity: Identity, session: Session
    ) -> None:
        with EchoServer(server_context(server_identity, version="1.2")) as server:
            work = Probe(parse_target(f"127.0.0.1:{server.port}"), Trust(ca.pem_path))
            report = work.resume(session)
        assert not report.resumed
        assert "another host name ('localhost', and this connection is for '127.0.0.1')" in str(
            report.why_not
        )
        assert "force" not in str(report.why_not)
        assert report.cipher_suite is not None

    def test_the_server_declines(self, ca: Authority, server_identity: Identity, session: Session) -> None:
        with EchoServer(server_context(server_identity, version="1.2")) as server:
            work = Probe(parse_target(f"localhost:{server.port}"), Trust(ca.pem_path))
            report = work.resume(session, keep=True)
        assert (report.resumed, report.why_not) == (
            False,
            "a session was offered and the server made a full handshake",
        )
        assert report.session is not None

    def test_a_further_connection_where_no_ticket_came(
        self, ca: Authority, server_identity: Identity
    ) -> None:
        ctx = server_context(server_identity, version="1.3", tickets=1)
        with EchoServer(ctx) as server:
            work = Probe(parse_target(f"localhost:{server.port}"), Trust(ca.pem_path))
            best = work.run(["1.3"]).best()
            assert best is not None
            assert best[1].session is not None
            ctx.num_tickets = 0
            report = work.resume(best[1].session, keep=True)
            assert (report.resumed, report.tickets, report.session) == (True, 0, None)
            assert server.reused == [False, True, True, False]

    def test_the_version_is_spoken_no_more(
        self, ca: Authority, server_identity: Identity, session: Session
    ) -> None:
        with EchoServer(server_context(server_identity, version="1.3")) as server:
            work = Probe(parse_target(f"localhost:{server.port}"), Trust(ca.pem_path))
            with pytest.raises(ProbeError, match=r"no TLS 1\.2 handshake with localhost:\d+ succeeds"):
                work.resume(session)

    def test_a_version_that_probe_does_not_speak(self) -> None:
        class Old:
            version = __import__("ssl").TLSVersion.TLSv1

        with pytest.raises(ProbeError, match="the session is of TLSv1, and probe speaks"):
            Probe(parse_target("localhost")).resume(Old())  # type: ignore[arg-type]


class TestReading:
    def test_formats(self, session: Session, tmp_path: Path) -> None:
        path = tmp_path / "session"
        for name, data in {
            "envelope": session.to_bytes(),
            "DER": session.to_der(),
            "PEM": session.to_pem().encode(),
        }.items():
            path.write_bytes(data)
            saved = load_session(path)
            assert saved.format == name
            assert saved.session.to_der() == session.to_der()

    def test_standard_input(self, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(session.to_der())))
        assert load_session("-").format == "DER"

    @pytest.mark.parametrize(
        ("data", "told"),
        [
            (b"", "is empty"),
            (b"x" * (1 << 20) + b"x", "is too large to be a session"),
            (b"no session", "no session in DER"),
            (b"-----BEGIN CERTIFICATE-----\n", "no session blocks"),
            (b"\x8bSSN\x01", "is cut"),
        ],
    )
    def test_no_session(self, tmp_path: Path, data: bytes, told: str) -> None:
        path = tmp_path / "file"
        path.write_bytes(data)
        with pytest.raises(InvalidSession, match=told) as caught:
            load_session(path)
        assert str(caught.value).startswith(f"{path}")
        assert str(caught.value).isprintable()

    def test_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(SessionError, match="cannot be read: No such file"):
            load_session(tmp_path / "absent")
        with pytest.raises(SessionError, match="cannot be read: "):
            load_session(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="file modes mean nothing there")
class TestWriting:
    def test_for_its_owner_alone_over_what_was_there(self, session: Session, tmp_path: Path) -> None:
        path = tmp_path / "session"
        path.write_text("old")
        path.chmod(0o644)
        save_session(path, session)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert load_session(path).session.to_der() == session.to_der()
        assert os.listdir(tmp_path) == ["session"]

    def test_nothing_is_left_of_a_failure(self, session: Session, tmp_path: Path) -> None:
        path = tmp_path / "directory"
        path.mkdir()
        with pytest.raises(SessionError, match="directory cannot be written: "):
            save_session(path, session)
        assert os.listdir(tmp_path) == ["directory"]
        with pytest.raises(SessionError, match="cannot be written: No such file"):
            save_session(tmp_path / "absent" / "session", session)


def test_json_of_a_resumption(ca: Authority, server_identity: Identity, session: Session) -> None:
    with EchoServer(server_context(server_identity, version="1.2")) as server:
        report = Probe(parse_target(f"localhost:{server.port}"), Trust(ca.pem_path)).resume(session)
    plain = json.loads(json.dumps(report.plain()))
    assert (plain["version"], plain["resumed"], plain["verified"]) == ("1.2", False, True)
    assert "session" not in plain
