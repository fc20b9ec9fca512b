"""The recipe for early data with httpx: its program as it stands on the page, and with other requests at its end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from helpers.certs import Authority, Identity
from helpers.processes import free_port
from helpers.programs import Running, nginx
from helpers.recipes import Program, programs

(PROGRAM,) = programs("early-data")
DEFINED, _, _ = PROGRAM.code.partition("for _ in range(3):")
TELLING = """
root .;
access_log "requests/$request_method$uri:$status:$http_early_data";
location /moved { return 302 /; }
location /late { if ($http_early_data) { return 425; } return 200 late; }
location /always { return 425; }
"""
"""nginx writes each request to a file that is named after it; 425 is what it answers to a mark of early data."""
FIRST = """
def get(path, method="GET", **named):
    response = client.request(method, f"https://{host}:{port}{path}", **named)
    connection = response.extensions["network_stream"].get_extra_info("socket")
    open = connection.fileno() >= 0
    print(response.status_code, sslsession.early_data_status(connection).name if open else "closed")


with httpx.Client(transport=Transport(ctx)) as client:
    get("/")
"""
"""The page's program after its definitions, for tests that go on: one request, which brings tickets."""


@contextmanager
def telling(identity: Identity, **settings: object) -> Iterator[Running]:
    """nginx, which takes early data unless it is told not to, and what it is asked."""
    with nginx(
        identity, **{"early_data": True, **settings, "extra": TELLING + str(settings.get("extra", ""))}
    ) as server:
        for path in ("requests/GET", "requests/POST", "requests/HEAD"):
            (server.directory / path).mkdir(parents=True)
        yield server


def requests(server: Running, count: int) -> dict[str, int]:
    """How often each was made, by method, path, status and mark; when there are so many."""
    deadline = time.monotonic() + 10
    while True:
        root = server.directory / "requests"
        files = [path for path in root.rglob("*") if path.is_file()]
        found = {str(path.relative_to(root)).rstrip(":"): path.read_text().count("\n") for path in files}
        if sum(found.values()) >= count:
            return found
        assert time.monotonic() < deadline, f"nginx logged {found}"


def running(code: str) -> Program:
    """The page's definitions, one request, and another end."""
    return replace(PROGRAM, code=DEFINED + FIRST + code)


@pytest.fixture(autouse=True)
def _needed() -> None:
    pytest.importorskip("httpx")


def test_as_it_stands(ca: Authority, server_identity: Identity) -> None:
    with telling(server_identity) as server:
        plain = PROGRAM.run("localhost", server.port, ca=ca, plain=True)
        assert requests(server, 3) == {"GET/:200": 3}
        outcome = PROGRAM.run("localhost", server.port, ca=ca)
        assert requests(server, 6) == {"GET/:200": 4, "GET/:200:1": 2}
    assert plain.printed == "200 no early data was sent\n" * 3
    assert outcome.printed == PROGRAM.output
    assert outcome.handshakes == [("1.3", False), ("1.3", True), ("1.3", True)]


@pytest.mark.parametrize(
    ("settings", "version"),
    [({"early_data": False}, "1.3"), ({"tls": "1.2"}, "1.2")],
    ids=["none taken", "TLS 1.2"],
)
def test_servers_without(
    ca: Authority, server_identity: Identity, settings: dict[str, object], version: str
) -> None:
    with telling(server_identity, **settings) as server:
        outcome = PROGRAM.run("localhost", server.port, ca=ca)
        assert requests(server, 3) == {"GET/:200": 3}
    assert outcome.printed == "200 no early data was sent\n" * 3
    assert outcome.handshakes == [(version, False), (version, True), (version, True)]


def test_what_is_rejected_is_sent_again_without_the_mark(ca: Authority, server_identity: Identity) -> None:
    with telling(server_identity, extra="ssl_ecdh_curve secp384r1;") as server:
        outcome = PROGRAM.run("localhost", server.port, ca=ca)
        assert requests(server, 3) == {"GET/:200": 3}
    rejected = "200 early data was rejected, and has to be sent again\n"
    assert outcome.printed == "200 no early data was sent\n" + rejected * 2


def test_too_early_is_asked_again_after_the_handshake(ca: Authority, server_identity: Identity) -> None:
    code = """
for _ in range(2):
    with httpx.Client(transport=Transport(ctx)) as client:
        get("/late")
        get("/late")
"""
    with telling(server_identity) as server:
        outcome = running(code).run("localhost", server.port, ca=ca)
        assert requests(server, 7) == {"GET/:200": 1, "GET/late:425:1": 2, "GET/late:200": 4}
    assert outcome.printed == "200 NOT_SENT\n" + "200 ACCEPTED\n" * 4
    assert len(outcome.handshakes) == 3


def test_too_early_is_asked_again_once_and_then_told(ca: Authority, server_identity: Identity) -> None:
    code = """
with httpx.Client(transport=Transport(ctx)) as client:
    get("/always")
    get("/always", "POST")
"""
    with telling(server_identity) as server:
        outcome = running(code).run("localhost", server.port, ca=ca)
        found = requests(server, 4)
    assert found == {"GET/:200": 1, "GET/always:425:1": 1, "GET/always:425": 1, "POST/always:425": 1}
    assert outcome.printed == "200 NOT_SENT\n425 ACCEPTED\n425 ACCEPTED\n"


def test_only_what_is_safe_goes_early(ca: Authority, server_identity: Identity) -> None:
    code = """
for method in ("POST", "HEAD", "GET"):
    with httpx.Client(transport=Transport(ctx)) as client:
        get("/", method)
"""
    with telling(server_identity) as server:
        outcome = running(code).run("localhost", server.port, ca=ca)
        found = requests(server, 4)
    assert found == {"GET/:200": 1, "POST/:200": 1, "HEAD/:200:1": 1, "GET/:200:1": 1}
    assert outcome.printed == "200 NOT_SENT\n200 NOT_SENT\n200 ACCEPTED\n200 ACCEPTED\n"


def test_redirects_and_connections_that_are_reused(ca: Authority, server_identity: Identity) -> None:
    code = """
with httpx.Client(transport=Transport(ctx), follow_redirects=True) as client:
    get("/moved")
    get("/")
"""
    with telling(server_identity) as server:
        outcome = running(code).run("localhost", server.port, ca=ca)
        found = requests(server, 4)
    assert found == {"GET/:200": 3, "GET/moved:302:1": 1}
    assert outcome.handshakes == [("1.3", False), ("1.3", True)]
    assert outcome.printed == "200 NOT_SENT\n" + "200 ACCEPTED\n" * 2


def test_connections_that_the_server_closes_are_made_anew(ca: Authority, server_identity: Identity) -> None:
    code = """
with httpx.Client(transport=Transport(ctx)) as client:
    for _ in range(3):
        get("/")
"""
    with telling(server_identity, extra="keepalive_requests 1;") as server:
        outcome = running(code).run("localhost", server.port, ca=ca)
        assert sum(requests(server, 4).values()) == 4
    assert outcome.printed == "200 closed\n" * 4
    assert len(outcome.handshakes) == 4


def test_plain_http_is_as_it_was(ca: Authority, server_identity: Identity) -> None:
    code = """
with httpx.Client(transport=Transport(ctx)) as client:
    found = [client.get(f"http://{host}:{sys.argv[3]}/").extensions["network_stream"] for _ in range(2)]
    print(len({each.get_extra_info("client_addr") for each in found}))
"""
    port = free_port()
    with telling(server_identity, extra=f"listen 127.0.0.1:{port};") as server:
        outcome = running(code).run("localhost", server.port, port, ca=ca)
    assert outcome.printed == "200 NOT_SENT\n1\n"


def test_a_long_head_waits(ca: Authority, server_identity: Identity) -> None:
    code = """
with httpx.Client(transport=Transport(ctx)) as client:
    get("/", headers={"X-Long": "x" * 17000})
"""
    big = "large_client_header_buffers 4 32k;"
    with telling(server_identity, extra=big) as server:
        outcome = running(code).run("localhost", server.port, ca=ca)
        assert requests(server, 2) == {"GET/:200": 2}
    assert outcome.printed == "200 NOT_SENT\n" * 2


def test_what_goes_wrong_is_an_error_of_httpx(
    ca: Authority, other_ca: Authority, server_identity: Identity
) -> None:
    code = f"""
import contextlib
other = ssl.create_default_context(cafile={str(other_ca.pem_path)!r})
sslsession.ClientSessionCache(early_data=True).attach(other)
silent = socket.create_server(("127.0.0.1", 0))
for context, where, timeout in (
    (other, port, 5), (ctx, {free_port()}, 5), (ctx, silent.getsockname()[1], 0.2)
):
    with httpx.Client(transport=Transport(context), timeout=timeout) as client:
        try:
            client.get(f"https://localhost:{{where}}/")
        except httpx.TransportError as error:
            print(type(error).__name__, "certificate verify failed" in str(error))
silent.close()
"""
    with telling(server_identity) as server:
        outcome = running(code).run("localhost", server.port, ca=ca)
    assert outcome.printed == "200 NOT_SENT\nConnectError True\nConnectError False\nConnectTimeout False\n"
