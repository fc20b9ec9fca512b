"""docs/recipes/smtplib.md against Exim (GnuTLS), imaplib.md against Dovecot."""

from __future__ import annotations

import pytest

from helpers.certs import Authority, Identity
from helpers.mail import DOVECOT_FULL, DOVECOT_LOGIN, EXIM_HANDSHAKE, dovecot, exim
from helpers.recipes import Program, programs

(IMAP,) = programs("imaplib")
USER = ("reader", "secret")


@pytest.mark.parametrize(
    ("program", "port"), list(zip(programs("smtplib"), (0, 1))), ids=["STARTTLS", "SMTPS"]
)
def test_smtplib_and_exim(
    ca: Authority, server_identity: Identity, tls_version: str, program: Program, port: int
):
    with exim(server_identity, version=tls_version) as server:
        plain = program.run("localhost", server.ports[port], ca=ca, plain=True)
        outcome = program.run("localhost", server.ports[port], ca=ca)
        logged = server.logged(EXIM_HANDSHAKE, 6)
    assert plain.handshakes == [(tls_version, False)] * 3
    assert outcome.handshakes == [(tls_version, reused) for reused in (False, True, True)]
    assert outcome.printed == program.output
    assert logged == [(f"TLS{tls_version}", how) for how in ["full"] * 4 + ["resumed"] * 2]


def test_imaplib_and_dovecot(ca: Authority, server_identity: Identity, tls_version: str):
    with dovecot(server_identity, version=tls_version) as server:
        plain = IMAP.run("localhost", server.port, *USER, ca=ca, plain=True)
        server.logged(DOVECOT_LOGIN, 3)
        assert len(server.logged(DOVECOT_FULL, 3)) == 3
        outcome = IMAP.run("localhost", server.port, *USER, ca=ca)
        server.logged(DOVECOT_LOGIN, 6)
        assert len(server.logged(DOVECOT_FULL, 4)) == 4
    assert plain.handshakes == [(tls_version, False)] * 3
    assert outcome.handshakes == [(tls_version, reused) for reused in (False, True, True)]
    assert outcome.printed == IMAP.output


def test_a_dovecot_with_a_process_for_each_connection(
    ca: Authority, server_identity: Identity, tls_version: str
):
    with dovecot(server_identity, version=tls_version, one_process=False) as server:
        outcome = IMAP.run("localhost", server.port, *USER, ca=ca)
    assert outcome.resumed == [False] * 3
