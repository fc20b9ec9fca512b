"""The cffi builder: ``libssl.h`` becomes a table of pointers, filled at import, with one caller each.

``cffi`` sees the declarations and our own C (``native.h``); the C compiler sees, for each function of ``libssl.h``,
a slot in ``ossl`` and a static function of the same name that calls through it. No OpenSSL header is included and
no OpenSSL library is linked: ``loader.c`` finds the interpreter's own.
"""

from __future__ import annotations

import re
import sys
import sysconfig
from pathlib import Path
from typing import NamedTuple

from cffi import FFI

HERE = Path(__file__).resolve().parent
SOURCES = (
    "platform.c",
    "loader.c",
    "events.c",
    "connection.c",
    "uses.c",
    "dates.c",
    "facts.c",
    "offers.c",
    "slots.c",
    "verify.c",
    "candidate.c",
    "pool.c",
    "pools.c",
    "peers.c",
    "unasked.c",
    "ring.c",
    "binding.c",
    "rules.c",
    "admission.c",
    "settling.c",
    "shelved.c",
    "early.c",
    "bench.c",
)
DECLARATION = re.compile(
    r"^(?P<returns>(?:const )?\w+(?: \w+)*? \*?)(?P<name>\w+)\((?P<parameters>.*)\);"
    r"(?: //(?: (?P<since>\d\.\d)| or (?P<alias>\w+))?(?P<hidden> C)?)?$"
)
OURS = re.compile(r'^(?:extern "Python" )?(\w[\w *]*\(.*\);)$', re.M)


NO_UNWINDING = ["-fno-asynchronous-unwind-tables", "-fno-unwind-tables"] if sys.platform == "linux" else []


class Function(NamedTuple):
    returns: str
    name: str
    parameters: list[str]
    since: str | None
    alias: str | None
    hidden: bool


def functions(header: str) -> list[Function]:
    """Each function that ``header`` declares; a line that is no function, typedef or comment is an error."""
    found = []
    for line in re.sub(r"/\*.*?\*/", "", header, flags=re.S).splitlines():
        if not line.strip() or line.startswith("typedef "):
            continue
        match = DECLARATION.match(line)
        if match is None:
            raise SyntaxError(f"libssl.h: cannot read {line!r}")
        listed = match["parameters"]
        parameters = [] if listed == "void" else [part.strip() for part in listed.split(",")]
        found.append(
            Function(
                match["returns"],
                match["name"],
                parameters,
                match["since"],
                match["alias"],
                bool(match["hidden"]),
            )
        )
    return found


def caller(function: Function) -> str:
    """The static C function by OpenSSL's name that calls through the table."""
    named = ", ".join(f"{kind} a{number}" for number, kind in enumerate(function.parameters)) or "void"
    given = ", ".join(f"a{number}" for number in range(len(function.parameters)))
    result = "" if function.returns.strip() == "void" else "return "
    return f"static inline {function.returns}{function.name}({named}) {{ {result}ossl.{function.name}({given}); }}"


def table(declared: list[Function]) -> str:
    """The C text of the slots, the list that the loader fills, and the callers."""
    slots = "\n".join(f"    {f.returns}(*{f.name})({', '.join(f.parameters) or 'void'});" for f in declared)
    rows = "\n".join(
        '    {{"{}", {}, {}, (void **)&ossl.{}}},'.format(
            f.name,
            f'"{f.alias}"' if f.alias else "NULL",
            f'"{f.since}"' if f.since else "NULL",
            f.name,
        )
        for f in declared
    )
    callers = "\n".join(caller(f) for f in declared)
    return (
        f"static struct {{\n{slots}\n}} ossl;\n\n"
        "struct symbol { const char *name, *alias, *since; void **slot; };\n"
        f"static const struct symbol symbols[] = {{\n{rows}\n}};\n\n{callers}\n"
    )


def build() -> FFI:
    bound = (HERE / "libssl.h").read_text()
    ours = (HERE / "native.h").read_text()
    declared = functions(bound)
    typedefs = "\n".join(line for line in bound.splitlines() if line.startswith("typedef "))
    plain = "\n".join(
        f"{f.returns}{f.name}({', '.join(f.parameters) or 'void'});" for f in declared if not f.hidden
    )
    builder = FFI()
    builder.cdef("\n".join((typedefs, plain, ours)))
    header = OURS.sub(r"static \1", ours)
    sources = [f'#line 1 "_build/{name}"\n' + (HERE / name).read_text() for name in SOURCES]
    prelude = "#include <stddef.h>\n#include <stdint.h>\n"
    feature_test = "#ifndef _GNU_SOURCE\n#define _GNU_SOURCE\n#endif\n"
    limited = sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")
    options = {
        "libraries": ["dl"] if sys.platform == "linux" else [],
        # Small: nothing here is in a loop, and the time goes to OpenSSL. Nobody unwinds a stack through it either.
        "extra_compile_args": (
            ["/O1"] if sys.platform == "win32" else ["-std=c11", "-fvisibility=hidden", "-Os", *NO_UNWINDING]
        ),
        "define_macros": [("Py_LIMITED_API", "0x03090000")] if limited else [],
        "py_limited_api": limited,
    }
    builder.set_source(
        "sslsession._native",
        "\n".join((feature_test + prelude, typedefs, table(declared), header, *sources)),
        **options,
    )
    return builder


ffibuilder = build()

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)
