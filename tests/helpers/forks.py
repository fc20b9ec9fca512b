"""For child interpreters whose code forks."""

from __future__ import annotations

import ast
import os
import traceback
import warnings
from collections.abc import Callable
from typing import Any


def in_child(work: Callable[[], Any]) -> Any:
    """What `work` returned in a forked child, if that is of literals; a child that fails fails this one too."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 and later warn where threads run; those of the library hold nothing as the process forks.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if not pid:
        status = 1
        try:
            os.write(write, repr(work()).encode())
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(write)
    said = b"".join(iter(lambda: os.read(read, 65536), b""))
    os.close(read)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == 0, (status, said)
    return ast.literal_eval(said.decode())
