"""The command, run as its users run it, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

TERMINAL = {"FORCE_COLOR": "1", "COLUMNS": "80", "NO_COLOR": None, "TERM": "xterm"}
"""What makes rich draw as on a terminal of 80 columns, for click's `CliRunner`."""


def sslsession(
    *argv: str | Path | int, expect: int = 0, stdin: bytes = b""
) -> subprocess.CompletedProcess[str]:
    """`python -m sslsession` in an empty directory, warnings being errors.

    AssertionError with all it said if its status is not `expect`.
    """
    command = [sys.executable, "-W", "error", "-m", "sslsession", *map(str, argv)]
    with tempfile.TemporaryDirectory() as cwd:
        done = subprocess.run(
            command, input=stdin, capture_output=True, cwd=cwd, env={**os.environ}, timeout=60
        )
    out, err = done.stdout.decode(), done.stderr.decode()
    if done.returncode != expect:
        raise AssertionError(f"{argv}: status {done.returncode}, expected {expect}\n{out}\n{err}")
    return subprocess.CompletedProcess(command, done.returncode, out, err)
