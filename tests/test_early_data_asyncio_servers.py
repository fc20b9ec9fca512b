"""Servers in asyncio: handlers that answer early data before the handshake is done, wait for it, or close."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator
from typing import Any, Callable

import pytest

import sslsession
from helpers.certs import Authority, Identity
from helpers.early import ACCEPTED, REQUEST, Site
from helpers.early_asyncio import Service, ask, loops
from helpers.peers import client_context, server_context
from helpers.servers import TICKETS13, Serving
from sslsession import (
    SessionError,
    handshake_done,
    open_connection,
)

pytestmark = pytest.mark.binding

LARGE = 4 * 2**20

run = loops


@pytest.fixture
def site(ca: Authority, server_identity: Identity) -> Iterator[Site]:
    """Connections in asyncio show no port, so that those in memory have earned for them."""
    site = Site(ca, server_identity, most=LARGE)
    yield site
    site.close()


class TestServers:
    def test_a_handler_that_waits(self, site: Site, run: Callable[..., Any]) -> None:
        seen: list[Any] = []

        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            data = await reader.readexactly(len(REQUEST))
            seen.append(sslsession.early_data_status(writer))
            await handshake_done(writer)
            await handshake_done(writer.transport)
            writer.write(data)
            await writer.drain()

        async def main() -> None:
            async with Service(site.server, handler) as service:
                assert await ask(site.client, service.port, REQUEST, len(REQUEST)) == (ACCEPTED, REQUEST)
                assert service.errors == []

        run(main())
        assert seen == [ACCEPTED]

    def test_its_client_s_certificate(
        self, ca: Authority, server_identity: Identity, client_identity: Identity, run: Callable[..., Any]
    ) -> None:
        """Nobody has proved to have it before the handshake is done."""
        client = client_context(ca, version="1.3", identity=client_identity)
        site = Site(ca, server_identity, client=client, server=server_context(server_identity, client_ca=ca))
        seen: list[Any] = []

        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            data = await reader.readexactly(len(REQUEST))
            conn = writer.get_extra_info("ssl_object")
            seen.append((writer.get_extra_info("peercert"), conn.getpeercert(True)))
            await handshake_done(writer)
            seen.append((writer.get_extra_info("peercert"), conn.getpeercert(True)))
            writer.write(data)

        async def main() -> None:
            async with Service(site.server, handler) as service:
                assert (await ask(client, service.port, REQUEST, len(REQUEST)))[0] is ACCEPTED

        run(main())
        assert seen == [(None, None), (None, client_identity.chain[0])]
        site.close()

    def test_a_handler_that_waits_before_it_reads(self, site: Site, run: Callable[..., Any]) -> None:
        """The handshake's end comes behind more than its reader holds; what comes after that is held back again."""
        request, more = b"x" * 300_000, 2**20
        seen: list[Any] = []

        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            data = await reader.readexactly(1)
            await handshake_done(writer)
            seen.append(writer.transport.is_reading())
            data += await reader.readexactly(len(request) - 1)
            assert data == request
            await reader.readexactly(more)
            seen.append(writer.transport.is_reading())
            writer.write(b"done")
            await writer.drain()

        async def main() -> None:
            async with Service(site.server, handler) as service:
                told = await ask(site.client, service.port, request, 4, then=b"y" * more)
                assert told == (ACCEPTED, b"done")
                assert service.errors == []

        run(main())
        assert seen == [False, True]

    @pytest.mark.parametrize("reads", [True, False])
    def test_a_handler_that_closes_at_once(self, site: Site, run: Callable[..., Any], reads: bool) -> None:
        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if reads:
                await reader.readexactly(len(REQUEST))
            writer.close()

        async def main() -> None:
            async with Service(site.server, handler) as service:
                reader, writer = await open_connection(
                    "127.0.0.1",
                    service.port,
                    ssl=site.client,
                    early_data=REQUEST,
                    server_hostname="localhost",
                )
                assert await reader.read() == b""
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
                assert service.errors == []

        run(main())

    def test_who_replays_is_waited_for_until_he_goes(self, site: Site, run: Callable[..., Any]) -> None:
        """A handler that waits for its client hears that there is none."""
        flight = site.record()

        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert await reader.readexactly(len(REQUEST)) == REQUEST
            waiting.set()
            await handshake_done(writer)

        async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert await reader.readexactly(len(REQUEST)) == REQUEST
            waiting.set()
            assert await reader.read() == b""
            with contextlib.suppress(OSError):
                await asyncio.sleep(0)
                writer.close()
                await writer.wait_closed()
            await handshake_done(writer)

        async def main() -> None:
            nonlocal flight, waiting
            for each in (handler, late):
                waiting = asyncio.Event()
                async with Service(site.server, each) as service:
                    _, writer = await asyncio.open_connection("127.0.0.1", service.port)
                    writer.write(flight)
                    await waiting.wait()
                    writer.close()
                    await writer.wait_closed()
                    await service.idle()
                    assert [type(error) for error in service.errors] == [ConnectionResetError]
                site.visit()
                flight = site.record()

        waiting: Any = None
        run(main())

    def test_cancelled_while_it_waits(self, site: Site, run: Callable[..., Any]) -> None:
        flight = site.record()

        async def main() -> None:
            tasks: list[Any] = []

            async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.readexactly(len(REQUEST))
                task = asyncio.ensure_future(handshake_done(writer))
                tasks.append(task)
                await asyncio.sleep(0)
                task.cancel()
                await task

            async with Service(site.server, handler) as service:
                _, writer = await asyncio.open_connection("127.0.0.1", service.port)
                writer.write(flight)
                while not service.errors:
                    await asyncio.sleep(0.005)
                assert isinstance(service.errors[0], asyncio.CancelledError)
                writer.close()
                await writer.wait_closed()

        run(main())

    def test_early_data_that_is_spoilt_on_the_way(self, site: Site, run: Callable[..., Any]) -> None:
        flight = bytearray(site.record())
        flight[-1] ^= 1

        async def main() -> None:
            async with Service(site.server) as service:
                reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
                writer.write(bytes(flight))
                await reader.read()
                writer.close()
                await writer.wait_closed()
                await service.idle()
                assert service.done == []

        with contextlib.suppress(AssertionError):
            run(main())

    def test_large_answers_before_the_handshake_is_done(self, site: Site, run: Callable[..., Any]) -> None:
        answer = bytes(range(251)) * 10_000
        seen: list[bool] = []

        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(len(REQUEST))
            seen.append(writer.get_extra_info("ssl_object")._done)
            writer.write(answer)
            await writer.drain()

        async def main() -> None:
            async with Service(site.server, handler) as service:
                found = await ask(site.client, service.port, REQUEST, len(answer))
                assert found == (ACCEPTED, answer)

        run(main())
        assert seen == [False]

    def test_of_others_nobody_can_wait(self, site: Site, run: Callable[..., Any]) -> None:
        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            await handshake_done(writer)

        async def main() -> None:
            async with Service(site.server, handler, plain=True) as service:
                _, writer = await open_connection(
                    "127.0.0.1",
                    service.port,
                    ssl=site.client,
                    early_data=REQUEST,
                    server_hostname="localhost",
                )
                await handshake_done(writer)
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
                await service.idle()
                assert service.errors == []
            with pytest.raises(TypeError):
                await handshake_done(object())

        run(main())

    def test_many_at_once(self, ca: Authority, server_identity: Identity, run: Callable[..., Any]) -> None:
        """Each request arrives, and arrives once."""
        serving = Serving(TICKETS13, max_early_data=LARGE)
        server = serving.attach(server_context(server_identity))
        client = client_context(ca, version="1.3")
        cache = sslsession.ClientSessionCache(early_data=True, tickets_per_peer=64)
        cache.attach(client)

        async def main() -> list[Any]:
            async with Service(server) as service:
                found: list[Any] = []
                for _ in range(5):
                    asked = [ask(client, service.port, b"%06d" % number, 6) for number in range(20)]
                    told = await asyncio.gather(*asked)
                    assert [got for _, got in told] == [b"%06d" % number for number in range(20)]
                    found += [status for status, _ in told]
                return found

        assert run(main()).count(ACCEPTED) > 0
        cache.close()
        serving.close()


def test_a_connection_that_nobody_early_is_about(site: Site, run: Callable[..., Any]) -> None:
    """`handshake_done` of a server's that began in the usual way."""

    async def main() -> None:
        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await handshake_done(writer)
            writer.write(await reader.read(10))

        async with Service(site.server, handler) as service:
            assert (await ask(site.client, service.port, None, 4, then=b"ping"))[1] == b"ping"
            assert service.errors == []
        with pytest.raises((SessionError, TypeError)):
            await handshake_done(ssl.MemoryBIO())

    run(main())
