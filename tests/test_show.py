"""`sslsession show` prints a session of any format, and its secrets only when asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

from click.testing import CliRunner, Result

from helpers.certs import Authority, Identity
from helpers.command import TERMINAL, sslsession
from helpers.peers import EchoServer, client_context, dial, server_context
from helpers.programs import s_client, s_server
from sslsession import Session, get_session
from sslsession.cli import cli


@pytest.fixture(scope="module", params=["1.2", "1.3"])
def session(request: pytest.FixtureRequest, ca: Authority, server_identity: Identity) -> Session:
    with EchoServer(server_context(server_identity, version=request.param)) as server:
        with dial(server.port, client_context(ca, version=request.param)) as conn:
            conn.sendall(b"ping")
            conn.recv(4)
            taken = get_session(conn)
    assert taken is not None
    return taken


@pytest.fixture(params=["envelope", "DER", "PEM"])
def file(request: pytest.FixtureRequest, session: Session, tmp_path: Path) -> tuple[str, Path]:
    """A format, and the session in it."""
    path = tmp_path / "session"
    data = {"envelope": session.to_bytes(), "DER": session.to_der(), "PEM": session.to_pem().encode()}
    path.write_bytes(data[request.param])
    return request.param, path


def show(*arguments: str | Path, status: int = 0, terminal: bool = False) -> Result:
    done = CliRunner().invoke(cli, ["show", *map(str, arguments)], env=TERMINAL if terminal else None)
    assert done.exit_code == status, done.output
    return done


def secrets(session: Session) -> list[str]:
    return [session.master_secret.hex(), (session.ticket or b"").hex()]


def test_every_field_on_a_line(session: Session, file: tuple[str, Path]) -> None:
    said = dict(line.split(":", 1) for line in show(file[1]).output.splitlines())
    assert said["format"].strip() == file[0]
    assert said["version"].strip() == session.version.name
    assert said["master_secret"].strip() == "(48 bytes, hidden)"
    assert session.cipher_suite is not None
    assert session.cipher_suite.name in said["cipher_suite"]


def test_secrets_when_asked_for(session: Session, file: tuple[str, Path]) -> None:
    for options in ([], ["--json"]):
        hidden, open_ = show(file[1], *options).output, show(file[1], "--secrets", *options).output
        for secret in secrets(session):
            assert secret
            assert secret not in hidden
            assert secret in open_


def test_json(session: Session, file: tuple[str, Path]) -> None:
    found = json.loads(show(file[1], "--json").output)
    assert (found["format"], found["version"]) == (file[0], session.version.name)
    assert found["cipher_suite"] == {"number": int(session.cipher_suite or 0), "name": session.cipher_spec[2]}
    assert found["cipher_spec"]["bits"] == 256
    assert found["expires_at"] == session.expires_at
    assert found["peer_certificate_chain"][0] == session.peer_certificate_chain[0].hex()
    if file[0] == "envelope":
        assert session.policy is not None
        assert found["policy"]["digest"] == session.policy.digest
        assert found["policy"]["verify_mode"] == "CERT_REQUIRED"
        assert found["cert_data"]["verified"] is True


def test_on_a_terminal(session: Session, file: tuple[str, Path]) -> None:
    import re

    said = show(file[1], terminal=True).output
    assert "\x1b[36m" in said
    seen = re.sub(r"\x1b\[[0-9;]*m", "", said)
    assert max(map(len, seen.splitlines())) <= 80
    assert session.id.hex()[:16] in seen
    for secret in secrets(session):
        assert secret[:32] not in seen


def test_as_a_program_and_from_standard_input(session: Session) -> None:
    done = sslsession("show", "-", stdin=session.to_der())
    assert done.stderr == ""
    assert "(48 bytes, hidden)" in done.stdout


def test_what_s_client_wrote(ca: Authority, server_identity: Identity, tmp_path: Path) -> None:
    path = tmp_path / "session.pem"
    with s_server(server_identity, version="1.2") as server:
        s_client(server.port, "-CAfile", ca.pem_path, "-sess_out", path)
    assert "TLSv1_2" in show(path).output


def test_names_that_a_terminal_would_obey(ca: Authority, tmp_path: Path) -> None:
    """A server chooses what it is called."""
    path = tmp_path / "session"
    with EchoServer(server_context(ca.issue("localhost"), version="1.2")) as server:
        with dial(server.port, client_context(ca), "localhost") as conn:
            taken = get_session(conn)
    assert taken is not None
    data = taken.to_bytes()
    assert b"localhost" in data
    from sslsession import _envelope

    body = _envelope.unpack(data)
    body["facts"]["server_name"] = "a\x1b[2Jb\n.example"
    path.write_bytes(_envelope.pack(body))
    said = show(path).output
    assert "\x1b" not in said
    assert "a\\x1b[2Jb\\n.example" in said


def test_bad_files(tmp_path: Path, session: Session) -> None:
    path = tmp_path / "file"
    for data, told in {
        b"": "is empty",
        b"nothing": "no session in DER",
        session.to_der()[:-1]: "no session in DER",
        session.to_der() + b"x": "1 bytes follow the session's DER",
        session.to_bytes()[:-1]: "is cut",
        b"-----BEGIN RSA PRIVATE KEY-----": "no session blocks",
    }.items():
        path.write_bytes(data)
        done = show(path, status=1)
        assert done.output.startswith(f"Error: {path}")
        assert told in done.output
        assert done.output.count("\n") == 1
    assert "cannot be read: " in show(tmp_path / "absent", status=1).output
