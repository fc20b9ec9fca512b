"""The command itself: what it needs, how it helps, how it fails."""

from __future__ import annotations

import sys

import pytest

from helpers.children import run_python
from helpers.command import sslsession

pytest.importorskip("click")
pytest.importorskip("rich")

import click
from click.testing import CliRunner

import sslsession as library
from sslsession import __main__, _borrow
from sslsession.cli import COMMANDS, cli

WITHOUT = """
    import sys
    for name in sys.argv[1].split():
        sys.modules[name] = None
    from sslsession.__main__ import main
    sys.exit(main(sys.argv[2:]))
"""


def test_help_lists_every_command() -> None:
    for option in ("--help", "-h"):
        told = CliRunner().invoke(cli, [option])
        assert told.exit_code == 0
        assert all(f"  {name} " in told.output for name in COMMANDS)


def test_help_imports_no_command() -> None:
    code = """
        import sys
        from sslsession.__main__ import main
        try:
            main(["--help"])
        except SystemExit as end:
            assert not end.code
        assert not [name for name in sys.modules if name.startswith(("sslsession.cli.", "sslsession.probing"))]
    """
    assert "Commands:" in run_python(code).stdout


@pytest.mark.parametrize("command", ["probe", "show", "doctor"])
def test_help_of_each(command: str) -> None:
    told = sslsession(command, "--help").stdout
    assert told.lower().startswith(f"usage: sslsession {command}")
    assert "--json" in told
    assert max(map(len, told.splitlines())) <= 80


def test_version() -> None:
    assert sslsession("--version").stdout == f"sslsession, version {library.__version__}\n"


def test_names_of_the_commands() -> None:
    assert cli.list_commands(click.Context(cli)) == list(COMMANDS)


def test_unknown_command() -> None:
    told = CliRunner().invoke(cli, ["prob"])
    assert told.exit_code == 2
    assert "No such command 'prob'" in told.output


def test_main_takes_arguments_or_those_of_the_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sslsession", "--version"])
    for arguments in (None, ["--version"]):
        with pytest.raises(SystemExit) as end:
            __main__.main(arguments)
        assert not end.value.code
        assert capsys.readouterr().out.startswith("sslsession, version")


class TestWithoutTheExtra:
    @pytest.mark.parametrize(
        ("absent", "told"), [("click rich", "click and rich"), ("click", "click"), ("rich", "rich")]
    )
    def test_one_line_says_what_to_install(self, absent: str, told: str) -> None:
        done = run_python(WITHOUT, args=[absent, "probe", "localhost"], expect=1)
        assert done.stdout == ""
        assert done.stderr.startswith(f"sslsession: this needs {told}: pip install 'sslsession[cli]'")
        assert done.stderr.count("\n") == 1

    def test_in_this_process(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(__main__, "NEEDED", ("click", "no_such_module"))
        assert __main__.main(["--help"]) == 1
        assert "this needs no_such_module: " in capsys.readouterr().err

    def test_doctor_needs_none(self) -> None:
        assert "verdict:" in run_python(WITHOUT, args=["click rich", "doctor"]).stdout


def test_an_unsupported_interpreter_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_borrow, "_verdict", "this\ninterpreter will not do")
    told = CliRunner().invoke(cli, ["probe", "localhost"])
    assert told.exit_code == 1
    assert told.output == "Error: this interpreter will not do\n"
