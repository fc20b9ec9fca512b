"""Pointers borrowed from ssl's objects: proved before use, and refused, never followed, where the proof fails."""

from __future__ import annotations

import ssl
import sys
from types import SimpleNamespace
from typing import Any

import pytest

import sslsession
from helpers.certs import Authority, Identity
from helpers.child_contexts import arguments
from helpers.children import run_python
from helpers.peers import SocketPair, client_context, connect, server_context
from sslsession import _borrow, _libssl
from sslsession._libssl import ffi, lib

pytestmark = pytest.mark.binding

PYPY = sys.implementation.name == "pypy"
ADVICE = "python -m sslsession doctor"
cpython_layout = pytest.mark.skipif(PYPY, reason="PyPy shows its pointers")
linux = pytest.mark.skipif(sys.platform != "linux", reason="the copy is made of an ELF file")

REFUSAL = """
import ssl
import sslsession
from sslsession import _borrow

context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
connection = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())

def refusals():
    for call in (
        lambda: sslsession.get_session(connection),
        lambda: sslsession.SessionHooks(context, new=print),
        lambda: sslsession.send_new_ticket(connection),
        lambda: sslsession.why_not_resumed(connection),
    ):
        try:
            call()
        except sslsession.UnsupportedInterpreter as error:
            print(error)
"""


def test_this_interpreter_s_pointers_are_proved() -> None:
    _borrow.prove()
    assert _borrow._try_proof() == ""


@cpython_layout
@pytest.mark.parametrize("by", [-16, -8, 8, 16, 24, 64, 4096, 2**40, -(2**40)])
@pytest.mark.parametrize("which", ["CONTEXT_OFFSET", "SSL_OFFSET", "both"])
def test_a_wrong_offset_is_refused_and_never_a_crash(by: int, which: str) -> None:
    done = run_python(
        REFUSAL
        + f"""
if {which!r} in ("CONTEXT_OFFSET", "both"):
    _borrow.CONTEXT_OFFSET += {by}
if {which!r} in ("SSL_OFFSET", "both"):
    _borrow.SSL_OFFSET += {by}
refusals()
"""
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert set(lines) == {lines[0]}
    assert "cannot prove where this interpreter keeps its OpenSSL pointers" in lines[0]
    assert "libssl" in lines[0]
    assert ADVICE in lines[0]
    assert done.stderr == ""


@cpython_layout
def test_wild_memory_is_read_without_a_fault() -> None:
    target = ffi.new("char[16]")
    for address in (0, 8, 4096, 2**47 + 8, 2**63, 2**64 - 8):
        assert not lib.sslsession_read_memory(ffi.cast("void *", address), target, 8)
    source = ffi.new("char[16]", b"0123456789abcdef")
    assert lib.sslsession_read_memory(source, target, 16)
    assert bytes(ffi.buffer(target)) == b"0123456789abcdef"
    assert not lib.sslsession_read_memory(source, target, 2**20)


COPY = """
import ctypes, shutil, sys
import _ssl, ssl
import importlib.util, types

package = types.ModuleType("sslsession")
package.__path__ = importlib.util.find_spec("sslsession").submodule_search_locations
sys.modules["sslsession"] = package
from sslsession import _libssl

copy = sys.argv[1]
shutil.copyfile(_libssl.path_of(), copy)
second = ctypes.CDLL(copy)
assert second.TLS_client_method
_libssl._holder = lambda: (copy, "a copy of libssl")
_libssl.load()
del sys.modules["sslsession"]
"""


@linux
@cpython_layout
def test_fact_63_a_second_copy_of_libssl_is_told_by_its_method(tmp_path: Any) -> None:
    done = run_python(COPY + REFUSAL + "refusals()\n", args=[tmp_path / "libcopied.so"])
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert set(lines) == {lines[0]}
    assert "libcopied.so" in lines[0]
    assert ADVICE in lines[0]


@linux
@cpython_layout
def test_fact_63_such_a_copy_takes_the_first_one_s_pointers(tmp_path: Any) -> None:
    done = run_python(
        COPY
        + REFUSAL
        + """
from sslsession._libssl import ffi, lib
ctx, handle = _borrow._context_at(context), _borrow._ssl_at(connection._sslobj)
print(lib.SSL_get_SSL_CTX(handle) == ctx)
print(int(ffi.cast("uintptr_t", lib.SSL_get_ex_data(handle, 0))) == id(connection._sslobj))
print(lib.SSL_CTX_get_ssl_method(ctx) == lib.TLS_client_method())
_borrow._structure_holds = lambda *_: True
refusals()
""",
        args=[tmp_path / "libcopied.so"],
    )
    lines = done.stdout.splitlines()
    assert lines[:3] == ["True", "True", "False"]
    assert "the context's method belongs to another copy of libssl" in lines[3]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("lib.SSL_get_SSL_CTX = lambda handle: ffi.NULL", "does not name its context"),
        ("lib.SSL_get_ex_data = lambda handle, index: ffi.NULL", "does not name its Python object"),
        (
            "lib.OpenSSL_version = lambda kind: ffi.new('char[]', b'OpenSSL 9.9')",
            "this libssl is OpenSSL 9.9, and ssl uses",
        ),
    ],
)
def test_each_part_of_the_proof_is_needed(broken: str, said: str) -> None:
    done = run_python(REFUSAL + f"from sslsession._libssl import ffi, lib\n{broken}\nrefusals()\n")
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert said in lines[0]


@pytest.mark.skipif(sys.platform == "win32", reason="RLIMIT_NOFILE is POSIX's")
def test_a_process_without_a_free_descriptor_can_go_on_once_it_has_one() -> None:
    done = run_python(
        REFUSAL
        + """
import os, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
held = []
try:
    while True:
        held.append(os.dup(1))
except OSError:
    pass
try:
    sslsession.get_session(connection)
    print("worked")
except OSError as error:
    print("OSError")
except sslsession.UnsupportedInterpreter as error:
    print(error)
for fd in held:
    os.close(fd)
print(sslsession.get_session(connection))
"""
    )
    lines = done.stdout.splitlines()
    assert lines[0] in ("worked", "OSError")
    assert lines[1] == "None"


def test_importing_works_where_the_proof_would_fail() -> None:
    done = run_python(
        """
        import ssl
        ssl.OPENSSL_VERSION = "OpenSSL of another world"
        import sslsession
        print(sslsession.__version__)
        """
    )
    assert done.stdout == f"{sslsession.__version__}\n"


def test_threads_prove_at_once(ca: Authority, server_identity: Identity) -> None:
    done = run_python(
        """
        import threading
        from helpers import child_contexts
        from helpers.peers import connect
        import sslsession

        pair = connect(child_contexts.client(), child_contexts.server())
        barrier, found = threading.Barrier(8), []

        def take():
            barrier.wait(20)
            found.append(sslsession.get_session(pair.client).is_resumable)

        threads = [threading.Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(found)
        """,
        args=arguments(ca, server_identity),
    )
    assert done.stdout == f"{[True] * 8}\n"


def test_the_pointers_of_a_subclass_are_the_same(ca: Authority, server_identity: Identity) -> None:
    class Context(ssl.SSLContext):
        extra = 1

    class Socket(ssl.SSLSocket): ...

    ctx = client_context(ca, cls=Context)
    ctx.sslsocket_class = Socket
    with SocketPair(ctx, server_context(server_identity)) as pair:
        borrowed = _borrow.borrow(pair.client)
        assert lib.SSL_get_SSL_CTX(borrowed.ssl) == _borrow.context_pointer(ctx)
        assert borrowed.owner is pair.client


def test_a_connection_s_pointer_leads_back_to_its_owner(ca: Authority, server_identity: Identity) -> None:
    pair = connect(client_context(ca), server_context(server_identity))
    for conn in (pair.client, pair.server):
        borrowed = _borrow.borrow(conn)
        again = _borrow.borrow_pointer(borrowed.ssl)
        assert again.keeper is borrowed.keeper
        assert again.owner is conn
    pair.close()


@pytest.mark.parametrize("thing", [None, 7, "conn", object(), SimpleNamespace(sock=7)], ids=repr)
def test_what_is_no_connection_is_a_type_error(thing: Any) -> None:
    with pytest.raises(TypeError, match="no ssl connection is behind"):
        sslsession.get_session(thing)


def test_no_kept_pointer_once_the_socket_is_closed(ca: Authority, server_identity: Identity) -> None:
    with SocketPair(client_context(ca), server_context(server_identity)) as pair:
        client = pair.client
    with pytest.raises(sslsession.SessionError):
        sslsession.get_session(client)
    assert _libssl.problem is None


def test_a_connection_of_somebody_elses_making_is_refused_before_it_is_read() -> None:
    """Mocks and wrappers put objects of their own where ssl keeps its connection."""
    fake = object.__new__(ssl.SSLObject)
    fake._sslobj = type("Mock", (), {})()
    with pytest.raises(TypeError, match="Mock"):
        sslsession.get_session(fake)
