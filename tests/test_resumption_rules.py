"""The rules of resumption, which have no I/O and no clock: what may be offered, until when, and why not."""

from __future__ import annotations

import pytest

from sslsession.resumption import (
    FORCEABLE,
    SENTENCES,
    WEEK,
    Candidate,
    Reason,
    canonical_name,
    expires_at,
    lifetime,
    refusal,
    ticket_expiry,
)

TLS1_2, TLS1_3 = 0x0303, 0x0304
NOW = 1_000_000
GOOD = Candidate(
    resumable=True,
    made_at=NOW,
    expires_at=NOW + 1,
    leaf_in_date=True,
    withdrawn=False,
    spent=False,
    name="a.example",
    name_known=True,
    name_here="a.example",
    same_certificate=True,
)


@pytest.mark.parametrize(
    ("version", "timeout", "hint", "seconds"),
    [
        (TLS1_2, 300, None, 300),
        (TLS1_2, 300, 100, 100),
        (TLS1_2, 300, 7200, 300),
        (TLS1_2, 300, 0, 300),  # RFC 5077 3.3: the lifetime is unspecified
        (TLS1_2, -1, None, 0),
        (TLS1_3, 7200, 7200, 7200),
        (TLS1_3, 7200, 60, 60),
        (TLS1_3, 7200, 0, 0),  # RFC 8446 4.6.1: discard immediately
        (TLS1_3, 10 * WEEK, 10 * WEEK, WEEK),  # RFC 8446 4.6.1: seven days at most, whatever the server says
        (TLS1_3, 10 * WEEK, None, WEEK),
    ],
)
def test_a_session_lives_as_long_as_its_shortest_limit(version, timeout, hint, seconds):
    assert lifetime(version, timeout, hint) == seconds
    assert expires_at(version, NOW, timeout, hint) == NOW + seconds


def test_a_ticket_expires_by_its_hint_alone():
    assert ticket_expiry(TLS1_3, NOW, 300, 7200) == NOW + 7200
    assert ticket_expiry(TLS1_3, NOW, 300, 2 * WEEK) == NOW + WEEK
    assert ticket_expiry(TLS1_3, NOW, 300, 0) == NOW
    assert ticket_expiry(TLS1_2, NOW, 300, 0) == NOW + 300
    assert ticket_expiry(TLS1_2, NOW, 300, 2 * WEEK) == NOW + 2 * WEEK


def test_a_good_session_is_offered():
    assert refusal(GOOD, NOW) is None
    assert refusal(GOOD._replace(made_at=NOW + 300), NOW) is None
    assert refusal(GOOD._replace(name="A.Example."), NOW) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"withdrawn": True}, Reason.WITHDRAWN),
        ({"resumable": False}, Reason.NOT_RESUMABLE),
        ({"expires_at": NOW}, Reason.EXPIRED),
        ({"leaf_in_date": False}, Reason.EXPIRED),
        ({"spent": True}, Reason.TICKET_USED),
        ({"name_here": "b.example"}, Reason.NAME_MISMATCH),
        ({"name_here": None}, Reason.NAME_MISMATCH),
        ({"name": None}, Reason.NAME_MISMATCH),
        ({"made_at": NOW + 301}, Reason.EXPIRED),
        ({"same_certificate": False}, Reason.CERTIFICATE_CHANGED),
    ],
)
def test_each_fault_alone_refuses(change, reason):
    assert refusal(GOOD._replace(**change), NOW) is reason


def test_a_name_that_nobody_kept_is_left_to_the_certificate():
    assert refusal(GOOD._replace(name=None, name_known=False), NOW) is None


def test_what_force_cannot_pass_is_told_first():
    everything = GOOD._replace(
        withdrawn=True, resumable=False, expires_at=0, spent=True, name_here="b", same_certificate=False
    )
    for cleared in ({"withdrawn": False}, {"resumable": True}, {"expires_at": NOW + 1}, {"spent": False}):
        assert refusal(everything, NOW) not in FORCEABLE
        everything = everything._replace(**cleared)
    assert refusal(everything, NOW) in FORCEABLE


def test_names_compare_without_case_and_without_a_dot_at_the_end():
    assert canonical_name("WWW.Example.ORG.") == "www.example.org"
    assert canonical_name("") is canonical_name(None) is None


@pytest.mark.parametrize("reason", list(Reason))
def test_each_reason_is_a_sentence(reason):
    assert str(reason) == SENTENCES[reason]
    assert str(reason)[0].islower()
