"""Clients in asyncio: early data is accepted, rejected and sent again, or not sent; it comes once, and first."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator
from typing import Any, Callable

import pytest

from helpers.certs import Authority, Identity
from helpers.early import ACCEPTED, NOT_SENT, REJECTED, REQUEST, Site
from helpers.early_asyncio import Service, ask, loops
from helpers.peers import client_context, server_context
from sslsession import (
    SessionError,
    create_connection,
    early_data_status,
    handshake_done,
    open_connection,
    read_early_data,
    start_server,
    wait_for_handshake,
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


class TestClients:
    def test_accepted_again_and_again(self, site: Site, run: Callable[..., Any]) -> None:
        async def main() -> None:
            async with Service(site.server) as service:
                for _ in range(5):
                    assert await ask(site.client, service.port, REQUEST, len(REQUEST)) == (ACCEPTED, REQUEST)
                assert service.done == [False] * 5

        run(main())
        assert site.counts == (5, 0)

    def test_rejected_it_is_sent_again_once(self, site: Site, run: Callable[..., Any]) -> None:
        """asyncio's own server reads no early data."""

        async def main() -> None:
            async with Service(site.server, plain=True) as service:
                for _ in range(3):
                    found = await ask(site.client, service.port, REQUEST, len(REQUEST) + 5, then=b" more")
                    assert found == (REJECTED, REQUEST + b" more")

        run(main())

    def test_not_sent_it_goes_first_all_the_same(
        self, site: Site, ca: Authority, run: Callable[..., Any]
    ) -> None:
        async def main() -> None:
            async with Service(site.server) as service:
                client = client_context(ca, version="1.3")
                found = await ask(client, service.port, REQUEST, len(REQUEST) + 5, then=b" more")
                assert found == (NOT_SENT, REQUEST + b" more")

        run(main())

    @pytest.mark.parametrize(
        ("size", "plain"),
        [
            *((size, False) for size in (100_000, LARGE - 1, LARGE + 1)),
            *((size, True) for size in (100_000, LARGE - 1, LARGE + 1)),
        ],
    )
    def test_large(self, site: Site, run: Callable[..., Any], size: int, plain: bool) -> None:
        """Each byte comes once, in order, and before what follows."""
        data = (bytes(range(251)) * (size // 251 + 1))[:size]

        async def main() -> None:
            async with Service(site.server, plain=plain) as service:
                status, got = await ask(site.client, service.port, data, len(data) + 5, then=b" more")
                assert got == data + b" more"
                assert status is (NOT_SENT if len(data) > LARGE else REJECTED if plain else ACCEPTED)

        run(main())

    @pytest.mark.parametrize("plain", [False, True])
    def test_a_protocol_that_writes_at_once(self, site: Site, run: Callable[..., Any], plain: bool) -> None:
        class Eager(asyncio.Protocol):
            def __init__(self) -> None:
                self.got, self.done = b"", asyncio.get_running_loop().create_future()

            def connection_made(self, transport: Any) -> None:
                transport.write(b" second")

            def data_received(self, data: bytes) -> None:
                self.got += data
                if len(self.got) >= len(REQUEST) + 7 and not self.done.done():
                    self.done.set_result(self.got)

            def connection_lost(self, exc: Exception | None) -> None:
                if not self.done.done():
                    self.done.set_exception(exc or EOFError())

        async def main() -> None:
            async with Service(site.server, plain=plain) as service:
                transport, protocol = await create_connection(
                    Eager,
                    "127.0.0.1",
                    service.port,
                    ssl=site.client,
                    early_data=REQUEST,
                    server_hostname="localhost",
                )
                assert await protocol.done == REQUEST + b" second"
                assert early_data_status(transport) is (REJECTED if plain else ACCEPTED)
                transport.close()
                await service.idle()

        run(main())

    def test_without_early_data_it_is_as_asyncio_s_own(self, site: Site, run: Callable[..., Any]) -> None:
        async def main() -> None:
            async with Service(site.server) as service:
                assert await ask(site.client, service.port, None, 4, then=b"ping") == (NOT_SENT, b"ping")
                assert await ask(site.client, service.port, b"", 4, then=b"ping") == (NOT_SENT, b"ping")

        run(main())

    def test_its_buffer_may_change_afterwards(self, site: Site, run: Callable[..., Any]) -> None:
        async def main() -> None:
            async with Service(site.server, plain=True) as service:
                data = bytearray(REQUEST)
                asked = asyncio.ensure_future(ask(site.client, service.port, data, len(REQUEST)))
                await asyncio.sleep(0)
                data[:] = b"x" * len(data)
                assert await asked == (REJECTED, REQUEST)

        run(main())

    def test_arguments(self, run: Callable[..., Any]) -> None:
        async def main() -> None:
            with pytest.raises(TypeError, match="early_data is bytes"):
                await open_connection("127.0.0.1", 1, ssl=ssl.create_default_context(), early_data="x")  # type: ignore[arg-type]
            for wrong in (False, None, "x"):
                with pytest.raises(TypeError, match="SSLContext or True"):
                    await open_connection("127.0.0.1", 1, ssl=wrong, early_data=b"x")  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="is an SSLContext"):
                await start_server(lambda *_: None, "127.0.0.1", 0, ssl=True)  # type: ignore[arg-type]

        run(main())

    def test_a_server_that_nobody_trusts(
        self, site: Site, other_ca: Authority, run: Callable[..., Any]
    ) -> None:
        """A session that is declined brings no trust."""
        impostor = server_context(other_ca.issue("localhost"))

        async def main() -> None:
            async with Service(impostor, plain=True) as service:
                with pytest.raises(ssl.SSLCertVerificationError):
                    await ask(site.client, service.port, REQUEST, 1)
                await service.idle()

        loop_errors = contextlib.suppress(
            AssertionError
        )  # asyncio's server tells of the handshake that failed
        with loop_errors:
            run(main())

    def test_cancelled_in_the_handshake(self, site: Site, run: Callable[..., Any]) -> None:
        async def main() -> None:
            held = asyncio.Event()

            async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                assert await reader.read(1)
                held.set()
                assert await reader.read(1000) is not None
                writer.close()

            server = await asyncio.start_server(silent, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            asked = asyncio.ensure_future(ask(site.client, port, REQUEST, 1))
            await held.wait()
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
            server.close()
            await server.wait_closed()
            async with Service(site.server) as service:
                await ask(site.client, service.port, REQUEST, len(REQUEST))
                assert (await ask(site.client, service.port, REQUEST, len(REQUEST)))[0] is ACCEPTED

        run(main())


@pytest.mark.parametrize("call", [wait_for_handshake, read_early_data])
def test_what_its_reader_gets_nobody_else_takes(
    site: Site, run: Callable[..., Any], call: Callable[..., Any]
) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with pytest.raises(SessionError, match="handshake_done"):
            call(writer)
        writer.write(await reader.readexactly(200_000))
        await handshake_done(writer)
        assert call(writer) == b""

    async def main() -> None:
        data = bytes(range(200)) * 1000
        async with Service(site.server, handler) as service:
            assert await ask(site.client, service.port, data, len(data)) == (ACCEPTED, data)
            assert service.errors == []

    run(main())
