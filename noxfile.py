"""All that is checked, as nox sessions; `nox -l` lists them, and plain `nox` runs what a change needs.

Each session that runs tests installs the package from its sdist and works in an empty directory: the checkout has
no compiled extension, and must never be what `import sslsession` finds.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import nox

ROOT = Path(__file__).resolve().parent
SETTINGS = ROOT / "pyproject.toml"
PROJECT = nox.project.load_toml(SETTINGS)
DIST = ROOT / "dist"
CPYTHONS = ["3.9", "3.10", "3.11", "3.12", "3.13", "3.14", "3.15"]
OTHERS = ["3.14t", "pypy3.11"]
BINDING = ("-m", "binding and not soak")
WHEEL_BYTES = 340_000
STRIPPED = {"CFLAGS": "-g0", "LDFLAGS": "-Wl,-s"} if sys.platform == "linux" else {}

nox.needs_version = ">=2025.5"
# Downloaded Pythons link OpenSSL statically and hide it, which is what this package cannot work with.
nox.options.download_python = "never"
nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True


def group(name: str) -> list[str]:
    """The requirements of one of pyproject.toml's dependency groups."""
    return list(nox.project.dependency_groups(PROJECT, name))


def build(session: nox.Session, out: str | Path, *what: str) -> None:
    """Put the sdist, and the wheel made from it, into `out`; `what` is "--sdist" for the sdist alone."""
    session.run("python", "-m", "build", *what, "--outdir", str(out), str(ROOT), silent=True, env=STRIPPED)


def install(session: nox.Session, *extras: str) -> None:
    """The package by its sdist, as a user's pip would, and what the tests need."""
    session.install(*group("test"), "build")
    with tempfile.TemporaryDirectory() as out:
        build(session, out, "--sdist")
        (sdist,) = Path(out).glob("*.tar.gz")
        session.install("--force-reinstall", "--no-deps", str(sdist))
    session.install(*PROJECT["project"]["dependencies"], *optional(*extras))


def optional(*extras: str) -> list[str]:
    """The requirements of these extras."""
    return [each for extra in extras for each in PROJECT["project"]["optional-dependencies"][extra]]


def pytest(session: nox.Session, *options: str, under: Sequence[str] = ()) -> None:
    """What `doctor` says, then pytest, in a directory with nothing to import. `under` is a command to run it with."""
    given = [
        str(ROOT / each) if (ROOT / each.partition("::")[0]).exists() else each for each in session.posargs
    ]
    where = [] if any(each.startswith(str(ROOT)) for each in given) else [str(ROOT / "tests")]
    module = [*(under or ["python"]), "-m", "pytest", "-c", str(SETTINGS), "--rootdir", str(ROOT)]
    with tempfile.TemporaryDirectory() as empty, session.chdir(empty):
        session.run("python", "-m", "sslsession", "doctor")
        session.run(*module, *options, *given, *where, external=bool(under))


def halves(session: nox.Session, under: Sequence[str]) -> None:
    """The same of all tests, two processes at a time: most of them wait for others most of their time."""
    with tempfile.TemporaryDirectory() as empty, session.chdir(empty):
        session.run("python", "-m", "sslsession", "doctor")
    files = sorted(str(each) for each in (ROOT / "tests").glob("test_*.py"))
    command = [str(Path(session.bin) / under[0]), *under[1:]]
    command += ["-m", "pytest", "-c", str(SETTINGS), "--rootdir", str(ROOT), "-p", "no:cacheprovider"]
    environment = {name: value for name, value in {**os.environ, **session.env}.items() if value is not None}
    with contextlib.ExitStack() as stack:
        running = []
        for half in (files[::2], files[1::2]):
            empty = stack.enter_context(tempfile.TemporaryDirectory())
            said = stack.enter_context(tempfile.TemporaryFile()) if running else None
            child = subprocess.Popen(
                [*command, *half],
                cwd=empty,
                env=environment,
                stdout=said,
                stderr=subprocess.STDOUT if said else None,
            )
            running.append((stack.enter_context(child), said))
        for child, said in running:
            child.wait()
            if said is not None:
                said.seek(0)
                sys.stdout.write(said.read().decode(errors="replace"))
                sys.stdout.flush()
    if any(child.returncode for child, _ in running):
        session.error("tests failed")


@nox.session
def tests(session: nox.Session) -> None:
    """Everything, on the Python that runs nox, with coverage."""
    install(session, "cli")
    session.install(*group("servers"))
    session.env["COVERAGE_FILE"] = str(ROOT / ".coverage")
    session.env["COVERAGE_RCFILE"] = str(SETTINGS)
    session.run("coverage", "erase")
    if session.posargs:
        pytest(session, under=["coverage", "run"])
    else:
        halves(session, under=["coverage", "run"])
    session.run("coverage", "combine", "--quiet")
    # Each platform has lines of its own, so one decides; a part of the tests decides nothing.
    decides = sys.platform == "linux" and sys.implementation.name == "cpython" and not session.posargs
    session.run("coverage", "report", *([] if decides else ["--fail-under=0"]))


@nox.session(python=[*CPYTHONS, *OTHERS])
def binding(session: nox.Session) -> None:
    """What depends on the interpreter and its OpenSSL, on this interpreter, built by it."""
    install(session)
    pytest(session, *BINDING)


@nox.session
def soak(session: nox.Session) -> None:
    """What takes minutes: threads, memory, freezes."""
    install(session, "cli")
    pytest(session, "-m", "soak")


@nox.session
def valgrind(session: nox.Session) -> None:
    """The binding's tests under valgrind: no invalid read or write, nothing definitely lost."""
    install(session)
    session.env["PYTHONMALLOC"] = "malloc"
    session.env["SSLSESSION_TEST_CERTS"] = "openssl"  # cryptography is large, and not what is looked at
    command = [
        *("valgrind", "--quiet", "--error-exitcode=99", "--leak-check=full", "--num-callers=40"),
        *("--show-leak-kinds=definite", "--errors-for-leak-kinds=definite"),
        "--undef-value-errors=no",  # CPython has many of its own, and ours could not be told from them
        *(f"--suppressions={ROOT / 'tests' / 'valgrind.supp'}", str(Path(session.bin) / "python")),
    ]
    pytest(session, *BINDING, "-o", "faulthandler_timeout=0", "-p", "no:cacheprovider", under=command)


@nox.session
def lint(session: nox.Session) -> None:
    """ruff, and that every setting in pyproject.toml is one that something reads."""
    session.install(*group("lint"), "coverage")
    session.run("ruff", "check", *(session.posargs or ["."]))
    session.run("ruff", "format", "--check", *(session.posargs or ["."]))
    session.run("validate-pyproject", str(SETTINGS))
    check_settings(session)


def check_settings(session: nox.Session) -> None:
    """A mistyped table is ignored by the tool it was meant for, so the names are compared here."""
    tools = PROJECT["tool"]
    known = {
        "tool": {"cibuildwheel", "coverage", "mypy", "pytest", "ruff", "setuptools"},
        "tool.coverage": {"paths", "report", "run"},
        "tool.pytest": {"ini_options"},
        "tool.ruff": {"exclude", "line-length", "lint", "src", "target-version"},
    }
    found = {
        "tool": tools,
        **{f"tool.{name}": tools.get(name, {}) for name in ("coverage", "pytest", "ruff")},
    }
    for table, names in known.items():
        if set(found[table]) != names:
            session.error(f"pyproject.toml: [{table}] has {sorted(found[table])}, expected {sorted(names)}")
    # coverage only warns of a key it does not know.
    session.run("python", "-W", "error", "-c", "import coverage; coverage.Coverage()")


@nox.session
def types(session: nox.Session) -> None:
    """mypy, strict; of a setting that mypy does not know it only warns, so that is an error here."""
    session.install(*group("types"), *PROJECT["project"]["dependencies"], *optional("cli"))
    said = session.run("mypy", *session.posargs, silent=True)
    session.log(said)
    if "pyproject.toml:" in str(said):
        session.error("mypy does not know a setting in pyproject.toml")


@nox.session
def wheel(session: nox.Session) -> None:
    """The sdist, the wheel built from it, what is in both, and the wheel installed on each Python there is.

    With `-- build` that last part is left to whoever calls `nox -s installed-3.9` and the others, two at a time, say.
    """
    session.install(*group("wheel"))
    shutil.rmtree(DIST, ignore_errors=True)
    build(session, DIST)
    (sdist,) = DIST.glob("*.tar.gz")
    (made,) = DIST.glob("*.whl")
    check_sdist(session, sdist)
    check_wheel(session, made)
    session.run("twine", "check", "--strict", str(sdist), str(made))
    if sys.platform == "linux":
        session.run("auditwheel", "show", str(made))
    if "-abi3-" not in made.name:
        session.warn(f"{made.name} is for this interpreter alone: tested nowhere else")
        return
    session.run("abi3audit", "--strict", "--report", str(made))
    present = [version for version in CPYTHONS if works(version)]
    session.log(f"to be installed on {', '.join(present)}")
    if not present:
        session.error("no Python to install the wheel on")
    for version in present if "build" not in session.posargs else ():
        session.notify(f"installed-{version}")


@nox.session(python=CPYTHONS, default=False)
def installed(session: nox.Session) -> None:
    """The wheel that `nox -s wheel` left in dist/, in an empty environment."""
    (made,) = DIST.glob("*-abi3-*.whl")
    session.install("--force-reinstall", f"{made}[cli]", *group("test"))
    pytest(session, *BINDING)


def works(version: str) -> bool:
    """Whether this Python can be started; what pyenv puts on PATH may only say that it cannot."""
    found = shutil.which(f"python{version}")
    return bool(found) and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0


def check_sdist(session: nox.Session, sdist: Path) -> None:
    """All that building and testing need is there."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = ["LICENSE", "_build/ffi.py", "_build/libssl.h", "sslsession/py.typed", "tests/conftest.py"]
    needed += [each.relative_to(ROOT).as_posix() for each in (ROOT / "_build").glob("*.[ch]")]
    if missing := [name for name in needed if name not in names]:
        session.error(f"{sdist.name} lacks {missing}")


def check_wheel(session: nox.Session, made: Path) -> None:
    """Small, ours alone, typed, and no libssl in it or asked for by it."""
    if (size := made.stat().st_size) >= WHEEL_BYTES:
        session.error(f"{made.name}: {size} bytes, {WHEEL_BYTES} are too many")
    with zipfile.ZipFile(made) as archive:
        names = archive.namelist()
        extensions = [name for name in names if name.endswith((".so", ".pyd", ".dylib"))]
        if len(extensions) != 1 or not extensions[0].startswith("sslsession/_native."):
            session.error(f"{made.name}: extensions {extensions}")
        if others := {name.partition("/")[0] for name in names} - {
            "sslsession",
            made.name.rsplit("-", 3)[0] + ".dist-info",
        }:
            session.error(f"{made.name} has {sorted(others)} in it")
        if "sslsession/py.typed" not in names:
            session.error(f"{made.name} lacks py.typed")
        session.log(f"{made.name}: {size} bytes")
        if sys.platform == "linux":
            with tempfile.TemporaryDirectory() as out:
                extension = archive.extract(extensions[0], out)
                dynamic = str(session.run("readelf", "--dynamic", extension, external=True, silent=True))
            needed = [line.split("[")[1].rstrip("]") for line in dynamic.splitlines() if "(NEEDED)" in line]
            session.log(f"needs {', '.join(needed)}")
            if any(name.startswith(("libssl", "libcrypto", "libpython")) for name in needed):
                session.error(f"{extensions[0]} needs {needed}")


@nox.session
def workflows(session: nox.Session) -> None:
    """The workflows: their form, their safety, and which wheels they make."""
    session.install(*group("workflows"))
    files = [str(each) for each in sorted((ROOT / ".github" / "workflows").glob("*.yml"))]
    rules = (
        "{extends: default, rules: {comments: {min-spaces-from-content: 1}, document-start: disable,"
        " line-length: {max: 120}, truthy: {check-keys: false}}}"
    )
    session.run("yamllint", "--strict", "-d", rules, *files)
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *files)
    session.run("zizmor", "--offline", "--no-progress", "--min-severity", "medium", *files)
    if shutil.which("actionlint"):
        session.run("actionlint", *files, external=True)
    platforms = {
        ("linux", "x86_64"): ["manylinux_x86_64", "musllinux_x86_64"],
        ("linux", "aarch64"): ["manylinux_aarch64", "musllinux_aarch64"],
        ("macos", "x86_64"): ["macosx_x86_64"],
        ("macos", "arm64"): ["macosx_arm64"],
        ("windows", "AMD64"): ["win_amd64"],
        ("windows", "ARM64"): ["win_arm64"],
    }
    for (platform, machine), tags in platforms.items():
        options = ["--platform", platform, "--archs", machine, "--print-build-identifiers"]
        made = str(session.run("cibuildwheel", *options, str(ROOT), silent=True)).split()
        session.log(f"{platform} {machine}: {' '.join(made)}")
        for tag in tags:
            pythons = {"cp311", "cp312", "cp313", "cp314", "cp315", "cp314t", "cp315t"}
            pythons |= set() if tag == "win_arm64" else {"cp39", "cp310"}
            pythons |= set() if tag == "win_arm64" or tag.startswith("musl") else {"pp311"}
            if missing := {f"{python}-{tag}" for python in pythons} - set(made):
                session.error(f"cibuildwheel does not make {sorted(missing)}")
