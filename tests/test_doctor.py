"""`sslsession doctor` says whether the interpreter is supported, and how that is known."""

from __future__ import annotations

import json
import platform
import ssl
import sys
from typing import Any

import pytest

from helpers.children import run_python
from helpers.command import sslsession
from sslsession import __version__, _borrow, _libssl, doctor
from sslsession.__main__ import main

pytestmark = pytest.mark.binding
BROKEN = """
    import sys, _ssl
    _ssl.__file__ = sys.argv[1]
    from sslsession.__main__ import main
    sys.exit(main(["doctor", *sys.argv[2:]]))
"""

UNMEASURED = {"COVERAGE_PROCESS_START": None, "COVERAGE_PROCESS_CONFIG": None}
"""Coverage imports what it measures, before a child could change how that is loaded."""


def told(capsys: pytest.CaptureFixture[str], *options: str, status: int = 0) -> str:
    assert main(["doctor", *options]) == status
    return capsys.readouterr().out


def labelled(text: str) -> dict[str, str]:
    return {line.partition(":")[0]: line.partition(":")[2].strip() for line in text.splitlines()}


class TestSupported:
    def test_lines(self, capsys: pytest.CaptureFixture[str]) -> None:
        said = labelled(told(capsys))
        assert said["sslsession"] == __version__
        assert said["interpreter"].startswith(
            f"{platform.python_implementation()} {platform.python_version()}"
        )
        assert said["ssl module"] == said["version"] == ssl.OPENSSL_VERSION
        assert "ssl" in said["libssl"]
        assert "crypto" in said["libcrypto"]
        assert said["proof"].startswith("passed")
        assert said["verdict"] == "this interpreter is supported"
        assert "problem" not in said

    def test_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        found = json.loads(told(capsys, "--json"))
        assert (found["supported"], found["problem"], found["proof"]) == (True, None, "passed")
        assert found["executable"] == sys.executable
        assert found["cffi"]
        assert {each["name"]: each["found"] for each in found["features"]} == _libssl.features
        assert all(each["since"] for each in found["features"])

    def test_as_a_program(self) -> None:
        done = sslsession("doctor")
        assert done.stderr == ""
        assert "\x1b" not in done.stdout
        assert "verdict:     this interpreter is supported" in done.stdout

    def test_as_a_subcommand(self) -> None:
        testing = pytest.importorskip("click.testing")
        pytest.importorskip("rich")
        from sslsession.cli import cli

        done = testing.CliRunner().invoke(cli, ["doctor", "--json"])
        assert done.exit_code == 0
        assert json.loads(done.output)["supported"] is True

    def test_unknown_option(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as end:
            main(["doctor", "--colour"])
        assert end.value.code == 2
        assert "sslsession doctor: error" in capsys.readouterr().err


class TestUnsupported:
    def test_the_proof_fails(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(_borrow, "_verdict", "there is another libssl")
        said = labelled(told(capsys, status=1))
        assert said["proof"].startswith("failed")
        assert said["problem"] == "there is another libssl"
        assert said["verdict"] == "this interpreter is not supported"
        assert said["version"] == ssl.OPENSSL_VERSION

    @pytest.mark.skipif(sys.platform == "win32" or _borrow.PYPY, reason="libssl is found in another way")
    def test_no_libssl(self) -> None:
        said = labelled(run_python(BROKEN, args=["/nowhere.so"], env=UNMEASURED, expect=1).stdout)
        assert said["libssl"] == said["libcrypto"] == "not found"
        assert said["found by"] == "_ssl in /nowhere.so"
        assert said["proof"].startswith("not tried")
        assert "no libssl was found" in said["problem"]
        assert said["ssl module"] == ssl.OPENSSL_VERSION

    @pytest.mark.skipif(sys.platform == "win32" or _borrow.PYPY, reason="libssl is found in another way")
    def test_no_libssl_in_json(self) -> None:
        found = json.loads(
            run_python(BROKEN, args=["/nowhere.so", "--json"], env=UNMEASURED, expect=1).stdout
        )
        assert (found["supported"], found["proof"], found["unsupported"]) == (False, None, [])
        assert {each["found"] for each in found["features"]} == {False}

    def test_functions_that_are_missing(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        features = [
            _libssl.Feature("SSL_new_session_ticket", "3.0", False),
            _libssl.Feature("SSL_SESSION_get_time_ex", "3.3", False),
            _libssl.Feature("SSL_of_tomorrow", "9.0", False),
        ]
        monkeypatch.setattr(_libssl, "known_features", lambda: features)
        monkeypatch.setattr(_borrow, "PYPY", True)
        said = told(capsys)
        assert "SSL_new_session_ticket (not here, since OpenSSL 3.0)" in said
        assert (
            "unsupported: SSL_new_session_ticket came with OpenSSL 3.0: send_new_ticket(conn) raises" in said
        )
        assert "unsupported: SSL_of_tomorrow came with OpenSSL 9.0: what needs it" in said
        assert "unsupported: PyPy does not tell" in said


class TestOnATerminal:
    @pytest.fixture
    def found(self) -> dict[str, Any]:
        return doctor.examine()

    def test_colour_and_width(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.delenv("NO_COLOR", raising=False)
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
        monkeypatch.setattr(_borrow, "_verdict", "a long story " * 20)
        said = told(capsys, status=1)
        assert "\x1b[31mthis interpreter is not supported\x1b[0m" in said
        assert "\nproblem:     \x1b[31ma long story a long" in said
        assert "\n             \x1b[31m" in said

    def test_no_colour(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
        assert "\x1b" not in told(capsys)

    def test_without_gil_or_files(self, found: dict[str, Any]) -> None:
        found.update(gil=False, extension=None, cffi=None, unsupported=[])
        said = {label: text for label, text, _ in doctor.lines(found)}
        assert said["interpreter"].endswith(", without GIL")
        assert (said["extension"], said["cffi"], said["unsupported"]) == ("-", "-", "nothing")
