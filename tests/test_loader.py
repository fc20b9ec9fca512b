"""How the interpreter's own libssl is found, and what is said where it cannot be used; in child interpreters."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

import sslsession
from helpers.certs import Authority, Identity
from helpers.child_contexts import arguments
from helpers.children import run_python
from sslsession import _libssl

pytestmark = pytest.mark.binding

ADVICE = "python -m sslsession doctor"
BREAK = """
import importlib.util, sys, types

# The loader alone, and the package only after it failed.
package = types.ModuleType("sslsession")
package.__path__ = importlib.util.find_spec("sslsession").submodule_search_locations
sys.modules["sslsession"] = package
from sslsession import _libssl

def broken(module_path, module_name="_ssl", **replaced):
    "Loads as a process would where the module is another, or what is replaced is so."
    for name, value in replaced.items():
        setattr(_libssl, name, value)
    _libssl._holder = lambda: (module_path, module_name)
    _libssl.load()
    del sys.modules["sslsession"]

path, name = _libssl._holder()
"""
SAYS = """
import ssl
import sslsession

def refusals():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    connection = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())
    for call in (
        lambda: sslsession.get_session(connection),
        lambda: sslsession.SessionHooks(context),
        lambda: sslsession.send_new_ticket(connection),
        lambda: sslsession.renegotiate(connection),
        lambda: sslsession.update_keys(connection),
        lambda: sslsession.why_not_resumed(connection),
        lambda: sslsession.Session.from_der(b"junk"),
    ):
        try:
            call()
        except sslsession.UnsupportedInterpreter as error:
            print(error)
        except sslsession.InvalidSession:
            print("InvalidSession")
        else:
            print("worked")
"""

posix = pytest.mark.skipif(sys.platform == "win32", reason="dlopen is POSIX's")


def refusals(setup: str, *args: object) -> list[str]:
    """What each entry point says in a child that has run `setup` before `import sslsession`'s other modules."""
    done = run_python(BREAK + setup + SAYS + "refusals()\n", args=[str(each) for each in args])
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_this_interpreter_s_libssl_was_found() -> None:
    assert _libssl.problem is None
    assert _libssl.explain() == ""
    assert "ssl" in _libssl.found_by
    assert _libssl.OLDEST <= _libssl.version() < (5, 0, 0)
    assert "ssl" in Path(_libssl.path_of()).name


def test_path_of_what_was_not_found_is_empty() -> None:
    assert _libssl.path_of("SSL_no_such_function") == ""


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError):
        _ = _libssl.lib.SSL_no_such_function


@posix
def test_a_module_that_is_not_loaded() -> None:
    lines = refusals('broken("/nowhere/_ssl.so")\n')
    assert set(lines) == {lines[0]}
    assert "no libssl was found through _ssl in /nowhere/_ssl.so" in lines[0]
    assert ADVICE in lines[0]


@posix
def test_a_loaded_module_without_a_libssl() -> None:
    """As where it is linked statically and its symbols are hidden."""
    lines = refusals("broken(_libssl._native.__file__)\n")
    assert set(lines) == {lines[0]}
    assert "hides or lacks" in lines[0]
    assert "linked statically" in lines[0]
    assert ADVICE in lines[0]


@posix
def test_the_program_itself_without_a_libssl() -> None:
    lines = refusals("broken(None)\n")
    assert "the program itself" in lines[0]
    assert ADVICE in lines[0]


@pytest.mark.parametrize(
    ("found", "said"),
    [("(1, 1, 0)", "1.1.1 to 4.x is needed"), ("(5, 0, 0)", "1.1.1 to 4.x is needed")],
)
def test_a_version_out_of_range(found: str, said: str) -> None:
    lines = refusals(f"broken(path, name, version=lambda: {found})\n")
    assert set(lines) == {lines[0]}
    assert said in lines[0]
    assert ssl.OPENSSL_VERSION in lines[0]
    assert ADVICE in lines[0]


def test_no_ex_data_index_left() -> None:
    lines = refusals(
        """
fill = _libssl._fill
def filled():
    fill()
    _libssl.lib.sslsession_prepare = lambda: 0
broken(path, name, _fill=filled)
"""
    )
    assert "no ex_data index left" in lines[0]


@posix
@pytest.mark.skipif(not shutil.which("cc") and not shutil.which("gcc"), reason="no C compiler")
def test_a_libssl_without_one_function_says_which(tmp_path: Path) -> None:
    """A library that has all but one of the names needed: never called, since it is refused first."""
    names = [
        _libssl.ffi.string(_libssl._native.lib.sslsession_symbol_name(index)).decode()
        for index in range(_libssl._native.lib.sslsession_symbol_count())
    ]
    lacking = "SSL_CTX_sess_set_new_cb"
    source, library = tmp_path / "fake.c", tmp_path / "fake.so"
    source.write_text("".join(f"void {name}(void) {{}}\n" for name in names if name != lacking))
    compiler = shutil.which("cc") or shutil.which("gcc")
    subprocess.run([str(compiler), "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    lines = refusals("import ctypes\nheld = ctypes.CDLL(sys.argv[1])\nbroken(sys.argv[1], 'fake')\n", library)
    assert set(lines) == {lines[0]}
    assert f"hides or lacks 1 of the functions needed (it exports no: {lacking})" in lines[0]


@pytest.mark.parametrize("feature", sorted(_libssl.features))
def test_an_optional_function_that_is_absent_is_a_false_feature_and_an_unsupported_error(
    feature: str,
) -> None:
    done = run_python(
        BREAK
        + """
import ssl
native = _libssl._native.lib
index = next(
    i for i in range(native.sslsession_symbol_count())
    if _libssl.ffi.string(native.sslsession_symbol_name(i)).decode() == sys.argv[1]
)

class Lacking:
    "The extension, had the loader not found this one function."
    def __getattr__(self, name):
        return getattr(native, name)
    def __dir__(self):
        return dir(native)
    def sslsession_symbol_found(self, i):
        return 0 if i == index else native.sslsession_symbol_found(i)

class Module:
    lib, ffi = Lacking(), _libssl.ffi

broken(path, name, _native=Module)
assert _libssl.problem is None
assert _libssl.features[sys.argv[1]] is False
assert sys.argv[1] not in {name for name, found in _libssl.features.items() if found}
import sslsession
try:
    getattr(_libssl.lib, sys.argv[1])()
except sslsession.UnsupportedError as error:
    print(error)
""",
        args=[feature],
    )
    said = done.stdout.splitlines()[0]
    assert feature in said
    assert "it came with OpenSSL 3." in said


def test_send_new_ticket_without_its_function_is_unsupported(
    ca: Authority, server_identity: Identity
) -> None:
    done = run_python(
        """
        import ssl
        from sslsession import _libssl
        _libssl.lib.SSL_new_session_ticket = _libssl._missing("SSL_new_session_ticket", "3.0")
        import sslsession
        from helpers import child_contexts
        from helpers.peers import connect

        pair = connect(child_contexts.client(version="1.3"), child_contexts.server())
        try:
            sslsession.send_new_ticket(pair.server)
        except sslsession.UnsupportedError as error:
            assert isinstance(error, NotImplementedError)
            print(error)
        pair.exchange(b"unharmed")
        """,
        args=arguments(ca, server_identity),
    )
    assert "has no SSL_new_session_ticket: it came with OpenSSL 3.0" in done.stdout


def test_a_feature_is_what_the_library_exports() -> None:
    for name, found in _libssl.features.items():
        assert found is bool(_libssl.path_of(name))
        if not found:
            with pytest.raises(sslsession.UnsupportedError, match=name):
                getattr(_libssl.lib, name)()


def test_importing_says_nothing_and_opens_no_second_openssl() -> None:
    done = run_python(
        """
        import ssl, sys
        from pathlib import Path

        def mapped():
            lines = Path("/proc/self/maps").read_text().splitlines()
            return {line.split()[-1] for line in lines if "ssl" in line or "crypto" in line}

        before = mapped()
        import sslsession
        print(sorted(name for name in mapped() - before if "sslsession" not in name))
        """
        if sys.platform == "linux"
        else "import sslsession; print([])"
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
