"""The `openssl` command reads what this library writes, and the other way round."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

import pytest

from helpers.certs import Authority, Identity
from helpers.peers import EchoServer, client_context, dial, server_context
from helpers.processes import run
from helpers.programs import require, s_client, s_server, sess_id, sess_id_fields
from helpers.sessions import offering, session_of, take, with_integer
from sslsession import Session

LABELS = {"1.2": "TLSv1.2", "1.3": "TLSv1.3"}
EXTMS = {"yes": True, "no": False}


@pytest.fixture
def client(ca: Authority, tls_version: str) -> ssl.SSLContext:
    return client_context(ca, version=tls_version, alpn=["h2"])


@pytest.fixture
def server(server_identity: Identity, tls_version: str) -> ssl.SSLContext:
    return server_context(server_identity, version=tls_version, alpn=["h2"])


@pytest.fixture
def session(client: ssl.SSLContext, server: ssl.SSLContext) -> Session:
    return take(client, server)


def as_hex(dump: str, title: str) -> str:
    """The bytes that `sess_id -text` dumps below a title."""
    match = re.search(rf"{title}:\n((?: +[0-9a-f]{{4,}} - .*\n)+)", dump)
    assert match is not None, dump
    found = ""
    for line in match[1].splitlines():
        found += re.sub(r"[ -]", "", line.split(" - ", 1)[1][:48])
    return found


class TestSessId:
    @pytest.mark.parametrize("form", ["PEM", "DER"])
    def test_shows_the_same_values(
        self, session: Session, tmp_path: Path, tls_version: str, form: str
    ) -> None:
        path = tmp_path / "session"
        path.write_bytes(session.to_pem().encode() if form == "PEM" else session.to_der())
        dump = sess_id(path, form=form)
        shown = sess_id_fields(dump)
        assert session.cipher_spec is not None
        assert shown["Protocol"] == LABELS[tls_version]
        assert shown["Cipher"] == session.cipher_spec.name
        assert shown["Session-ID"] == session.id.hex().upper()
        assert shown["Session-ID-ctx"] == "", (
            "a client's session has none to other programs: see s_client below"
        )
        secret = shown["Master-Key"] if tls_version == "1.2" else shown["Resumption PSK"]
        assert secret == session.master_secret.hex().upper()
        assert int(shown["Start Time"]) == session.time
        assert int(shown["Timeout"].split()[0]) == session.timeout
        assert int(shown["Verify return code"].split()[0]) == session.verify_result
        assert EXTMS[shown["Extended master secret"]] is (
            session.extended_master_secret and tls_version == "1.2"
        )
        assert shown["TLS session ticket lifetime hint"] == f"{session.lifetime_hint} (seconds)"
        assert session.ticket
        assert as_hex(dump, "TLS session ticket") == session.ticket.hex()
        if tls_version == "1.3":
            assert int(shown["Max Early Data"]) == session.max_early_data

    def test_shows_the_same_certificate(self, session: Session, tmp_path: Path) -> None:
        path = tmp_path / "session"
        path.write_text(session.to_pem())
        pem = run(require("openssl"), "sess_id", "-cert", "-in", path).partition("-----BEGIN SSL")[0]
        assert ssl.PEM_cert_to_DER_cert(pem) == session.peer_certificate_chain[0]

    def test_shows_a_servers_session_too(
        self, ca: Authority, server_identity: Identity, tmp_path: Path
    ) -> None:
        found: list[Session] = []
        server = server_context(server_identity, session_tickets=False)
        with EchoServer(server, on_connect=lambda conn: found.append(session_of(conn))) as echo:
            dial(echo.port, client_context(ca, version="1.2")).close()
        (session,) = found
        path = tmp_path / "session"
        path.write_text(session.to_pem())
        shown = sess_id_fields(sess_id(path))
        assert shown["Session-ID"] == session.id.hex().upper()
        assert shown["Session-ID-ctx"] == session.id_context.hex().upper() != ""
        assert shown["Master-Key"] == session.master_secret.hex().upper()

    def test_shows_what_was_changed(self, session: Session, tmp_path: Path) -> None:
        path = tmp_path / "session"
        path.write_bytes(Session.from_der(with_integer(session.to_der(), 2, 1234)).to_der())
        assert sess_id_fields(sess_id(path, form="DER"))["Timeout"] == "1234 (sec)"


class TestSClient:
    def test_a_session_that_it_saved_resumes_from_python(
        self, ca: Authority, client: ssl.SSLContext, server: ssl.SSLContext, tmp_path: Path
    ) -> None:
        path = tmp_path / "session"
        with EchoServer(server) as echo:
            done = s_client(echo.port, "-sess_out", path, "-CAfile", ca.pem_path, "-alpn", "h2")
            assert not done.reused, done.output
            session = Session.from_pem(path.read_text())
            assert session.is_resumable
            assert session.alpn == "h2"
            with dial(echo.port, client, prepare=offering(session)) as conn:
                conn.sendall(b"x")
                assert conn.recv(1) == b"x"
                assert conn.session_reused
            assert echo.reused == [False, True]

    @pytest.mark.parametrize("stored", [False, True])
    def test_a_session_that_we_saved_resumes_with_it(
        self, ca: Authority, client: ssl.SSLContext, server: ssl.SSLContext, tmp_path: Path, stored: bool
    ) -> None:
        path = tmp_path / "session"
        with EchoServer(server) as echo:
            with dial(echo.port, client) as conn:
                conn.sendall(b"x")
                assert conn.recv(1) == b"x"
                session = session_of(conn)
            if stored:
                session = Session.from_bytes(session.to_bytes())
            path.write_text(session.to_pem())
            done = s_client(echo.port, "-sess_in", path, "-CAfile", ca.pem_path, "-alpn", "h2")
            assert done.reused, done.output
            assert echo.reused == [False, True]


class TestSServer:
    @pytest.mark.parametrize("args", [(), ("-no_ticket",)], ids=["tickets", "no tickets"])
    def test_python_resumes_with_it_from_bytes(
        self, client: ssl.SSLContext, server_identity: Identity, tls_version: str, args: tuple[str, ...]
    ) -> None:
        with s_server(server_identity, version=tls_version, args=args) as running:
            with dial(running.port, client) as conn:
                conn.sendall(b"ping\n")
                assert conn.recv(5) == b"gnip\n"
                stored = session_of(conn).to_bytes()
                conn.unwrap().close()
            with dial(running.port, client, prepare=offering(Session.from_bytes(stored))) as conn:
                assert conn.session_reused
                conn.sendall(b"ping\n")
                assert conn.recv(5) == b"gnip\n"
                conn.unwrap().close()


@pytest.mark.parametrize("args", [(), ("-no_ticket",)], ids=["tickets", "no tickets"])
def test_a_session_that_s_client_saved_leads_to_ones_that_go_on(
    ca: Authority, client: ssl.SSLContext, server_identity: Identity, tmp_path: Path, args: tuple[str, ...]
) -> None:
    """Its id context is another than ssl's: what came of it is offered by us, and by ssl itself."""
    path = tmp_path / "session"
    version = "1.3" if client.maximum_version is ssl.TLSVersion.TLSv1_3 else "1.2"
    with EchoServer(server_context(server_identity, version=version, session_tickets=not args)) as echo:
        s_client(echo.port, "-sess_out", path, "-CAfile", ca.pem_path)
        session = Session.from_pem(path.read_text())
        for _ in range(2):
            with dial(echo.port, client, prepare=offering(session)) as conn:
                conn.sendall(b"x")
                assert conn.recv(1) == b"x"
                assert conn.session_reused
                session, own = session_of(conn), conn.session
                conn.unwrap().close()
        with dial(echo.port, client, session=own) as conn:
            assert conn.session_reused
