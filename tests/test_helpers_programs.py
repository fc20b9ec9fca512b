"""The helpers that run other programs do what they say."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from helpers import processes, programs
from helpers.certs import Authority, Identity
from helpers.children import run_python
from helpers.peers import EchoServer, client_context, dial, server_context


class TestPrograms:
    @pytest.mark.parametrize(
        ("tls", "tickets", "cache", "resumes"),
        [
            ("1.2", False, True, True),
            ("1.2", True, False, True),
            ("1.3", True, True, True),
            ("both", False, False, False),
        ],
    )
    def test_nginx(
        self,
        ca: Authority,
        server_identity: Identity,
        tls: str,
        tickets: bool,
        cache: bool,
        resumes: bool,
    ) -> None:
        client = client_context(ca)
        with programs.nginx(server_identity, tls=tls, tickets=tickets, cache=cache) as server:
            session = None
            for expected in (False, resumes):
                with dial(server.port, client, session=session) as conn:
                    page = programs.fetch_page(conn)
                    session = conn.session
                assert page.reused is expected
                assert page.protocol == f"TLSv{'1.3' if tls == 'both' else tls}"

    def test_nginx_asks_for_certificates(
        self, ca: Authority, server_identity: Identity, client_identity: Identity
    ) -> None:
        with programs.nginx(server_identity, client_ca=ca, early_data=True) as server:
            client = client_context(ca, identity=client_identity)
            with dial(server.port, client) as conn:
                assert programs.fetch_page(conn).protocol == "TLSv1.3"
            refused = pytest.raises(AssertionError, match="No required SSL certificate")
            with dial(server.port, client_context(ca)) as conn, refused:
                programs.fetch_page(conn)

    def test_nginx_that_cannot_start_says_why(self, server_identity: Identity) -> None:
        server = programs.nginx(server_identity, extra="no_such_directive on;")
        with pytest.raises(AssertionError, match="no_such_directive"):
            server.__enter__()

    def test_s_server_and_python(self, ca: Authority, server_identity: Identity, tls_version: str) -> None:
        client = client_context(ca)
        with programs.s_server(server_identity, version=tls_version) as server:
            session = None
            for expected in (False, True):
                with dial(server.port, client, session=session) as conn:
                    conn.sendall(b"abc\n")
                    assert conn.recv(10) == b"cba\n"
                    assert conn.session_reused is expected
                    session = conn.session
                    conn.unwrap().close()
            assert "ACCEPT" in server.log

    def test_s_client_saves_and_uses_a_session(
        self,
        ca: Authority,
        server_identity: Identity,
        tls_version: str,
        tmp_path: Path,
    ) -> None:
        saved = tmp_path / "session.pem"
        context = server_context(server_identity, version=tls_version)
        with EchoServer(context) as server:
            verify = ("-CAfile", ca.pem_path, "-verify_return_error")
            first = programs.s_client(server.port, *verify, "-sess_out", saved)
            assert first.returncode == 0
            assert not first.reused
            again = programs.s_client(server.port, *verify, "-sess_in", saved)
            assert again.reused
            assert server.reused == [False, True]
        fields = programs.sess_id_fields(programs.sess_id(saved))
        assert fields["Protocol"] == f"TLSv{tls_version}"
        assert bytes.fromhex(fields["Session-ID"])

    def test_s_client_tells_of_a_refusal(self, other_ca: Authority, server_identity: Identity) -> None:
        with programs.s_server(server_identity) as server:
            verify = ("-CAfile", other_ca.pem_path, "-verify_return_error")
            assert programs.s_client(server.port, *verify).returncode != 0

    def test_a_missing_program_skips_and_fails_in_ci(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("CI", raising=False)
        with pytest.raises(pytest.skip.Exception):
            programs.require("no-such-program")
        monkeypatch.setenv("CI", "true")
        with pytest.raises(pytest.fail.Exception):
            programs.require("no-such-program")

    @pytest.mark.skipif(sys.platform == "win32", reason="has no signals")
    def test_a_process_that_ignores_sigterm_is_killed(self) -> None:
        code = """if True:
            import signal, time
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            print("ready", flush=True)
            time.sleep(60)
        """
        with processes.Process(sys.executable, "-c", code, grace=0.05) as process:
            process.expect("ready")
            assert process.returncode is None
        assert process.returncode == -9


class TestChildren:
    def test_it_runs_with_helpers_arguments_and_variables(self) -> None:
        done = run_python(
            """
            import os, sys
            import helpers.peers
            print(sys.argv[1:], os.environ["LIKE"], os.listdir())
            """,
            args=["a", "b"],
            env={"LIKE": "this"},
        )
        assert done.stdout == "['a', 'b'] this []\n"
        assert not done.stderr

    def test_warnings_are_errors_and_statuses_are_checked(self) -> None:
        code = "import warnings; warnings.warn('loud')"
        with pytest.raises(AssertionError, match="UserWarning: loud"):
            run_python(code)
        assert run_python(code, expect=1).returncode == 1
        assert run_python("import os; os._exit(7)", expect=None).returncode == 7

    def test_one_that_hangs_is_ended(self) -> None:
        code = "import time; print('begun', flush=True); time.sleep(60)"
        with pytest.raises(AssertionError, match=r"(?s)not done in .*begun"):
            run_python(code, timeout=1)
