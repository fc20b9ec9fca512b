"""What ``import sslsession`` offers: the names that are promised, documented, and nothing that fails at import."""

from __future__ import annotations

import inspect

import pytest

import sslsession
from helpers.children import run_python

pytestmark = pytest.mark.binding
PROMISED = """
    Session get_session set_session SessionHooks send_new_ticket renegotiate update_keys why_not_resumed
    SessionError UnsupportedInterpreter UnsupportedError SessionMismatch SessionExpired InvalidSession StoreError
""".split()
FIELDS = """
    cert_data certificate_chain cipher_spec cipher_suite compression_algorithm curve ecc_curves ecc_point_format
    encrypt_then_mac extended_master_secret ffdhe_groups heartbeat_mode identity last_activity master_secret
    max_packet_size peer_certificate_chain peer_public_key private_key server_name signature_algorithms ticket
    ticket_expiry_time truncated_hmac version id id_context time timeout lifetime_hint alpn max_early_data verify_result
    ticket_appdata is_resumable is_expired single_use policy
""".split()


@pytest.mark.parametrize("name", PROMISED)
def test_each_promised_name_is_offered_and_documented(name):
    assert name in sslsession.__all__
    assert inspect.getdoc(getattr(sslsession, name))


@pytest.mark.parametrize("name", FIELDS)
def test_each_field_of_a_session_is_documented(name):
    assert inspect.getdoc(getattr(sslsession.Session, name))


@pytest.mark.parametrize("name", FIELDS)
def test_no_field_can_be_set(name):
    with pytest.raises(AttributeError):
        setattr(object.__new__(sslsession.Session), name, 1)


def test_errors_are_also_what_a_caller_would_catch():
    assert issubclass(sslsession.UnsupportedInterpreter, RuntimeError)
    assert issubclass(sslsession.UnsupportedError, NotImplementedError)
    assert issubclass(sslsession.StoreError, OSError)
    for kind in (sslsession.SessionMismatch, sslsession.SessionExpired, sslsession.InvalidSession):
        assert issubclass(kind, ValueError)
    for name in PROMISED:
        if name.endswith(("Error", "Interpreter", "Mismatch", "Expired")):
            assert issubclass(getattr(sslsession, name), sslsession.SessionError)


def test_a_session_is_not_made_by_hand():
    with pytest.raises(TypeError, match="get_session"):
        sslsession.Session()


def test_importing_starts_no_thread_and_needs_no_extra():
    run_python(
        "import sys, threading\n"
        "before = set(sys.modules)\n"
        "import sslsession\n"
        "assert threading.active_count() == 1\n"
        "new = set(sys.modules) - before\n"
        "assert not {'click', 'rich', 'json', 'asyncio'} & new, new\n"
    )
