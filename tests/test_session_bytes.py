"""A session as DER, PEM and in the envelope; what is none of them is `InvalidSession` and nothing else. Fact 28."""

from __future__ import annotations

import copy
import pickle
import random
import struct

import pytest

from helpers.certs import Authority, Identity
from helpers.damage import HEADER, body_of, enveloped, mutated, read_or_refuse, touch
from helpers.memory_use import growth, needs_statm
from helpers.openssl_calls import openssl
from helpers.peers import client_context, connect, server_context
from helpers.sessions import TIME_TAG, session_of, take, values, with_integer
from sslsession import InvalidSession, Session, SessionError

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


class TestRoundTrips:
    def test_der(self, session: Session) -> None:
        assert Session.from_der(session.to_der()).to_der() == session.to_der()
        assert Session.from_der(bytearray(session.to_der())).to_der() == session.to_der()

    def test_pem(self, session: Session) -> None:
        text = session.to_pem()
        assert Session.from_pem(text).to_der() == Session.from_pem(text.encode()).to_der() == session.to_der()
        assert max(map(len, text.splitlines())) == 64
        assert Session.from_pem(f"of localhost\n{text}\nand more\n").to_der() == session.to_der()
        assert Session.from_pem(text.replace("\n", "\r\n")).to_der() == session.to_der()

    def test_the_envelope(self, session: Session) -> None:
        assert Session.from_bytes(session.to_bytes()).to_bytes() == session.to_bytes()
        assert Session.from_bytes(memoryview(session.to_bytes())).to_bytes() == session.to_bytes()

    def test_the_envelope_of_a_session_from_der(self, session: Session) -> None:
        alone = Session.from_der(session.to_der())
        assert values(Session.from_bytes(alone.to_bytes())) == values(alone)

    def test_the_envelope_is_versioned(self, session: Session) -> None:
        magic, version, length, _ = HEADER.unpack_from(session.to_bytes())
        assert (magic, version, length) == (b"\x8bSSN", 1, len(session.to_bytes()) - HEADER.size)

    def test_keys_of_the_future_are_passed_over(self, session: Session) -> None:
        body = body_of(session)
        count = struct.unpack_from(">I", body, 1)[0]
        longer = b"d" + struct.pack(">I", count + 1) + body[5:] + b"s\x00\x00\x00\x03newn"
        assert values(Session.from_bytes(enveloped(longer))) == values(session)


class TestDer:
    def test_fact_28_cut_at_every_length(self, session: Session) -> None:
        der = session.to_der()
        for length in range(len(der)):
            with pytest.raises(InvalidSession, match="no session in DER"):
                Session.from_der(der[:length])
        assert openssl.ERR_peek_last_error() == 0

    def test_fact_28_bytes_after_it(self, session: Session) -> None:
        for count in (1, 2, 1000):
            with pytest.raises(InvalidSession, match=f"{count} bytes follow"):
                Session.from_der(session.to_der() + bytes(count))

    def test_fact_28_mutated(self, session: Session) -> None:
        for data in mutated(session.to_der(), 28):
            read_or_refuse(Session.from_der, data)

    def test_random_bytes(self) -> None:
        chance = random.Random(1)
        for length in [*range(64), *[chance.randrange(5_000) for _ in range(200)]]:
            data = bytes(chance.randrange(256) for _ in range(length))
            for read in (Session.from_der, Session.from_bytes, Session.from_pem):
                with pytest.raises(InvalidSession):
                    read(data)

    @pytest.mark.parametrize("version", [0xFEFD, 0xFEFF, 0x0305, 0x03FF, 0x0200])
    def test_a_protocol_that_is_no_tls(self, session: Session, version: int) -> None:
        number = int(session.version).to_bytes(2, "big")
        changed = session.to_der().replace(b"\x02\x02" + number, b"\x02\x02" + version.to_bytes(2, "big"), 1)
        with pytest.raises(InvalidSession):
            Session.from_der(changed)

    def test_times_that_no_calendar_has(self, session: Session) -> None:
        for when in (1, 2**31, 2**33, 2**40):
            changed = Session.from_der(with_integer(session.to_der(), TIME_TAG, when))
            touch(changed)
            assert changed.is_expired is (when == 1)
        touch(Session.from_der(with_integer(session.to_der(), TIME_TAG, 2**62)))

    def test_an_envelope_is_no_der_and_says_so(self, session: Session) -> None:
        with pytest.raises(InvalidSession):
            Session.from_der(session.to_bytes())
        with pytest.raises(InvalidSession, match="do not begin as"):
            Session.from_bytes(session.to_der())
        with pytest.raises(InvalidSession, match="do not begin as"):
            Session.from_bytes(session.to_pem().encode())


class TestPem:
    def test_no_block_and_two(self, session: Session) -> None:
        for text, count in (
            ("", "no"),
            ("-----BEGIN SSL SESSION PARAMETERS-----", "no"),
            (session.to_pem() * 2, "2"),
        ):
            with pytest.raises(InvalidSession, match=f"{count} session blocks"):
                Session.from_pem(text)

    def test_a_block_that_is_no_base64(self) -> None:
        for inside in ("?!", "AAA", "=", "\x00", "ä"):
            text = f"-----BEGIN SSL SESSION PARAMETERS-----\n{inside}\n-----END SSL SESSION PARAMETERS-----\n"
            for given in (text, text.encode()):
                with pytest.raises(InvalidSession):
                    Session.from_pem(given)

    def test_a_certificate_is_none(self, ca: Authority) -> None:
        with pytest.raises(InvalidSession, match="no session blocks"):
            Session.from_pem(ca.pem)

    def test_a_block_that_is_no_session(self, ca: Authority) -> None:
        text = ca.pem.replace("CERTIFICATE", "SSL SESSION PARAMETERS")
        with pytest.raises(InvalidSession, match="no session in DER"):
            Session.from_pem(text)

    def test_mutated(self, session: Session) -> None:
        for data in mutated(session.to_pem().encode(), 3):
            read_or_refuse(Session.from_pem, data)


class TestCopies:
    def test_pickling_names_to_bytes(self, session: Session) -> None:
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(TypeError, match=r"secrets.*Session.to_bytes\(\)"):
                pickle.dumps(session, protocol)

    def test_a_session_never_changes_so_a_copy_is_itself(self, session: Session) -> None:
        assert copy.copy(session) is session
        assert copy.deepcopy([session])[0] is session

    def test_nothing_can_be_set(self, session: Session) -> None:
        for name in ("version", "ticket", "anything"):
            with pytest.raises(AttributeError):
                setattr(session, name, None)

    def test_the_errors_are_value_errors(self) -> None:
        for error in (SessionError, ValueError):
            with pytest.raises(error):
                Session.from_bytes(b"")


@needs_statm
def test_fact_28_refused_bytes_leave_memory_where_it_was(ca: Authority, server_identity: Identity) -> None:
    session = take(client_context(ca), server_context(server_identity))
    der, data = session.to_der(), session.to_bytes()
    damaged = enveloped(body_of(session)[:-1])
    hopeless = [
        (Session.from_der, der[:-1]),
        (Session.from_der, der + b"\0"),
        (Session.from_der, der[:90] + bytes(9)),
    ]
    hopeless += [(Session.from_bytes, each) for each in (data[:-1], damaged, data + b"\0")]

    def cycle() -> None:
        for read, given in hopeless:
            try:
                read(given)
            except InvalidSession:
                continue
            raise AssertionError("it was read")

    assert growth(cycle, 2_000) < 1 << 20
