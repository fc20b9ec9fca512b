"""`sslsession probe` as it is run: its lines, its table, its JSON, its files, its failures."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

from click.testing import CliRunner, Result

from helpers.certs import Authority, Identity
from helpers.command import TERMINAL, sslsession
from helpers.peers import EchoServer, server_context
from helpers.plain import plain_server
from helpers.processes import free_port
from helpers.programs import Running, nginx, s_server
from sslsession.cli import _probe_text, cli
from sslsession.probing import load_session


@pytest.fixture(scope="module")
def resuming(server_identity: Identity) -> Iterator[Running]:
    """nginx with tickets, a shared cache and 0-RTT."""
    with nginx(server_identity, early_data=True) as server:
        yield server


def run(*arguments: str | Path | int, terminal: bool = False) -> Result:
    return CliRunner().invoke(cli, ["probe", *map(str, arguments)], env=TERMINAL if terminal else None)


def probe(*arguments: str | Path | int, terminal: bool = False) -> str:
    done = run(*arguments, terminal=terminal)
    assert done.exit_code == 0, done.output
    return done.output


def failure(*arguments: str | Path | int, status: int = 1) -> str:
    done = run(*arguments)
    assert done.exit_code == status, done.output
    assert done.output.splitlines()[-1].startswith("Error: ")
    return done.output.splitlines()[-1]


class TestAgainstNginx:
    def test_one_that_resumes(self, ca: Authority, resuming: Running) -> None:
        assert probe(f"localhost:{resuming.port}", "--ca", ca.pem_path).splitlines() == [
            f"localhost:{resuming.port} (127.0.0.1), certificate verified",
            "TLS 1.3: yes, TLS_AES_256_GCM_SHA384, x25519",
            "  PSK: resumed; tickets 2, then 1; lifetime 300 s (5 min); 0-RTT 16384 bytes, accepted",
            "TLS 1.2: yes, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, x25519",
            "  ticket: resumed; tickets 1, then 0; lifetime 300 s (5 min)",
            "  session id: resumed",
            "resumes: TLS 1.3 PSK, TLS 1.2 ticket, TLS 1.2 session id",
        ]

    def test_one_that_does_not(self, ca: Authority, server_identity: Identity) -> None:
        with nginx(server_identity, tickets=False, cache=False, tls="1.2") as server:
            said = probe(f"localhost:{server.port}", "--ca", ca.pem_path).splitlines()
        assert said[1].startswith("TLS 1.3: no (")
        assert "protocol version" in said[1]
        assert said[3:] == [
            "  ticket: not offered by the server",
            "  session id: not offered by the server",
            _probe_text.NOTHING,
        ]

    def test_a_ticket_that_is_not_taken_back(self, ca: Authority, server_identity: Identity) -> None:
        with nginx(server_identity, tickets=False, cache=False, tls="1.3") as server:
            said = probe(f"localhost:{server.port}", "--ca", ca.pem_path, "--tls", "1.3")
        assert "PSK: not resumed (a session was offered and the server made a full handshake)" in said

    def test_as_a_program(self, ca: Authority, resuming: Running) -> None:
        done = sslsession("probe", f"localhost:{resuming.port}", "--ca", ca.pem_path)
        assert done.stderr == ""
        assert "\x1b" not in done.stdout
        assert "resumes: TLS 1.3 PSK" in done.stdout

    def test_json(self, ca: Authority, resuming: Running) -> None:
        found = json.loads(probe(f"localhost:{resuming.port}", "--ca", ca.pem_path, "--json"))
        assert (found["address"], found["resumes"], found["saved"]) == ("127.0.0.1", True, None)
        assert found["versions"]["1.2"]["resumption"]["session_id"]["resumed"] is True
        assert found["versions"]["1.3"]["resumption"]["psk"]["max_early_data"] == 16384

    def test_one_version(self, ca: Authority, resuming: Running) -> None:
        said = probe(f"localhost:{resuming.port}", "--ca", ca.pem_path, "--tls", "1.2")
        assert "TLS 1.3" not in said
        assert "resumes: TLS 1.2 ticket, TLS 1.2 session id" in said

    def test_another_name_and_no_verification(self, ca: Authority, resuming: Running) -> None:
        where = f"127.0.0.1:{resuming.port}"
        said = probe(where, "--ca", ca.pem_path, "--servername", "a.example", "--tls", "1.2")
        assert said.startswith(f"{where} (127.0.0.1) as a.example, certificate verified\n")
        assert "certificate not verified\n" in probe(where, "--insecure", "--tls", "1.2")


class TestOnATerminal:
    def test_a_table_that_fits(self, ca: Authority, resuming: Running) -> None:
        said = probe(f"localhost:{resuming.port}", "--ca", ca.pem_path, terminal=True)
        assert "\x1b[32myes" in said
        assert "2, then 1" in said
        assert max(map(len, plain(said))) <= 80

    def test_what_does_not_resume(self, ca: Authority, server_identity: Identity, tmp_path: Path) -> None:
        with nginx(server_identity, tickets=False, cache=False, tls="1.3") as server:
            where, path = f"localhost:{server.port}", tmp_path / "session"
            said = probe(where, "--ca", ca.pem_path, "--save", path, terminal=True)
        assert "\x1b[31mno" in said
        assert "TLS 1.3 PSK: a session was offered" in said
        assert "\x1b[33mnothing is resumed" in said
        assert "which this server does not resume" in said

    def test_what_is_not_offered_and_not_spoken(self, ca: Authority, server_identity: Identity) -> None:
        with EchoServer(server_context(server_identity, version="1.3", tickets=0)) as server:
            said = probe(f"localhost:{server.port}", "--ca", ca.pem_path, terminal=True)
        assert "not offered" in said
        assert "\x1b[33mTLS 1.2: no" in said

    def test_a_saved_session(self, ca: Authority, resuming: Running, tmp_path: Path) -> None:
        where, path = f"localhost:{resuming.port}", tmp_path / "session"
        probe(where, "--ca", ca.pem_path, "--save", path)
        said = probe(where, "--ca", ca.pem_path, "--resume", path, terminal=True)
        assert "\x1b[32mTLS 1.3 with the saved session: resumed" in said


def plain(text: str) -> list[str]:
    """The lines as they are seen."""
    import re

    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|.*\r", "", text).splitlines()


class TestSavedSessions:
    @pytest.mark.parametrize(
        ("settings", "options", "kind"),
        [
            ({"tls": "1.2", "tickets": False}, [], "TLS 1.2 session id"),
            ({"tls": "1.2", "cache": False}, [], "TLS 1.2 ticket"),
            ({"tls": "1.3"}, [], "TLS 1.3 PSK"),
            ({"tls": "both"}, ["--tls", "1.2"], "TLS 1.2 ticket"),
        ],
        ids=["id", "ticket", "psk", "restricted"],
    )
    def test_from_one_process_to_another(
        self,
        ca: Authority,
        server_identity: Identity,
        tmp_path: Path,
        settings: dict[str, Any],
        options: list[str],
        kind: str,
    ) -> None:
        path = tmp_path / "session"
        with nginx(server_identity, **settings) as server:
            common = ["probe", f"localhost:{server.port}", "--ca", ca.pem_path]
            said = sslsession(*common, *options, "--save", path).stdout
            assert f"saved: {kind}, good until 20" in said
            found = json.loads(sslsession(*common, "--resume", path, "--json").stdout)
        assert (found["resumed"], found["why_not"], found["version"]) == (True, None, kind[4:7])
        if sys.platform != "win32":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert os.listdir(tmp_path) == ["session"]

    def test_a_ticket_is_renewed_by_using_it(self, ca: Authority, resuming: Running, tmp_path: Path) -> None:
        path = tmp_path / "session"
        common = [f"localhost:{resuming.port}", "--ca", ca.pem_path]
        probe(*common, "--save", path)
        for _ in range(2):
            said = probe(*common, "--resume", path, "--save", path).splitlines()
            assert said[1] == (
                "TLS 1.3 with the saved session: resumed, TLS_AES_256_GCM_SHA384, x25519; 1 new ticket"
            )
            assert said[2].startswith("saved: TLS 1.3 session, good until ")

    def test_a_used_ticket(self, ca: Authority, resuming: Running, tmp_path: Path) -> None:
        path = tmp_path / "session"
        common = [f"localhost:{resuming.port}", "--ca", ca.pem_path]
        probe(*common, "--save", path)
        probe(*common, "--resume", path)
        assert "not resumed (the TLS 1.3 ticket was used already), " in probe(*common, "--resume", path)

    def test_from_s_client(self, ca: Authority, server_identity: Identity, tmp_path: Path) -> None:
        from helpers.programs import s_client

        path = tmp_path / "session.pem"
        with s_server(server_identity) as server:
            s_client(server.port, "-CAfile", ca.pem_path, "-sess_out", path)
            said = probe(f"localhost:{server.port}", "--ca", ca.pem_path, "--resume", path)
        assert "with the saved session: resumed" in said

    def test_json_of_saving(self, ca: Authority, resuming: Running, tmp_path: Path) -> None:
        path = tmp_path / "session"
        common = [f"localhost:{resuming.port}", "--ca", ca.pem_path, "--save", path, "--json"]
        saved = json.loads(probe(*common))["saved"]
        session = load_session(path).session
        assert saved == {
            "file": str(path),
            "kind": "TLS 1.3 PSK",
            "resumed": True,
            "expires_at": session.expires_at,
        }

    def test_nothing_to_save(self, ca: Authority, server_identity: Identity, tmp_path: Path) -> None:
        path = tmp_path / "session"
        with nginx(server_identity, tickets=False, cache=False, tls="1.2") as server:
            told = failure(f"localhost:{server.port}", "--ca", ca.pem_path, "--save", path)
        assert "was not written: the server gave no session that could be resumed" in told
        assert not path.exists()


class TestFailures:
    def test_each_is_one_line_on_standard_error(self, ca: Authority, resuming: Running) -> None:
        refused = free_port()
        for arguments, told in {
            (f"localhost:{refused}",): f"localhost:{refused} refused the connection",
            ("name.invalid",): "name.invalid has no address: ",
            (f"localhost:{resuming.port}",): f"the certificate of localhost:{resuming.port} fails: ",
            ("localhost:0",): "a port is a number from 1 to 65535",
        }.items():
            done = sslsession("probe", *arguments, expect=1)
            assert done.stdout == ""
            assert done.stderr.startswith("Error: ")
            assert told in done.stderr
            assert done.stderr.count("\n") == 1

    def test_not_tls(self) -> None:
        with plain_server(lambda conn: conn.sendall(b"220 mail\r\n") or conn.recv(1000)) as port:
            assert "is not a TLS server" in failure(f"localhost:{port}")

    def test_silence(self) -> None:
        with plain_server(lambda conn: conn.recv(10_000) and conn.recv(1)) as port:
            assert "within 0.2 s" in failure(f"localhost:{port}", "--timeout", 0.2)

    def test_files(self, ca: Authority, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_text("no session")
        assert f"{path}: these bytes are no session" in failure("localhost", "--resume", path)
        assert "absent cannot be read: " in failure("localhost", "--resume", tmp_path / "absent")
        nowhere = tmp_path / "nowhere" / "session"
        assert "there is no directory" in failure("localhost", "--save", nowhere)
        assert "absent cannot be read: " in failure("localhost", "--ca", tmp_path / "absent")

    def test_usage(self, ca: Authority, resuming: Running, tmp_path: Path) -> None:
        assert "take one of them" in failure("localhost", "--ca", ca.pem_path, "--insecure", status=2)
        assert "no number of seconds" in failure("localhost", "--timeout", "nan", status=2)
        path = tmp_path / "session"
        probe(f"localhost:{resuming.port}", "--insecure", "--save", path)
        assert "is not of TLS 1.2." in failure("localhost", "--resume", path, "--tls", "1.2", status=2)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (90, "90 s"), (300, "300 s (5 min)"), (7200, "7200 s (2 h)"), (604800, "604800 s (7 d)")],
)
def test_durations(seconds: int, text: str) -> None:
    assert _probe_text.duration(seconds) == text
