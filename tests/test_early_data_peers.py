"""Early data of `openssl s_client` at servers of this library: both sides agree on what was sent early."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from helpers import early_programs
from helpers.certs import Authority, Identity
from helpers.early_programs import FRAGMENTS, Client, Heard
from helpers.peers import server_context
from sslsession import EarlyData, ServerSessionCache, TicketKeyRing, read_early_data
from sslsession.stores import MemoryStore

Host = Callable[[ssl.SSLContext], AbstractContextManager["tuple[int, list[Heard]]"]]
LINE = b"early-words\n"
SECRET = "0123456789abcdef" * 4
MOST = 16384
ACCEPTED, REJECTED, NONE = (
    Heard(EarlyData.ACCEPTED, LINE),
    Heard(EarlyData.REJECTED, b""),
    Heard(EarlyData.NOT_SENT, b""),
)


@pytest.fixture(params=["threads", "streams"])
def host(request: pytest.FixtureRequest) -> Host:
    """A server's kind."""
    found: Host = getattr(early_programs, request.param)
    return found


@pytest.fixture(params=["ring", "store"])
def kind(request: pytest.FixtureRequest) -> str:
    """What its tickets are: sessions under a key, or ids of a store."""
    found: str = request.param
    return found


@pytest.fixture
def openssl(ca: Authority, tmp_path: Path) -> Client:
    """The client."""
    return Client(ca, tmp_path)


@contextlib.contextmanager
def accepting(identity: Identity, kind: str = "ring", most: int = MOST, store: MemoryStore | None = None):
    """A context that takes so much early data, and its cache."""
    context = server_context(identity)
    if kind == "ring":
        TicketKeyRing.from_secret(SECRET).attach(context)
    with ServerSessionCache(store, max_early_data=most) as cache:
        cache.attach(context)
        yield context, cache


def test_it_is_accepted_once(openssl: Client, host: Host, kind: str, server_identity: Identity) -> None:
    with accepting(server_identity, kind) as (context, cache), host(context) as (port, heard):
        openssl.earn(port)
        verdict, done = openssl.send(port, LINE)
        assert (verdict, done.reused, LINE.decode() in done.output) == ("accepted", True, True)
        verdict, done = openssl.send(port, LINE)
        assert (verdict, done.reused, LINE.decode() in done.output) == ("rejected", kind == "ring", False)
    told = cache.stats()
    # A ticket that is an id is not found a second time, so nobody asks about its early data.
    assert (told["early_data"], told["early_data_refused"]) == (1, 1 if kind == "ring" else 0)
    assert heard == [NONE, ACCEPTED, REJECTED]


def test_renewed_tickets_carry_it_on(
    openssl: Client, host: Host, kind: str, server_identity: Identity
) -> None:
    keep = ("-sess_out", str(openssl.session))
    with accepting(server_identity, kind) as (context, _), host(context) as (port, heard):
        openssl.earn(port)
        assert [openssl.send(port, LINE, *keep)[0] for _ in range(4)] == ["accepted"] * 4
    assert heard == [NONE, *[ACCEPTED] * 4]


def test_of_two_workers_that_share_a_store_one_accepts(
    openssl: Client, host: Host, kind: str, server_identity: Identity
) -> None:
    store = MemoryStore()
    with accepting(server_identity, kind, store=store) as (one, _), host(one) as (port, heard):
        with accepting(server_identity, kind, store=store) as (two, _), host(two) as (other, there):
            openssl.earn(port)
            assert openssl.send(other, LINE)[0] == "accepted"
            assert openssl.send(port, LINE)[0] == "rejected"
    assert (heard, there) == ([NONE, REJECTED], [ACCEPTED])


def test_workers_with_memories_of_their_own_refuse_each_others(
    openssl: Client, host: Host, server_identity: Identity
) -> None:
    with accepting(server_identity) as (one, _), host(one) as (port, _):
        with accepting(server_identity) as (two, _), host(two) as (other, _):
            openssl.earn(port)
            verdict, done = openssl.send(other, LINE)
            assert (verdict, done.reused) == ("rejected", True)
            assert openssl.send(port, LINE)[0] == "accepted"


def test_after_a_hello_retry_request_it_is_rejected(
    openssl: Client, host: Host, kind: str, server_identity: Identity
) -> None:
    with accepting(server_identity, kind) as (context, cache):
        context.set_ecdh_curve("secp384r1")
        with host(context) as (port, heard):
            openssl.earn(port)
            verdict, done = openssl.send(port, LINE)
            assert (verdict, done.returncode) == ("rejected", 0)
    assert heard == [NONE, REJECTED]
    assert cache.stats()["early_data"] == 0


@pytest.mark.parametrize("size", [4097, 9000, MOST])
@pytest.mark.parametrize("options", [(), FRAGMENTS, ("-max_send_frag", "512")], ids=["", "4 kB", "512 bytes"])
def test_in_several_records(
    openssl: Client, host: Host, size: int, options: tuple[str, ...], server_identity: Identity
) -> None:
    line = b"x" * (size - 1) + b"\n"
    with accepting(server_identity) as (context, _), host(context) as (port, heard):
        openssl.earn(port, *options)
        assert openssl.send(port, line, *options)[0] == "accepted"
    assert heard == [NONE, Heard(EarlyData.ACCEPTED, line)]


@pytest.mark.parametrize("options", [FRAGMENTS, ("-max_send_frag", "512")], ids=["4 kB", "512 bytes"])
def test_many_records_are_rejected_as_one_is(
    openssl: Client, host: Host, options: tuple[str, ...], server_identity: Identity
) -> None:
    line = b"x" * (MOST - 1) + b"\n"
    with accepting(server_identity) as (context, _), host(context) as (port, heard):
        openssl.earn(port, *options)
        assert [openssl.send(port, line, *options)[0] for _ in range(2)] == ["accepted", "rejected"]
    assert heard == [NONE, Heard(EarlyData.ACCEPTED, line), REJECTED]


def test_a_server_that_takes_none_offers_none(openssl: Client, host: Host, server_identity: Identity) -> None:
    with accepting(server_identity, most=0) as (context, _), host(context) as (port, heard):
        openssl.earn(port)
        verdict, done = openssl.send(port, LINE)
        assert (verdict, done.reused) == ("not sent", True)
    assert heard == [NONE, NONE]


@pytest.mark.parametrize("now", [0, 16])
def test_a_server_that_lowered_its_limit_rejects_what_is_above(
    openssl: Client, host: Host, now: int, server_identity: Identity
) -> None:
    """A ticket promised more; whoever holds it to that loses no connection."""
    line, store = b"x" * 8999 + b"\n", MemoryStore()
    with accepting(server_identity, store=store) as (before, _), host(before) as (port, _):
        openssl.earn(port)
    with accepting(server_identity, most=now, store=store) as (context, _), host(context) as (port, heard):
        verdict, done = openssl.send(port, line)
        assert (verdict, done.reused, done.returncode) == ("rejected", True, 0)
    assert heard == [REJECTED]


def test_a_server_that_raised_its_limit_keeps_to_the_ticket(
    openssl: Client, host: Host, server_identity: Identity
) -> None:
    store = MemoryStore()
    with accepting(server_identity, most=len(LINE), store=store) as (before, _), host(before) as (port, _):
        openssl.earn(port)
    with accepting(server_identity, store=store) as (context, _), host(context) as (port, heard):
        assert openssl.send(port, LINE)[0] == "accepted"
    assert heard == [ACCEPTED]


def test_clients_at_once(
    ca: Authority, server_identity: Identity, host: Host, kind: str, tmp_path: Path
) -> None:
    def visit(number: int) -> list[str]:
        directory = tmp_path / str(number)
        directory.mkdir()
        client = Client(ca, directory)
        client.earn(port)
        return [client.send(port, LINE, "-sess_out", str(client.session))[0] for _ in range(3)]

    with accepting(server_identity, kind) as (context, _), host(context) as (port, heard):
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(visit, range(4))) == [["accepted"] * 3] * 4
    assert sorted(heard) == sorted([NONE] * 4 + [ACCEPTED] * 12)


def test_a_client_that_leaves_is_the_error_that_ssl_has_for_it(server_identity: Identity) -> None:
    def error_of(call: Callable[[ssl.SSLSocket], object]) -> tuple[object, ...]:
        ours, theirs = socket.socketpair()
        with ours, theirs, context.wrap_socket(ours, server_side=True, do_handshake_on_connect=False) as conn:
            theirs.close()
            with pytest.raises(ssl.SSLError) as caught:
                call(conn)
        found = caught.value
        return type(found), found.errno, found.library, found.reason

    with accepting(server_identity) as (context, _):
        assert error_of(read_early_data) == error_of(ssl.SSLSocket.do_handshake)
