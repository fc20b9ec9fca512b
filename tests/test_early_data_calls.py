"""Early data on SSLObjects: what each call does, and what it says where it is called wrongly."""

from __future__ import annotations

import array
import contextlib
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

import sslsession
from helpers.certs import Authority, Identity
from helpers.early import ACCEPTED, MOST, NOT_SENT, REJECTED, REQUEST, Site, meet, read_all
from helpers.memory import Pair
from helpers.servers import STATEFUL, TICKETS13, Way, params
from sslsession import (
    EarlyData,
    SessionError,
    early_data_status,
    read_early_data,
    send_replayable,
    wait_for_handshake,
    write_early_data,
)

pytestmark = pytest.mark.binding


@pytest.fixture(params=params(STATEFUL, TICKETS13))
def site(request: pytest.FixtureRequest, ca: Authority, server_identity: Identity) -> Iterator[Site]:
    way: Way = request.param
    site = Site(ca, server_identity, way)
    yield site
    site.close()


@pytest.fixture
def pair(site: Site) -> Iterator[Pair]:
    pair = Pair(site.client, site.server)
    yield pair
    pair.drop()


def send(pair: Pair, data: Any) -> tuple[EarlyData, bytes]:
    """`send_replayable`, as often as it asks for it; and all that the server got."""
    early = b""
    for _ in range(20):
        try:
            status = send_replayable(pair.client, data)
            break
        except ssl.SSLWantReadError:
            early += read_all(pair.server)
            with contextlib.suppress(ssl.SSLWantReadError):
                pair.server.do_handshake()
    early += meet(pair)
    pair.pump()
    return status, early + bytes(pair.server_received)


class TestWriting:
    def test_it_arrives_before_the_client_has_heard_anything(self, pair: Pair) -> None:
        assert write_early_data(pair.client, REQUEST) == len(REQUEST)
        assert not pair.to_client.pending
        assert read_early_data(pair.server) == REQUEST
        assert early_data_status(pair.server) is ACCEPTED
        assert meet(pair) == b""
        assert early_data_status(pair.client) is ACCEPTED
        assert str(ACCEPTED) == "early data was accepted"

    def test_many_times(self, pair: Pair) -> None:
        for number in range(10):
            assert write_early_data(pair.client, b"%d" % number) == 1
        assert meet(pair) == b"0123456789"

    @pytest.mark.parametrize(
        "data",
        [bytearray(REQUEST), memoryview(REQUEST), memoryview(b"x" + REQUEST)[1:], array.array("I", [7])],
    )
    def test_whatever_holds_bytes(self, pair: Pair, data: Any) -> None:
        whole = memoryview(data).tobytes()
        assert write_early_data(pair.client, data) == len(whole)
        assert meet(pair) == whole

    @pytest.mark.parametrize("data", ["text", 7, None, memoryview(REQUEST)[::2]])
    def test_what_does_not_is_an_error(self, pair: Pair, data: Any) -> None:
        for call in (write_early_data, send_replayable):
            with pytest.raises(TypeError):
                call(pair.client, data)
        assert write_early_data(pair.client, REQUEST), "and nothing came of that"

    def test_nothing_is_written_of_nothing(self, pair: Pair) -> None:
        assert write_early_data(pair.client, b"") == 0
        assert not pair.to_server.pending
        assert write_early_data(pair.client, REQUEST) == len(REQUEST)
        assert write_early_data(pair.client, b"") == 0
        assert meet(pair) == REQUEST

    def test_all_that_is_allowed_and_not_a_byte_more(self, pair: Pair) -> None:
        assert write_early_data(pair.client, b"x" * (MOST - 1)) == MOST - 1
        assert write_early_data(pair.client, b"yy") == 0
        assert write_early_data(pair.client, b"z") == 1
        assert write_early_data(pair.client, b"z") == 0
        assert meet(pair) == b"x" * (MOST - 1) + b"z"

    def test_after_the_handshake_began(self, pair: Pair) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):
            pair.client.do_handshake()
        with pytest.raises(SessionError, match="handshake began already"):
            write_early_data(pair.client, REQUEST)
        with pytest.raises(SessionError, match="handshake began already"):
            send_replayable(pair.client, REQUEST)
        assert meet(pair) == b""
        assert early_data_status(pair.client) is NOT_SENT

    @pytest.mark.parametrize("data", [REQUEST, b""])
    def test_after_the_handshake(self, pair: Pair, data: bytes) -> None:
        meet(pair)
        for side in (pair.client, pair.server):
            with pytest.raises(SessionError, match=r"write\(\) the data"):
                write_early_data(side, data)


class TestReading:
    def test_in_pieces(self, pair: Pair) -> None:
        write_early_data(pair.client, b"abcdef")
        assert [read_early_data(pair.server, 4) for _ in range(2)] == [b"abcd", b"ef"]

    def test_it_waits_for_more_until_the_client_ends_it(self, pair: Pair) -> None:
        write_early_data(pair.client, REQUEST)
        assert read_early_data(pair.server)
        with pytest.raises(ssl.SSLWantReadError):
            read_early_data(pair.server)
        meet(pair)
        assert [read_early_data(pair.server) for _ in range(3)] == [b""] * 3

    def test_of_a_client_that_sends_none(self, pair: Pair) -> None:
        with pytest.raises(ssl.SSLWantReadError):
            read_early_data(pair.server)
        with contextlib.suppress(ssl.SSLWantReadError):
            pair.client.do_handshake()
        assert read_early_data(pair.server) == b""
        assert meet(pair) == b""

    @pytest.mark.parametrize("size", [0, -1])
    def test_a_size_of_nothing(self, pair: Pair, size: int) -> None:
        with pytest.raises(ValueError, match="1 or more"):
            read_early_data(pair.server, size)

    def test_a_size_of_more_than_there_is_memory(self, pair: Pair) -> None:
        write_early_data(pair.client, REQUEST)
        assert read_early_data(pair.server, 2**60) == REQUEST

    def test_on_a_client(self, pair: Pair) -> None:
        with pytest.raises(SessionError, match="for servers"):
            read_early_data(pair.client)

    def test_after_do_handshake(self, pair: Pair) -> None:
        """From then on OpenSSL rejects early data, and would say that it should not have been called."""
        with contextlib.suppress(ssl.SSLWantReadError):
            pair.server.do_handshake()
        with pytest.raises(SessionError, match="handshake began already"):
            read_early_data(pair.server)
        write_early_data(pair.client, REQUEST)
        pair.handshake()
        assert early_data_status(pair.client) is REJECTED
        assert read_early_data(pair.server) == b""


class TestServersThatWriteEarly:
    def test_before_the_client_has_proved_to_be_there(self, pair: Pair) -> None:
        write_early_data(pair.client, REQUEST)
        assert read_all(pair.server) == REQUEST
        assert write_early_data(pair.server, b"answer") == 6
        pair.client.do_handshake()
        assert pair.client.read() == b"answer"
        assert meet(pair) == b""

    def test_also_where_there_is_no_early_data(self, pair: Pair) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):
            pair.client.do_handshake()
        assert read_early_data(pair.server) == b""
        assert write_early_data(pair.server, b"answer") == 6
        meet(pair)
        assert pair.client.read() == b"answer"

    def test_who_has_not_read_cannot_write(self, pair: Pair) -> None:
        with pytest.raises(SessionError, match="call read_early_data first"):
            write_early_data(pair.server, b"answer")

    def test_a_large_answer(self, pair: Pair) -> None:
        answer = bytes(range(256)) * 400
        write_early_data(pair.client, REQUEST)
        assert read_all(pair.server) == REQUEST
        assert write_early_data(pair.server, answer) == len(answer)
        meet(pair)
        pair.pump()
        assert bytes(pair.client_received) == answer


class TestSendingReplayable:
    def test_accepted(self, pair: Pair) -> None:
        assert send(pair, REQUEST) == (ACCEPTED, REQUEST)

    def test_not_allowed_to_travel_early_it_arrives_late(self, pair: Pair) -> None:
        assert send(pair, b"x" * (MOST + 1)) == (NOT_SENT, b"x" * (MOST + 1))

    def test_of_any_size(self, pair: Pair) -> None:
        data = bytes(range(256)) * 4000
        assert send(pair, memoryview(data)) == (NOT_SENT, data)

    def test_of_no_size(self, pair: Pair) -> None:
        assert send(pair, b"") == (NOT_SENT, b"")

    @pytest.mark.parametrize("size", [10, MOST])
    def test_rejected_it_is_sent_again(self, site: Site, size: int) -> None:
        assert site.serving.way in (STATEFUL, TICKETS13)
        data = b"x" * size
        pair = Pair(site.client, site.server)
        while True:
            try:
                status = send_replayable(pair.client, data)
                break
            except ssl.SSLWantReadError:
                with contextlib.suppress(ssl.SSLWantReadError):
                    pair.server.do_handshake()
        pair.handshake().pump()
        assert (status, bytes(pair.server_received)) == (REJECTED, data)

    def test_another_request_in_the_middle(self, pair: Pair) -> None:
        with pytest.raises(ssl.SSLWantReadError):
            send_replayable(pair.client, b"one")
        for other in (b"two", b"three"):
            with pytest.raises(SessionError, match="another request is half sent"):
                send_replayable(pair.client, other)
        assert send(pair, b"one") == (ACCEPTED, b"one")

    @pytest.mark.parametrize("first", [send_replayable, write_early_data])
    def test_a_second_request_is_not_taken_for_sent(self, pair: Pair, first: Any) -> None:
        """What was accepted is the first one."""
        if first is send_replayable:
            assert send(pair, b"one") == (ACCEPTED, b"one")
        else:
            write_early_data(pair.client, b"one")
        with pytest.raises(SessionError, match="handshake began already"):
            send_replayable(pair.client, b"two")

    def test_on_a_server(self, pair: Pair) -> None:
        with pytest.raises(SessionError, match="no request"):
            send_replayable(pair.server, b"answer")


class TestWaiting:
    def wait(self, pair: Pair) -> bytes:
        for _ in range(20):
            try:
                return wait_for_handshake(pair.server)
            except ssl.SSLWantReadError:
                with contextlib.suppress(ssl.SSLWantReadError):
                    pair.client.do_handshake()
        raise AssertionError("the handshake stalled")

    def test_it_gives_what_was_not_read_before(self, pair: Pair) -> None:
        write_early_data(pair.client, b"one, two")
        assert read_early_data(pair.server, 5) == b"one, "
        assert self.wait(pair) == b"two"
        assert pair.client.version() == "TLSv1.3"
        assert self.wait(pair) == b""

    def test_nothing_is_lost_while_it_waits(self, pair: Pair) -> None:
        write_early_data(pair.client, b"one, ")
        with pytest.raises(ssl.SSLWantReadError):
            wait_for_handshake(pair.server)
        write_early_data(pair.client, b"two")
        assert self.wait(pair) == b"one, two"

    def test_after_do_handshake(self, pair: Pair) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):
            pair.server.do_handshake()
        write_early_data(pair.client, REQUEST)
        assert self.wait(pair) == b""
        assert early_data_status(pair.client) is REJECTED

    def test_a_client_may_call_it_too(self, pair: Pair) -> None:
        write_early_data(pair.client, REQUEST)
        with pytest.raises(ssl.SSLWantReadError):
            wait_for_handshake(pair.client)
        meet(pair)
        assert wait_for_handshake(pair.client) == b""


def test_what_is_no_connection() -> None:
    for call in (early_data_status, wait_for_handshake, read_early_data):
        with pytest.raises(TypeError):
            call(object())
    with pytest.raises(TypeError):
        sslsession.write_early_data(object(), b"x")
