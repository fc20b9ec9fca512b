"""Python code run in a child interpreter: for what may crash, fork or exit."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent.parent


def run_python(
    code: str,
    *,
    env: Mapping[str, str | None] | None = None,
    timeout: float = 60,
    args: Sequence[str | Path] = (),
    expect: int | None = 0,
    stdin: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run `code` (dedented) with this interpreter, `args` being its sys.argv[1:].

    Warnings are errors there, faulthandler is on, the working directory is empty
    and its own, and `helpers` can be imported. `env` is added to this environment;
    None takes a variable away. AssertionError with all it said if its status
    is not `expect` (None: any; negative: a signal), or after `timeout` seconds.
    """
    variables = {**os.environ, "PYTHONPATH": str(TESTS)}
    for name, value in (env or {}).items():
        if value is None:
            variables.pop(name, None)
        else:
            variables[name] = value
    argv = [sys.executable, "-W", "error", "-X", "faulthandler", "-c"]
    argv += [textwrap.dedent(code), *map(str, args)]
    with tempfile.TemporaryDirectory() as cwd:
        try:
            done = subprocess.run(
                argv,
                input=stdin,
                capture_output=True,
                text=True,
                cwd=cwd,
                env=variables,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            # Bytes on POSIX and text on Windows, whatever the annotation says.
            parts: list[Any] = [error.stdout or "", error.stderr or ""]
            said = "".join(p.decode(errors="replace") if isinstance(p, bytes) else p for p in parts)
            raise AssertionError(f"not done in {timeout} s\n{said}") from None
    if expect is not None and done.returncode != expect:
        raise AssertionError(
            f"status {done.returncode}, expected {expect}\nstdout:\n{done.stdout}\nstderr:\n{done.stderr}"
        )
    return done
