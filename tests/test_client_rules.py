"""What C offers by itself is a part of what resumption.py allows: the two texts, held against each other."""

from __future__ import annotations

import ssl
import time
from typing import Any

import pytest

from helpers.certs import Authority, Identity
from helpers.peers import Pair, client_context, connect, server_context
from helpers.sessions import LIFETIME_HINT_TAG, session_of, with_integer
from sslsession import ClientSessionCache, Reason, Session, _borrow, resumption
from sslsession._libssl import lib

pytestmark = pytest.mark.binding

TIMEOUT_TAG = 2
DAY, WEEK = 24 * 3600, 7 * 24 * 3600
FIT, UNSURE = 0, -1


class Weighed:
    """A session that an attached context earned, and a connection of that context that has begun."""

    def __init__(self, ca: Authority, server: ssl.SSLContext, version: str, **limits: Any) -> None:
        self.client = client_context(ca, version=version)
        self.cache = ClientSessionCache(**limits)
        self.cache.attach(self.client)
        pair = connect(self.client, server)
        self.session = session_of(pair.client)
        pair.close()
        self.cache.clear()  # or the ticket would be used now
        self.begun = Pair(self.client, server)
        with pytest.raises(ssl.SSLWantReadError):
            self.begun.client.do_handshake()

    def __call__(self, now: float, used: float | None = None) -> int:
        return int(
            lib.sslsession_weigh(
                _borrow.borrow(self.begun.client).ssl,
                self.cache._keeping.pool,
                self.session._native,
                int(now if used is None else used),
                int(now),
            )
        )


@pytest.mark.parametrize("timeout", [1, 300, 7200, DAY, WEEK - 1, WEEK, WEEK + 1, 30 * DAY])
@pytest.mark.parametrize("hint", [0, 1, 299, 7200, WEEK, WEEK + 1, 2**31])
def test_a_session_ends_at_the_same_second(
    ca: Authority, server: ssl.SSLContext, tls_version: str, timeout: int, hint: int
) -> None:
    pair = connect(client_context(ca, version=tls_version), server)
    der = session_of(pair.client).to_der()
    pair.close()
    session = Session.from_der(with_integer(with_integer(der, TIMEOUT_TAG, timeout), LIFETIME_HINT_TAG, hint))
    assert (session.timeout, session.lifetime_hint or 0) == (timeout, hint)
    in_c = lib.sslsession_expires_at(session._pointer, session._version)
    assert in_c == session.expires_at
    assert in_c == resumption.expires_at(session._version, session.time, timeout, session.lifetime_hint)


def test_it_is_offered_from_its_making_to_its_end(
    ca: Authority, server: ssl.SSLContext, tls_version: str
) -> None:
    weighed = Weighed(ca, server, tls_version)
    made, end = weighed.session.time, weighed.session.expires_at
    for now in (made - resumption.CLOCK_SKEW, made, made + 1, end - 1):
        assert weighed(now) == FIT
    for now in (made - resumption.CLOCK_SKEW - 1, end, end + 1, end + WEEK):
        assert weighed(now) == Reason.EXPIRED


def test_the_limits_of_a_cache_hold(ca: Authority, server: ssl.SSLContext, tls_version: str) -> None:
    weighed = Weighed(ca, server, tls_version, max_lifetime=100, idle_lifetime=10)
    made = weighed.session.time
    assert weighed(made + 99) == FIT
    assert weighed(made + 100) == Reason.EXPIRED
    assert weighed(made + 50, used=made + 40) == FIT
    assert weighed(made + 50, used=made + 39) == Reason.EXPIRED


def test_the_end_of_a_certificate_is_for_python_to_judge(
    ca: Authority, server_identity: Identity, tls_version: str
) -> None:
    brief = ca.issue("localhost", days=600 / DAY)
    weighed = Weighed(ca, server_context(brief), tls_version)
    assert weighed(weighed.session.time + 500) == FIT
    assert weighed(weighed.session.time + 700) == UNSURE


def test_another_context_is_for_python_to_judge(
    ca: Authority, server: ssl.SSLContext, tls_version: str
) -> None:
    weighed, other = Weighed(ca, server, tls_version), Weighed(ca, server, tls_version)
    weighed.session = other.session
    assert weighed(time.time()) == UNSURE


def test_a_change_of_trust_is_refused_at_once(
    ca: Authority, other_ca: Authority, server: ssl.SSLContext, tls_version: str
) -> None:
    weighed = Weighed(ca, server, tls_version)
    other_ca.trust(weighed.client)
    weighed.begun = Pair(weighed.client, server)
    with pytest.raises(ssl.SSLWantReadError):
        weighed.begun.client.do_handshake()
    assert weighed(time.time()) == Reason.POLICY_CHANGED
