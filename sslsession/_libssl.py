"""The only importer of the extension: ``ffi``, ``lib``, and what this interpreter's libssl can do.

The functions of libssl and libcrypto are resolved once, at import, in the library that the interpreter's own ``ssl``
uses. ``problem`` is None where that went well; else it says what was found, every function raises
:class:`~sslsession.errors.UnsupportedInterpreter`, and importing still works. A function that only a newer OpenSSL has
is absent from ``features`` and raises :class:`~sslsession.errors.UnsupportedError` naming both.
"""

from __future__ import annotations

import importlib
import re
import ssl
import sys
from typing import Any, Callable, NamedTuple, NoReturn

from sslsession import _native
from sslsession.errors import UnsupportedError, UnsupportedInterpreter

ffi: Any = _native.ffi
OLDEST, NEWEST_MAJOR = (1, 1, 1), 4
NOT_MAIN = (
    "this is a sub-interpreter, and OpenSSL's callbacks can enter the main one only "
    "(with mod_wsgi: set WSGIApplicationGroup %{GLOBAL})"
)
ADVICE = (
    "Use a CPython whose ssl module links a shared OpenSSL 1.1.1 to 4.x: python.org's installers, "
    "Linux distributions, pyenv, conda, or the official container images. `python -m sslsession doctor` tells more."
)


class Feature(NamedTuple):
    """A function that not every OpenSSL has."""

    name: str
    since: str
    """The first OpenSSL that has it."""
    found: bool


class _Library:
    """Each function under OpenSSL's name, and ours (``sslsession_*``)."""

    def __getattr__(self, name: str) -> Any:
        raise UnsupportedInterpreter(explain()) if problem else AttributeError(name)


lib: Any = _Library()
features: dict[str, bool] = {}
problem: str | None = None
found_by = ""


def explain() -> str:
    """What is wrong with this interpreter and what to do; empty where nothing is."""
    return f"sslsession cannot use this interpreter's OpenSSL: {problem}. {ADVICE}" if problem else ""


def version() -> tuple[int, int, int]:
    """The version of the resolved library, as (major, minor, patch)."""
    number = lib.OpenSSL_version_num()
    if number >> 28 < 3:
        return number >> 28, number >> 20 & 0xFF, number >> 12 & 0xFF
    return number >> 28, number >> 20 & 0xFF, number >> 4 & 0xFF


def extension_path() -> str | None:
    """The file of the extension; None where it is part of the program."""
    path = getattr(_native, "__file__", None)
    return None if path is None else str(path)


def text_version() -> str:
    """What the resolved library calls itself (OpenSSL_version)."""
    return str(ffi.string(lib.OpenSSL_version(0)).decode(errors="replace"))


def known_features() -> list[Feature]:
    """Every optional function, whether it was found, also where ``problem`` is set."""
    native = _native.lib
    listed = []
    for index in range(native.sslsession_symbol_count()):
        since = native.sslsession_symbol_since(index)
        if since:
            name = ffi.string(native.sslsession_symbol_name(index)).decode()
            listed.append(
                Feature(name, ffi.string(since).decode(), bool(native.sslsession_symbol_found(index)))
            )
    return listed


def path_of(symbol: str = "SSL_get_session") -> str:
    """The file that holds ``symbol``; empty where the system cannot say."""
    buffer = ffi.new("char[4096]")
    length = _native.lib.sslsession_library_path(symbol.encode(), buffer, 4096)
    return ffi.string(buffer).decode(errors="replace") if length else ""


def _in_subinterpreter() -> bool:
    """Whether this is not the process's first interpreter: callbacks out of C belong to one, and it is the first."""
    for name in ("_interpreters", "_xxsubinterpreters"):
        try:
            interpreters: Any = importlib.import_module(name)
        except ImportError:
            continue
        here, first = interpreters.get_current(), interpreters.get_main()
        return bool(here != first)
    return False


def _holder() -> tuple[str | None, str]:
    """The file of the module that has libssl loaded (None: built into the program), and its name for people."""
    name = "_pypy_openssl" if sys.implementation.name == "pypy" else "_ssl"
    module = importlib.import_module(name)
    path = getattr(module, "__file__", None)
    if path is not None and sys.platform == "win32":
        path = re.split(r"[\\/]", path)[-1]
    return path, name


def _missing(name: str, since: str) -> Callable[..., NoReturn]:
    def raises(*_: object) -> NoReturn:
        raise UnsupportedError(
            f"{ssl.OPENSSL_VERSION} has no {name}: it came with OpenSSL {since}. "
            "Use an interpreter with that version or a newer one."
        )

    return raises


def _fill() -> None:
    native = _native.lib
    absent = {}
    for index in range(native.sslsession_symbol_count()):
        name = ffi.string(native.sslsession_symbol_name(index)).decode()
        since = native.sslsession_symbol_since(index)
        if since:
            features[name] = bool(native.sslsession_symbol_found(index))
            if not features[name]:
                absent[name] = _missing(name, ffi.string(since).decode())
    for name in {*dir(native), *absent}:
        setattr(lib, name, absent.get(name) or getattr(native, name))


def resolve(module_path: str | None, module_name: str) -> str | None:
    """Fills ``lib`` from the libssl that ``module_path`` has loaded; returns the problem, or None.

    Only this module calls it at import; tests call it in child processes to reach the ways it can fail.
    """
    global found_by
    native = _native.lib
    where = module_path or "the program itself"
    found_by = f"{module_name} in {where}"
    path = module_path.encode() if module_path is not None else ffi.NULL
    missing = native.sslsession_load(path)
    reason = ffi.string(native.sslsession_load_error()).decode(errors="replace")
    if missing < 0:
        return f"no libssl was found through {found_by} ({reason})"
    if missing:
        return (
            f"the OpenSSL of {found_by} hides or lacks {missing} of the functions needed ({reason}); "
            "it is linked statically with hidden symbols, or is no OpenSSL 1.1.1 to 4.x"
        )
    _fill()
    if not OLDEST <= version() < (NEWEST_MAJOR + 1, 0, 0):
        found = ffi.string(lib.OpenSSL_version(0)).decode(errors="replace")
        return f"{found} was found through {found_by}, and OpenSSL 1.1.1 to 4.x is needed"
    if not lib.sslsession_prepare():
        return "OpenSSL has no ex_data index left"
    return None


def load() -> None:
    """Resolves the interpreter's own libssl, and keeps what is wrong in ``problem``."""
    global problem
    path, name = _holder()
    problem = NOT_MAIN if _in_subinterpreter() else resolve(path, name)
    if problem is not None:
        vars(lib).clear()
        features.clear()


load()
