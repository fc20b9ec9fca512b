"""docs/recipes/ftplib.md against vsftpd, which demands that data connections resume."""

from __future__ import annotations

from helpers.ftp import HANDSHAKE, vsftpd
from helpers.recipes import Outcome, Program, programs

TRANSFERS, BY_HAND, IMPLICIT = programs("ftplib")
REFUSED = "522 SSL connection failed: session reuse required"


def test_the_plain_library_is_refused_its_first_transfer(ca, server_identity, tls_version):
    with vsftpd(server_identity, version=tls_version) as server:
        outcome = TRANSFERS.run("localhost", server.port, ca=ca, plain=True, expect=1)
        assert server.logged(HANDSHAKE, 2) == [(f"TLSv{tls_version}", "not reused")] * 2
    assert REFUSED in outcome.printed
    assert outcome.handshakes == [(tls_version, False)] * 2


def test_lists_uploads_and_downloads(ca, server_identity, tls_version):
    with vsftpd(server_identity, version=tls_version) as server:
        outcome = TRANSFERS.run("localhost", server.port, ca=ca)
        assert server.logged(HANDSHAKE, 13) == as_logged(outcome)
    assert outcome.printed == TRANSFERS.output
    assert outcome.handshakes == [(tls_version, False)] + [(tls_version, True)] * 12


def test_tickets_last_for_any_number_of_transfers(ca, server_identity, tls_version):
    many = Program(TRANSFERS.page, TRANSFERS.code.replace("range(4)", "range(40)"), "")
    assert many.code != TRANSFERS.code
    with vsftpd(server_identity, version=tls_version) as server:
        outcome = many.run("localhost", server.port, ca=ca)
    assert outcome.resumed == [False] + [True] * 120
    assert "120 of 121 handshakes resumed" in outcome.printed


def test_a_transfer_by_hand(ca, server_identity, tls_version):
    with vsftpd(server_identity, version=tls_version) as server:
        assert REFUSED in BY_HAND.run("localhost", server.port, ca=ca, plain=True, expect=1).printed
        outcome = BY_HAND.run("localhost", server.port, ca=ca)
    assert outcome.printed == BY_HAND.output
    assert outcome.resumed == [False, True, True, True, True]


def test_implicit_tls(ca, server_identity, tls_version):
    with vsftpd(server_identity, version=tls_version, implicit=True) as server:
        assert REFUSED in IMPLICIT.run("localhost", server.port, ca=ca, plain=True, expect=1).printed
        outcome = IMPLICIT.run("localhost", server.port, ca=ca)
    assert outcome.printed == IMPLICIT.output
    assert outcome.resumed == [False, True, True]


def as_logged(outcome: Outcome) -> list[tuple[str, str]]:
    """vsftpd's words for what the client saw."""
    return [
        (f"TLSv{version}", "reused" if reused else "not reused") for version, reused in outcome.handshakes
    ]
