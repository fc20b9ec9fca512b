"""``sslsession doctor``: whether this interpreter's OpenSSL can be used, and how that is known. Needs no extra."""

from __future__ import annotations

import argparse
import json
import os
import platform
import ssl
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

import sslsession
from sslsession import _borrow, _libssl
from sslsession._libssl import Feature

LACKS = {
    "SSL_new_session_ticket": "send_new_ticket(conn) raises UnsupportedError",
    "SSL_SESSION_get_time_ex": "Session.time ends in 2038, since a C long has 32 bits here",
    "X509_VERIFY_PARAM_get0_host": "Policy.check_hostname is None",
    "X509_VERIFY_PARAM_get1_ip_asc": "Policy.check_hostname is None",
    "EVP_PKEY_get_group_name": "the group of some keys stays unknown",
}
"""What is missed without an optional function of OpenSSL."""
OK, FAIL = "\x1b[32m", "\x1b[31m"
RESET = "\x1b[0m"


def examine() -> dict[str, Any]:
    """All that the doctor knows, as plain values; ``supported`` is the verdict, ``problem`` the reason in words."""
    problem = _borrow.verdict()
    loaded = _libssl.problem is None
    features = _libssl.known_features()
    return {
        "supported": not problem,
        "problem": problem or None,
        "sslsession": sslsession.__version__,
        "extension": _libssl.extension_path(),
        "cffi": _cffi_version(),
        "interpreter": f"{platform.python_implementation()} {platform.python_version()}",
        "executable": sys.executable,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "gil": getattr(sys, "_is_gil_enabled", lambda: True)(),
        "ssl": ssl.OPENSSL_VERSION,
        "openssl": _libssl.text_version() if loaded else None,
        "libssl": _libssl.path_of("SSL_get_session") or None,
        "libcrypto": _libssl.path_of("OpenSSL_version_num") or None,
        "found_by": _libssl.found_by,
        "proof": None if not loaded else "failed" if problem else "passed",
        "features": [feature._asdict() for feature in features],
        "unsupported": _unsupported(features) if loaded else [],
    }


def _cffi_version() -> str | None:
    try:
        import _cffi_backend
    except ImportError:  # pragma: no cover - the extension would not have been imported
        return None
    return str(_cffi_backend.__version__)


def _unsupported(features: Sequence[Feature]) -> list[str]:
    """What does not work here and why, one sentence each."""
    told = [
        f"{each.name} came with OpenSSL {each.since}: {LACKS.get(each.name, 'what needs it raises UnsupportedError')}"
        for each in features
        if not each.found and not (each.name == "SSL_SESSION_get_time_ex" and _libssl.ffi.sizeof("long") > 4)
    ]
    if _borrow.PYPY:
        told.append("PyPy does not tell a callback its connection: hooks are called with None for it")
    return told


def lines(found: dict[str, Any]) -> list[tuple[str, str, bool | None]]:
    """What is printed: a label, a text, and whether it is good (None: neither)."""
    proof = found["proof"]
    verdict = "this interpreter is supported" if found["supported"] else "this interpreter is not supported"
    return [
        ("sslsession", found["sslsession"], None),
        ("extension", found["extension"] or "-", None),
        ("cffi", found["cffi"] or "-", None),
        ("interpreter", f"{found['interpreter']}{'' if found['gil'] else ', without GIL'}", None),
        ("executable", found["executable"], None),
        ("platform", f"{found['platform']} ({found['machine']})", None),
        ("ssl module", found["ssl"], None),
        ("libssl", found["libssl"] or "not found", found["libssl"] is not None),
        ("libcrypto", found["libcrypto"] or "not found", found["libcrypto"] is not None),
        ("version", found["openssl"] or "-", None),
        ("found by", found["found_by"] or "-", None),
        ("proof", f"{proof or 'not tried'}: {PROOF[proof]}", proof == "passed"),
        *(
            (
                "feature",
                f"{each['name']} ({'here' if each['found'] else 'not here'}, since OpenSSL {each['since']})",
                each["found"] or None,
            )
            for each in found["features"]
        ),
        *(("unsupported", text, None) for text in found["unsupported"] or ["nothing"] if proof),
        *([("problem", found["problem"], False)] if found["problem"] else []),
        ("verdict", verdict, found["supported"]),
    ]


PROOF = {
    "passed": "the pointers in ssl's objects are this libssl's",
    "failed": "the pointers in ssl's objects cannot be trusted",
    None: "there is no libssl to prove anything with",
}


def main(arguments: Sequence[str]) -> int:
    """Prints the examination. Returns 0 where the interpreter is supported, 1 where it is not."""
    parser = argparse.ArgumentParser(
        prog="sslsession doctor",
        description="Says whether this interpreter's OpenSSL can be used, how that is known, and what it lacks.",
        epilog="The status is 0 where the interpreter is supported, and 1 where it is not.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args(list(arguments))
    found = examine()
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        terminal = sys.stdout.isatty()
        for label, text, good in lines(found):
            print(_shown(label, text, good, terminal=terminal))
    return 0 if found["supported"] else 1


def _shown(label: str, text: str, good: bool | None, *, terminal: bool) -> str:
    """A line; on a terminal folded to 80 columns, and coloured unless NO_COLOR is set."""
    if not terminal:
        return f"{label + ':':<13}{text}"
    folded = textwrap.wrap(text, 80 - 13, break_on_hyphens=False, break_long_words=False) or [""]
    if good is not None and not os.environ.get("NO_COLOR"):
        folded = [f"{OK if good else FAIL}{line}{RESET}" for line in folded]
    return "\n".join(f"{label + ':' if not at else '':<13}{line}" for at, line in enumerate(folded))
