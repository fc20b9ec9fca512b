"""docs/recipes/ftplib.md against vsftpd and ProFTPD, which demand that data connections resume."""

from __future__ import annotations

import ftplib
import io
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Callable

import pytest

import sslsession
from helpers.ftp import HANDSHAKE, PROFTPD_PASSWORD, PROFTPD_REFUSED, PROFTPD_REUSED, proftpd, vsftpd
from helpers.peers import client_context, dial
from helpers.programs import fetch_page, nginx
from helpers.recipes import Outcome, Program, programs
from helpers.services import Service

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


class TestProFTPD:
    USER = ("ftp", PROFTPD_PASSWORD)

    def test_the_plain_library_is_refused_its_first_transfer(self, ca, server_identity, tls_version):
        with proftpd(server_identity, version=tls_version) as server:
            outcome = TRANSFERS.run("localhost", server.port, *self.USER, ca=ca, plain=True, expect=1)
            server.logged(PROFTPD_REFUSED, 1)
        assert outcome.handshakes == [(tls_version, False)] * 2

    def test_lists_uploads_and_downloads(self, ca, server_identity):
        with proftpd(server_identity, version="1.2") as server:
            outcome = TRANSFERS.run("localhost", server.port, *self.USER, ca=ca)
            assert len(server.logged(PROFTPD_REUSED, 12)) == 12
        assert outcome.printed == TRANSFERS.output
        assert outcome.handshakes == [("1.2", False)] + [("1.2", True)] * 12

    def test_uploads_in_tls_1_3_use_up_the_tickets_as_the_page_says(self, ca, server_identity):
        with proftpd(server_identity, version="1.3") as server:
            outcome = TRANSFERS.run("localhost", server.port, *self.USER, ca=ca, expect=1)
        resumed = [reused for _, reused in outcome.handshakes]
        assert resumed[0] is resumed[-1] is False
        assert all(resumed[1:-1])


@pytest.fixture
def ftps(ca) -> Iterator[Callable[[Service], ftplib.FTP_TLS]]:
    """Logs in as anonymous; all logins share one cache."""
    with ExitStack() as stack:
        cache = stack.enter_context(sslsession.ClientSessionCache(same_host_any_port=True))

        def login(server: Service, version: str | None = None) -> ftplib.FTP_TLS:
            ctx = client_context(ca, version=version)
            cache.attach(ctx)
            ftp = stack.enter_context(ftplib.FTP_TLS(context=ctx, timeout=20))  # noqa: S321
            ftp.connect("localhost", server.port)
            ftp.login()
            ftp.prot_p()
            return ftp

        yield login


def store(ftp: ftplib.FTP_TLS, name: str = "some", size: int = 100_000) -> None:
    ftp.storbinary(f"STOR {name}", io.BytesIO(bytes(size)))


def test_the_next_login_resumes_too(ftps, server_identity, tls_version):
    with vsftpd(server_identity, version=tls_version) as server:
        for _ in range(3):
            ftp = ftps(server)
            store(ftp)
            ftp.quit()
        logged = [how for _, how in server.logged(HANDSHAKE, 6)]
    assert logged == ["not reused"] + ["reused"] * 5


def test_two_logins_at_once_share_a_cache(ftps, server_identity, tls_version):
    with vsftpd(server_identity, version=tls_version) as server:
        one, two = ftps(server), ftps(server)
        for _ in range(5):
            store(one, "one")
            store(two, "two")
        assert one.nlst() == ["one", "two"]


def test_a_server_with_other_keys_on_another_port(ftps, server_identity, tls_version):
    for _ in range(2):
        with vsftpd(server_identity, version=tls_version) as server:
            ftp = ftps(server)
            store(ftp)
            store(ftp)
            ftp.quit()
            assert [how for _, how in server.logged(HANDSHAKE, 3)] == ["not reused", "reused", "reused"]


def test_another_service_of_the_host_takes_the_tickets(ftps, ca, server_identity):
    """Why the page says that FTP needs a cache of its own."""
    with vsftpd(server_identity, version="1.3") as server, nginx(server_identity) as other:
        ftp = ftps(server)
        store(ftp)
        with dial(other.port, ftp.context) as conn:
            fetch_page(conn)
        data = ftp.transfercmd("STOR some")
        assert not data.session_reused
        data.close()
        with pytest.raises(ftplib.error_perm, match=REFUSED):
            ftp.voidresp()
        ftp.close()


@pytest.mark.parametrize("size", [0, 5_000_000])
def test_an_empty_and_a_long_file(ftps, server_identity, tls_version, size):
    with vsftpd(server_identity, version=tls_version) as server:
        ftp = ftps(server)
        for _ in range(4):
            store(ftp, size=size)
        back = io.BytesIO()
        ftp.retrbinary("RETR some", back.write)
    assert len(back.getvalue()) == size


def test_a_download_that_is_broken_off(ftps, server_identity, tls_version):
    with vsftpd(server_identity, version=tls_version) as server:
        ftp = ftps(server)
        store(ftp, size=5_000_000)
        for _ in range(4):
            data = ftp.transfercmd("RETR some")
            assert data.session_reused
            data.recv(1000)
            data.close()
            with pytest.raises(ftplib.error_temp):
                ftp.voidresp()
        assert ftp.nlst() == ["some"]


def as_logged(outcome: Outcome) -> list[tuple[str, str]]:
    """vsftpd's words for what the client saw."""
    return [
        (f"TLSv{version}", "reused" if reused else "not reused") for version, reused in outcome.handshakes
    ]
