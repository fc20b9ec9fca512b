"""Contexts that hide the `SSL_CTX` their connections use, as `truststore.SSLContext` does: found inside, or refused."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

import sslsession
from helpers.certs import Authority, Identity
from helpers.child_contexts import arguments
from helpers.children import run_python
from helpers.openssl_calls import slots
from helpers.peers import EchoServer, client_context, connect, dial, server_context
from sslsession._borrow import context_pointer, true_context
from sslsession._libssl import ffi

pytestmark = pytest.mark.binding


class Wrapping(ssl.SSLContext):
    """An `SSLContext` whose own `SSL_CTX` is never used: all it does, another one inside does."""

    def __init__(self, protocol: Any = None) -> None:
        self._ctx = ssl.SSLContext(protocol)

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        return self._ctx.wrap_bio(*args, **kwargs)

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        return self._ctx.wrap_socket(*args, **kwargs)

    def load_verify_locations(self, *args: Any, **kwargs: Any) -> None:
        self._ctx.load_verify_locations(*args, **kwargs)

    def load_cert_chain(self, *args: Any, **kwargs: Any) -> None:
        self._ctx.load_cert_chain(*args, **kwargs)


for name in ("check_hostname", "verify_mode", "minimum_version", "maximum_version", "options", "num_tickets"):
    setattr(
        Wrapping,
        name,
        property(
            lambda self, n=name: getattr(self._ctx, n),
            lambda self, value, n=name: setattr(self._ctx, n, value),
        ),
    )


class Changing(Wrapping):
    """Makes each connection with a context of its own."""

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        self._ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._ctx.check_hostname = False
        return self._ctx.wrap_bio(*args, **kwargs)


class Lying(ssl.SSLContext):
    """Its connections say that they have a context which they do not have."""

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        made = super().wrap_bio(*args, **kwargs)
        other = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

        class Claims(ssl.SSLObject):
            context = other

        made.__class__ = Claims
        return made


def test_the_inner_context_is_found(ca: Authority, server_identity: Identity) -> None:
    for ctx in (client_context(ca, cls=Wrapping), server_context(server_identity, cls=Wrapping)):
        assert true_context(ctx) is ctx._ctx  # type: ignore[attr-defined]
    plain = client_context(ca)
    assert true_context(plain) is plain


def test_hooks_attach_to_the_inner_context(
    ca: Authority, server_identity: Identity, tls_version: str
) -> None:
    ctx, seen = client_context(ca, version=tls_version, cls=Wrapping), []
    hooks = sslsession.SessionHooks(ctx, new=lambda conn, session: seen.append((conn, session)))
    assert slots(ctx)["new"] == ffi.NULL
    assert slots(ctx._ctx)["new"] != ffi.NULL  # type: ignore[attr-defined]
    pair = connect(ctx, server_context(server_identity))
    pair.close()
    assert seen
    assert all(conn is pair.client and session.is_resumable for conn, session in seen)
    hooks.close()
    assert set(slots(ctx._ctx).values()) == {ffi.NULL}  # type: ignore[attr-defined]


def test_hooks_attach_on_servers_too(ca: Authority, server_identity: Identity) -> None:
    server, seen = server_context(server_identity, session_tickets=False, cls=Wrapping), []
    with sslsession.SessionHooks(server, new=lambda conn, session: seen.append(session)):
        connect(client_context(ca), server).close()
    assert len(seen) == 2


def test_sockets_of_such_a_context_are_served_as_well(ca: Authority, server_identity: Identity) -> None:
    ctx, seen = client_context(ca, version="1.2", cls=Wrapping), []
    with sslsession.SessionHooks(ctx, new=lambda conn, session: seen.append(session)):
        with EchoServer(server_context(server_identity)) as server:
            dial(server.port, ctx).close()
    assert len(seen) == 1


def test_a_context_that_changes_with_each_connection_is_refused(ca: Authority) -> None:
    """Whatever was attached to, its connections would use another."""
    with pytest.raises(sslsession.SessionError, match="Changing hides the SSL_CTX"):
        sslsession.SessionHooks(client_context(ca, cls=Changing), new=print)


def test_a_context_whose_connections_name_another_is_refused(ca: Authority) -> None:
    ctx = client_context(ca, cls=Lying)
    with pytest.raises(sslsession.SessionError, match="Lying hides the SSL_CTX"):
        sslsession.SessionHooks(ctx, new=print)
    assert slots(ctx)["new"] == ffi.NULL


@pytest.mark.parametrize("protocol", [ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER])
def test_each_protocol_attaches(protocol: Any) -> None:
    ctx = ssl.SSLContext(protocol)
    with sslsession.SessionHooks(ctx, new=print):
        assert slots(ctx)["new"] != ffi.NULL


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_context_for_both_sides_attaches() -> None:
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS)
    with sslsession.SessionHooks(ctx, new=print):
        assert slots(ctx)["new"] != ffi.NULL


def test_context_pointer_is_of_the_context_itself(ca: Authority) -> None:
    ctx = client_context(ca, cls=Wrapping)
    assert context_pointer(ctx) != context_pointer(ctx._ctx)  # type: ignore[attr-defined]


def test_the_proof_holds_where_ssl_s_own_class_was_replaced_before(
    ca: Authority, server_identity: Identity
) -> None:
    """As `truststore.inject_into_ssl()` does."""
    done = run_python(
        """
        import ssl

        original = ssl.SSLContext

        class Wrapping(original):
            def __new__(cls, protocol=None):
                return original.__new__(cls, protocol)
            def __init__(self, protocol=None):
                self._ctx = original(protocol)
            def wrap_bio(self, *args, **kwargs):
                return self._ctx.wrap_bio(*args, **kwargs)
            @property
            def check_hostname(self):
                return self._ctx.check_hostname
            @check_hostname.setter
            def check_hostname(self, value):
                self._ctx.check_hostname = value

        from helpers import child_contexts
        from helpers.peers import connect

        server, client = child_contexts.server(), child_contexts.client(cls=original)
        ssl.SSLContext = Wrapping
        import sslsession
        pair = connect(client, server)
        print(sslsession.get_session(pair.client).is_resumable)
        pair.close()
        """,
        args=arguments(ca, server_identity),
    )
    assert done.stdout == "True\n"
