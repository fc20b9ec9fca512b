"""`sslsession serve` where it cannot begin; and how it ends: by a signal, with its workers, after a count."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

from click.testing import CliRunner

from helpers import serving
from helpers.certs import Identity
from helpers.command import sslsession
from helpers.peers import client_context
from helpers.processes import require, run
from helpers.serving import PING, Serving, visit
from sslsession.cli import cli
from sslsession.cli.serve import Voice

named = serving.named
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="workers are forked")


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def failure(*arguments: object, status: int = 1) -> str:
    """The one line that it fails with."""
    done = CliRunner().invoke(cli, ["serve", *map(str, arguments)])
    assert done.exit_code == status, done.output
    *before, said = done.output.splitlines()
    assert said.startswith("Error: ")
    assert bool(before) == (status == 2)
    return said


class TestEnding:
    @pytest.mark.parametrize("workers", [1, 3])
    @pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_by_a_signal(
        self,
        workers: int,
        number: signal.Signals,
        status: int,
        client13: ssl.SSLContext,
        named: list[Path | str],
    ) -> None:
        with Serving(*named, "--workers", workers, "--json") as server:
            with socket.create_connection(("127.0.0.1", server.port), 20) as raw:
                with client13.wrap_socket(raw, server_hostname="localhost") as tls:
                    tls.sendall(PING)
                    assert tls.recv(100) == PING
                    os.kill(server.pid, number)
                    assert tls.recv(100) == b""
            with socket.socket() as silent:
                with contextlib.suppress(OSError):
                    silent.connect(("127.0.0.1", server.port))
                assert server.ends(20)
        began, connection = server.events()
        assert server.returncode == status
        assert connection["event"] == "connection"
        assert len(began["pids"]) == workers
        assert all(map(gone, began["pids"]))

    def test_after_a_count_of_all_workers(self, client13: ssl.SSLContext, named: list[Path | str]) -> None:
        with Serving(*named, "--workers", 3, "--count", 5) as server:
            for _ in range(4):
                visit(client13, server.port)
            with socket.create_connection(("127.0.0.1", server.port), 20):
                pass
            assert server.ends(20)
        assert server.returncode == 0
        assert len(server.output.splitlines()) == 4 + 5

    def test_a_worker_that_dies(self, client13: ssl.SSLContext, named: list[Path | str]) -> None:
        with Serving(*named, "--workers", 3, "--json") as server:
            pids = server.events()[0]["pids"]
            os.kill(pids[1], signal.SIGKILL)
            server.expect('{"event": "died", "worker": 2, "status": -9}')
            _, session = visit(client13, server.port)
            for _ in range(10):
                reused, session = visit(client13, server.port, session)
                assert reused
        assert {each.get("worker") for each in server.events()[2:]} <= {1, 3}
        assert all(map(gone, pids))

    def test_all_workers_that_die(self, named: list[Path | str]) -> None:
        with Serving(*named, "--workers", 2, "--json") as server:
            for pid in server.events()[0]["pids"]:
                os.kill(pid, signal.SIGKILL)
            assert server.ends(20)
        assert server.returncode == 1
        assert server.output.count('{"event": "died", ') == 2
        assert server.output.endswith("\nError: all workers died\n")

    def test_deaths_in_words(self, capsys: pytest.CaptureFixture[str]) -> None:
        voice = Voice(False, None)
        voice.died(2, -signal.SIGKILL)
        voice.died(3, 1)
        assert capsys.readouterr().err.splitlines() == [
            "Warning: worker 2 died by SIGKILL",
            "Warning: worker 3 died with status 1",
        ]

    def test_workers_end_with_their_parent(self, client13: ssl.SSLContext, named: list[Path | str]) -> None:
        with Serving(*named, "--workers", 2) as server:
            os.kill(server.pid, signal.SIGKILL)
            assert server.ends(20)
            assert server.find("this is never said") is None  # nobody has its standard output any more
        assert "Traceback" not in server.output

    @pytest.mark.parametrize("workers", [1, 2])
    def test_with_whom_it_speaks_to(
        self, workers: int, client13: ssl.SSLContext, named: list[Path | str]
    ) -> None:
        command = [sys.executable, "-m", "sslsession", "serve", *map(str, named), "--workers", str(workers)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:
            assert server.stdout is not None
            assert server.stderr is not None
            port = int(server.stdout.readline().split(b",")[0].rpartition(b":")[2])
            server.stdout.close()
            with contextlib.suppress(OSError):
                visit(client13, port)
            assert server.wait(20) == 1
            assert server.stderr.read() == b""


class TestBadStart:
    @pytest.mark.parametrize("workers", [1, 2])
    def test_a_port_that_is_taken(self, workers: int, named: list[Path | str]) -> None:
        with Serving(*named, "--workers", 2) as server:
            said = failure(*named, "--port", server.port, "--workers", workers)
        assert said == f"Error: port {server.port} of 127.0.0.1 cannot be listened on: Address already in use"

    def test_hosts(self, named: list[Path | str]) -> None:
        assert "nope.invalid has no address" in failure(*named, "--host", "nope.invalid")
        assert "cannot be listened on" in failure(*named, "--host", "192.0.2.1")

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["--store", "foo:"], "a store's URL begins with one of"),
            (["--store", "sqlite:"], "is followed by a path"),
            (["--keys", "secret:env:NO_SUCH_VARIABLE"], "which is not set"),
            (["--keys", "secret:file:no-such"], "cannot be read"),
            (["--keys", "file:no-such"], "no-such cannot be read: No such file or directory"),
            (["--lifetime", "604801"], "7 days"),
            (["--lifetime", "604800", "--rotate-every", "1"], "rotate_every"),
            (["--no-tickets", "--lifetime", "604801"], "lifetime is 1 to 604800 seconds"),
        ],
    )
    def test_sessions_and_keys(self, arguments: list[str], told: str, named: list[Path | str]) -> None:
        assert told in failure(*named, *arguments)

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["--keys", "nonsense"], "--keys is random|secret:env:NAME|"),
            (["--keys", ""], "--keys is random|secret:env:NAME|"),
            (["--keys", "secret:hunter2"], "--keys is random|"),
            (["--keys", "shared"], "needs a store that processes share"),
            (["--keys", "shared", "--store", "memory:"], "needs a store that processes share"),
            (["--keys", "file:x", "--rotate-every", "60"], "sslsession keys rotate"),
            (["--no-tickets", "--keys", "random"], "leave them out"),
            (["--key", "x"], "name that with --cert"),
            (["--port", "65536"], "65536 is not in the range"),
            (["--count", "0"], "0 is not in the range"),
        ],
    )
    def test_usage(self, arguments: list[str], told: str) -> None:
        assert told in failure(*arguments, status=2)

    def test_secrets_that_are_none(self, named: list[Path | str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SERVE_SECRET", "hunter2")
        said = failure(*named, "--keys", "secret:env:SERVE_SECRET")
        assert "at least 32 random bytes" in said
        assert "hunter2" not in said

    def test_key_files(self, named: list[Path | str], tmp_path: Path) -> None:
        key = tmp_path / "key"
        sslsession("keys", "new", key, "--format", "apache")
        assert "say which layout" in failure(*named, "--keys", f"file:{key}")
        key.chmod(0o644)
        assert "--allow-shared" in failure(*named, "--keys", f"file:{key}:apache")
        with Serving(*named, "--keys", f"file:{key}:apache", "--allow-shared"):
            pass

    def test_certificates(self, server_identity: Identity, tmp_path: Path) -> None:
        chain, key, junk = server_identity.cert_pem_path, server_identity.key_path, tmp_path / "junk"
        junk.write_text("junk")
        assert "no-such cannot be read" in failure("--cert", "no-such")
        assert "no-such cannot be read" in failure("--cert", chain, "--key", "no-such")
        assert f"{chain}: no certificate with its key, in PEM" in failure("--cert", chain)
        assert f"{chain} and {junk}: no certificate" in failure("--cert", chain, "--key", junk)
        assert f"{junk}: no CA certificate" in failure("--cert", chain, "--key", key, "--client-ca", junk)

    def test_a_key_that_is_encrypted(self, server_identity: Identity, tmp_path: Path) -> None:
        sealed = tmp_path / "sealed.key"
        run(
            *(require("openssl"), "pkey", "-in", server_identity.key_path, "-out", sealed),
            *("-aes256", "-passout", "pass:hunter2"),
        )
        assert "the key is encrypted" in failure("--cert", server_identity.cert_pem_path, "--key", sealed)

    def test_a_system_without_fork(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(os, "fork")
        assert "cannot fork" in failure("--workers", "2", status=2)


def test_help() -> None:
    said = sslsession("serve", "--help").stdout
    assert "  sslsession serve --workers 4 " in said
    assert max(map(len, said.splitlines())) <= 80


def test_it_needs_no_certificate_of_a_client_that_has_one(
    named: list[Path | str], client_identity: Identity
) -> None:
    with Serving(*named) as server:
        context = client_context(verify=False, identity=client_identity)
        assert visit(context, server.port, visit(context, server.port)[1])[0]
