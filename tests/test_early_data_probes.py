"""Ways in which early data might come twice, or under other settings than its session's, that one could think of."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from helpers.certs import Authority, Identity
from helpers.early import ACCEPTED, REJECTED, REQUEST, Site, each_way, meet, read_all, replay
from helpers.memory import Pair
from helpers.openssl_calls import set_cache_mode
from helpers.peers import server_context
from helpers.servers import STATEFUL, TICKETS13, Serving, Way
from helpers.sessions import GARBAGE_RECORD
from sslsession import SessionHooks, early_data_status, get_session, send_new_ticket, write_early_data
from sslsession._libssl import lib
from sslsession.stores import MemoryStore

pytestmark = pytest.mark.binding
way = each_way

CACHE_SERVER = 2


def test_the_server_s_own_code_replays_it(way: Way, ca: Authority, server_identity: Identity) -> None:
    """While it is asked, the token is still there: of the two, one gets it."""
    inner: list[Any] = []
    depth = [0]

    def accept(conn: Any, session: Any) -> bool:
        depth[0] += 1
        if depth[0] <= 3:
            inner.append(replay(flight, site.server))
        return True

    site = Site(ca, server_identity, way, accept_early_data=accept)
    flight = site.record()
    took = [replay(flight, site.server) for _ in range(2)]
    assert [each for each in (*inner, *took) if each] == [REQUEST]
    site.close()


@pytest.mark.parametrize("what", ["detach", "close", "revoke"])
def test_the_server_s_own_code_ends_it(way: Way, ca: Authority, server_identity: Identity, what: str) -> None:
    def accept(conn: Any, session: Any) -> bool:
        cache = site.serving.cache
        {
            "detach": lambda: cache.detach(site.server),
            "close": cache.close,
            "revoke": lambda: cache.revoke(server_name="localhost"),
        }[what]()
        return True

    site = Site(ca, server_identity, way, accept_early_data=accept)
    flight = site.record()
    took = [replay(flight, site.server) for _ in range(3)]
    assert len([each for each in took if each]) <= 1
    site.close()


def test_openssl_s_internal_cache_gives_no_session_twice(
    way: Way, ca: Authority, server_identity: Identity
) -> None:
    """Whoever turns it on again has sessions come back that were taken from the store."""
    site = Site(ca, server_identity, way)
    set_cache_mode(site.server, CACHE_SERVER)
    site.visit()
    flight = site.record()
    took = [replay(flight, site.server) for _ in range(5)]
    assert len([each for each in took if each]) <= 1
    site.close()


def test_openssl_s_own_replay_protection_beside_ours(
    way: Way, ca: Authority, server_identity: Identity
) -> None:
    """Whoever sets a context's options as a whole turns it on again: then tickets are ids, and are taken as such."""
    site = Site(ca, server_identity, way)
    site.server.options = ssl.OP_ALL
    for _ in range(2):
        site.visit()
        flight = site.record()
        took = [replay(flight, site.server) for _ in range(5)]
        assert len([each for each in took if each]) <= 1
    site.close()


def test_a_hook_that_gives_sessions_again_and_again(ca: Authority, server_identity: Identity) -> None:
    """It resumes what it is asked for; that a ticket comes once only the store can tell."""
    kept: dict[bytes, Any] = {}
    site = Site(ca, server_identity, STATEFUL)
    hooks = SessionHooks(
        site.server,
        new=lambda conn, session: kept.update({session.id: session}),
        get=lambda conn, key: kept.get(key),
    )
    site.visit()
    flight = site.record()
    took = [replay(flight, site.server) for _ in range(5)]
    assert len([each for each in took if each]) <= 1
    hooks.close()
    site.close()


def test_tickets_that_were_sent_later(way: Way, ca: Authority, server_identity: Identity) -> None:
    """Each has its own time as well."""
    site = Site(ca, server_identity, way)

    def more(pair: Pair) -> None:
        send_new_ticket(pair.server)
        pair.exchange()

    assert site.speak(then=more).status is ACCEPTED
    flight = site.record()
    assert [replay(flight, each) for each in (site.server, site.twin(), site.server)] == [REQUEST, None, None]
    site.close()


def test_a_resumption_without_early_data_first(way: Way, ca: Authority, server_identity: Identity) -> None:
    """The same ticket, once without and then with: it was not used early yet where it holds its session."""
    site = Site(ca, server_identity, way)
    plain = Pair(site.client, site.server)
    session = get_session(plain.client)
    assert session is None
    flight = site.record(b"x" * 10)
    hello = flight[: 5 + int.from_bytes(flight[3:5], "big")]
    conn = site.server.wrap_bio(incoming := ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
    incoming.write(hello)
    with pytest.raises(ssl.SSLWantReadError):
        conn.do_handshake()
    took = [replay(flight, site.server) for _ in range(3)]
    assert [each for each in took if each] == ([b"x" * 10] if way.ring else [])
    site.close()


def test_plain_data_in_early_data_s_place(way: Way, ca: Authority, server_identity: Identity) -> None:
    """Nothing that is not encrypted by the session's keys is early data."""
    site = Site(ca, server_identity, way)
    flight = site.record()
    hello = flight[: 5 + int.from_bytes(flight[3:5], "big")]
    for wrong in (GARBAGE_RECORD, b"\x17\x03\x03\x00\x05hello"):
        conn = site.server.wrap_bio(incoming := ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
        incoming.write(hello + wrong)
        try:
            assert read_all(conn) == b""
        except ssl.SSLError:
            pass
    site.close()


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_server_that_asks_for_certificates_now(
    way: Way, ca: Authority, server_identity: Identity, where: str
) -> None:
    """Be that set as its name is known: who has shown none is let in by no early data."""
    site = Site(ca, server_identity, way)
    ca.trust(site.server)
    if where == "before":
        site.server.verify_mode = ssl.CERT_REQUIRED
    else:
        site.server.sni_callback = lambda conn, name, context: setattr(
            context, "verify_mode", ssl.CERT_REQUIRED
        )
    flight = site.record()
    first = replay(flight, site.server)
    assert first is None or where == "after", "that connection's settings were read before"
    site.server.verify_mode = ssl.CERT_REQUIRED
    assert replay(flight, site.server) is None
    site.close()


def test_a_store_s_entries_are_of_no_use_to_another_context_id(
    way: Way, ca: Authority, server_identity: Identity
) -> None:
    """Nor is the token spent by who may not use it."""
    store = MemoryStore()
    site = Site(ca, server_identity, way, store=store)
    other = site.twin(context_id="another")
    flight = site.record()
    assert replay(flight, other) is None
    assert replay(flight, site.server) == (REQUEST if way.ring else None)
    site.close()


def test_what_was_rejected_is_not_accepted_later(way: Way, ca: Authority, server_identity: Identity) -> None:
    """On a connection that goes on, nothing of it is read as what came after the handshake."""
    site = Site(ca, server_identity, way, accept_early_data=lambda *_: False)
    pair = Pair(site.client, site.server)
    assert write_early_data(pair.client, b"early") == 5
    pair.handshake()
    assert early_data_status(pair.client) is REJECTED
    pair.client.write(b"late")
    pair.pump()
    assert bytes(pair.server_received) == b"late"
    site.close()


def test_a_connection_moved_to_a_context_that_allows_none(
    way: Way, ca: Authority, server_identity: Identity
) -> None:
    """It brings its first context's limit along, and the other's cache was made without any."""
    site = Site(ca, server_identity, way)
    other = Serving(way)
    context = other.attach(server_context(server_identity))

    def move(conn: ssl.SSLObject) -> None:
        conn.context = context

    first = Pair(site.client, site.server, prepare_server=move)
    meet(first)
    first.exchange()
    first.close()
    told = site.speak(prepare_server=move)
    assert told.reused
    assert told.status is not ACCEPTED
    assert other.cache.stats()["early_data"] == 0
    other.close()
    site.close()


def test_a_handshake_after_the_interpreter_s_last_callback(
    ca: Authority, server_identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread of the server's goes on in OpenSSL: nobody is asked to keep a token any more, nor gets one."""
    site = Site(ca, server_identity, TICKETS13)
    issued: list[bytes] = []
    monkeypatch.setattr(site.serving.cache._accepting, "issue", issued.append)
    lib.sslsession_open_gate(0)
    try:
        Pair(site.client, site.server).handshake().exchange()
    finally:
        lib.sslsession_open_gate(1)
    assert issued == []
    site.close()
