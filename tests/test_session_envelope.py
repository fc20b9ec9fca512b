"""The envelope of `to_bytes`: what is cut, damaged, newer or made up is `InvalidSession`, saying which."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from helpers.certs import Authority, Identity
from helpers.damage import body_of, enveloped, mutated, read_or_refuse
from helpers.peers import client_context, connect, server_context
from helpers.sessions import session_of
from sslsession import InvalidSession, Session, _envelope

pytestmark = pytest.mark.binding
VALUES = [None, True, 7, -1, 2**70, b"x", "text", (), {}]


@pytest.fixture(scope="module")
def sessions(ca: Authority, server_identity: Identity) -> list[Session]:
    """Of TLS 1.2 and 1.3, of a client and of a server."""
    found = []
    for version in ("1.2", "1.3"):
        pair = connect(
            client_context(ca, version=version, alpn=["h2"]), server_context(server_identity, alpn=["h2"])
        )
        found += [session_of(pair.client), session_of(pair.server)]
        pair.close()
    return found


@pytest.fixture(params=range(4), ids=["1.2-client", "1.2-server", "1.3-client", "1.3-server"])
def session(request: pytest.FixtureRequest, sessions: list[Session]) -> Session:
    found: Session = sessions[request.param]
    return found


class TestEnvelope:
    def test_of_a_newer_version(self, session: Session) -> None:
        for version in (2, 3, 255):
            with pytest.raises(InvalidSession, match=rf"version {version}, newer .*reads \(1\); upgrade"):
                Session.from_bytes(enveloped(b"whatever", version))

    def test_cut_at_every_length(self, session: Session) -> None:
        data = session.to_bytes()
        for length in range(len(data)):
            expected = "do not begin as" if length < 4 else "is cut"
            with pytest.raises(InvalidSession, match=expected):
                Session.from_bytes(data[:length])

    def test_bytes_after_it(self, session: Session) -> None:
        for count in (1, 1000):
            with pytest.raises(InvalidSession, match=f"{count} bytes follow the session envelope's end"):
                Session.from_bytes(session.to_bytes() + bytes(count))

    def test_every_single_byte_changed(self, session: Session) -> None:
        data = session.to_bytes()
        for at in range(len(data)):
            changed = bytearray(data)
            changed[at] ^= 0x55
            with pytest.raises(InvalidSession):
                Session.from_bytes(bytes(changed))

    def test_mutated_under_a_right_checksum(self, session: Session) -> None:
        for body in mutated(body_of(session), 4):
            read_or_refuse(Session.from_bytes, enveloped(body))

    def test_cut_at_every_length_under_a_right_checksum(self, session: Session) -> None:
        body = body_of(session)
        for length in range(len(body)):
            with pytest.raises(InvalidSession, match="damaged"):
                Session.from_bytes(enveloped(body[:length]))

    @pytest.mark.parametrize(
        "body",
        [
            *(
                b"",
                b"n",
                b"t",
                b"i\x01\x07",
                b"l\x00\x00\x00\x00",
                b"d\x00\x00\x00\x00",
                b"d\xff\xff\xff\xff",
            ),
            b"l\xff\xff\xff\xff" + b"n" * 50,
            *(b"d\x00\x00\x00\x01d\x00\x00\x00\x00n", b"s\x00\x00\x00\x01\xff", b"b\xff\xff\xff\xff", b"?"),
            *(b"l\x00\x00\x00\x01" * 10_000, b"d\x00\x00\x00\x01n" * 10_000, b"i\xff"),
        ],
        ids=lambda body: repr(body[:12]),
    )
    def test_a_body_that_is_no_session(self, body: bytes) -> None:
        with pytest.raises(InvalidSession, match="damaged"):
            Session.from_bytes(enveloped(body))

    def test_each_value_left_out_or_of_another_type(self, session: Session) -> None:
        def check(plain: dict[str, Any], pack: Callable[[dict[str, Any]], bytes]) -> None:
            for name, value in plain.items():
                others = [{key: each for key, each in plain.items() if key != name}]
                others += [{**plain, name: other} for other in VALUES if other != value]
                for other in others:
                    read_or_refuse(Session.from_bytes, pack(other))

        whole = _envelope.unpack(session.to_bytes())
        facts, policy = whole["facts"], whole["facts"]["policy"]
        check(whole, _envelope.pack)
        check(facts, lambda changed: _envelope.pack({**whole, "facts": changed}))
        check(policy, lambda changed: _envelope.pack({**whole, "facts": {**facts, "policy": changed}}))
        for name in whole:
            with pytest.raises(InvalidSession, match="damaged"):
                Session.from_bytes(_envelope.pack({key: each for key, each in whole.items() if key != name}))
        for name in facts:
            missing = {key: each for key, each in facts.items() if key != name}
            with pytest.raises(InvalidSession, match=f"damaged: {name} is missing"):
                Session.from_bytes(_envelope.pack({**whole, "facts": missing}))


def test_an_envelope_of_a_megabyte_is_refused_unread() -> None:
    with pytest.raises(InvalidSession, match="at most"):
        Session.from_bytes(_envelope.MAGIC + bytes(2 << 20))


def test_keys_that_are_no_text_are_refused() -> None:
    """Numbers that all hash alike would make a dictionary of them quadratic."""
    body = _envelope.pack({number * (2**61 - 1): None for number in range(3)})
    with pytest.raises(InvalidSession, match="body cannot be read"):
        Session.from_bytes(body)
