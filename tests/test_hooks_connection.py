"""What a hook may do with the connection it is given, also where ssl holds a mutex of it."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

import sslsession
from helpers.certs import Authority, Identity
from helpers.child_contexts import arguments
from helpers.children import run_python
from helpers.contexts import VERSIONS
from helpers.peers import Pair, SocketPair, client_context, connect, server_context

pytestmark = pytest.mark.binding


def read_everything(conn: Any, found: list[Any]) -> None:
    """Every setting of a connection, and what this library tells of it."""
    found += [
        conn.version(),
        conn.cipher(),
        conn.compression(),
        conn.server_hostname,
        conn.server_side,
        conn.selected_alpn_protocol(),
        conn.pending(),
        conn.context,
        sslsession.get_session(conn),
        sslsession.why_not_resumed(conn),
    ]


def test_fact_70_a_new_hook_may_read_its_connection_s_settings(
    ca: Authority, server_identity: Identity, tls_version: str
) -> None:
    found: list[Any] = []
    client, server = (
        client_context(ca, version=tls_version),
        server_context(server_identity, session_tickets=False),
    )

    def new(conn: Any, session: sslsession.Session) -> None:
        read_everything(conn, found)

    with sslsession.SessionHooks(client, new=new), sslsession.SessionHooks(server, new=new):
        pair = connect(client, server)
        pair.close()
    assert set(found[0::10]) == {None}, "ssl itself knows no version while a handshake message is at work"
    assert {session.version for session in found[8::10]} == {VERSIONS[tls_version]}


def test_fact_70_a_get_hook_may_read_its_connection_s_settings(
    ca: Authority, server_identity: Identity
) -> None:
    found: list[Any] = []
    client, server = client_context(ca), server_context(server_identity, version="1.2", session_tickets=False)
    with sslsession.SessionHooks(server, get=lambda conn, session_id: read_everything(conn, found)):
        connect(client, server).close()
    assert found[3:5] == [None, True]
    assert found[7] is server


def test_fact_70_on_sockets(ca: Authority, server_identity: Identity, tls_version: str) -> None:
    found: list[Any] = []
    client = client_context(ca, version=tls_version)
    with sslsession.SessionHooks(client, new=lambda conn, session: read_everything(conn, found)):
        with SocketPair(client, server_context(server_identity)) as pair:
            pair.exchange()
            assert found[7] is client


def test_fact_70_a_hook_may_use_other_connections(
    ca: Authority, server_identity: Identity, tls_version: str
) -> None:
    client, server = client_context(ca, version=tls_version), server_context(server_identity)
    other_client, done = client_context(ca), []

    def new(conn: Any, session: sslsession.Session) -> None:
        pair = connect(other_client, server)
        pair.close()
        fresh = Pair(client, server)
        if not session.single_use:
            sslsession.set_session(fresh.client, session)
        done.append(conn)

    with sslsession.SessionHooks(client, new=new):
        connect(client, server).close()
    assert len(done) == (2 if tls_version == "1.3" else 1)


def test_a_hook_may_open_and_close_hooks(ca: Authority, server_identity: Identity, tls_version: str) -> None:
    client, later = client_context(ca, version=tls_version), []

    def new(conn: Any, session: sslsession.Session) -> None:
        later.append(sslsession.SessionHooks(conn.context, new=lambda conn, session: None))
        hooks.close()

    hooks = sslsession.SessionHooks(client, new=new)
    pair = connect(client, server_context(server_identity))
    assert len(later) == 1
    later[0].close()
    pair.close()


def test_fact_70_writing_to_the_very_connection_is_its_owner_s(
    ca: Authority, server_identity: Identity
) -> None:
    """Where ssl has a mutex for each connection it waits for itself for ever: the child's watchdog ends it."""
    done = run_python(
        """
        import faulthandler, sys
        import sslsession
        from helpers import child_contexts
        from helpers.peers import connect

        faulthandler.dump_traceback_later(2, exit=True)

        def new(conn, session):
            conn.write(b"from inside a hook")

        client = child_contexts.client(version="1.3")
        with sslsession.SessionHooks(client, new=new):
            pair = connect(client, child_contexts.server())
            print("written" if b"inside" in pair.server_received else "not written")
        """,
        args=arguments(ca, server_identity),
        expect=None,
    )
    waits_for_itself = "Timeout" in done.stderr
    assert waits_for_itself or done.stdout or "SSL" in done.stderr


def test_renegotiating_inside_a_hook_breaks_no_handshake(ca: Authority, server_identity: Identity) -> None:
    client, errors = client_context(ca, version="1.2"), []

    def new(conn: Any, session: sslsession.Session) -> None:
        with pytest.raises(sslsession.SessionError) as caught:
            sslsession.renegotiate(conn)
        errors.append(caught.value)

    with sslsession.SessionHooks(client, new=new):
        pair = connect(client, server_context(server_identity))
        pair.close()
    assert errors


def test_set_session_inside_a_hook_is_refused(
    ca: Authority, server_identity: Identity, tls_version: str
) -> None:
    client, refused = client_context(ca, version=tls_version), []

    def new(conn: Any, session: sslsession.Session) -> None:
        with pytest.raises(sslsession.SessionError):
            sslsession.set_session(conn, session)
        refused.append(session)

    with sslsession.SessionHooks(client, new=new):
        pair = connect(client, server_context(server_identity))
        pair.close()
    assert refused


def test_the_connection_is_the_one_that_people_hold(
    ca: Authority, server_identity: Identity, tls_version: str
) -> None:
    client, conns = client_context(ca, version=tls_version), []

    class MySocket(ssl.SSLSocket): ...

    client.sslsocket_class = MySocket
    with sslsession.SessionHooks(client, new=lambda conn, session: conns.append(conn)):
        with SocketPair(client, server_context(server_identity)) as pair:
            pair.exchange()
            assert {type(conn) for conn in conns} == {MySocket}
            assert set(map(id, conns)) == {id(pair.client)}
