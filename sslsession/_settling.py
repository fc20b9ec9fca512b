"""From the settings of a ``TLSConnection`` to a context, its cache, and what each connection is given beside it.

What an application sets itself stands: a context of its own is used as it is, and a setting that would have to change
it is refused. Of the connection alone are the size of its records and its options.

Its options are a part of the policy that sessions are kept under (``policy.py``). Some that mean something to servers
alone are therefore set on clients, to keep sessions apart in a cache that several connections share: those that were
earned under validators from those that were not, and those of one fragment length from those of another, over which
OpenSSL's servers end a resumption (RFC 6066 4).
"""

from __future__ import annotations

import os
import ssl
import sys
import threading
from typing import Any, NamedTuple

from sslsession import _borrow, _callbacks
from sslsession._connection_settings import Certificate, CipherSuites, MaxBufferSize, is_verifying
from sslsession._libssl import ffi, lib

SET_SESS_CACHE_MODE, SET_MAX_SEND_FRAGMENT = 44, 52
SESS_CACHE_OFF = 0
NO_RENEGOTIATION = 1 << 30
UNDER_VALIDATORS = 1 << 24  # SSL_OP_NO_ANTI_REPLAY
FRAGMENT_CODES = (
    1 << 13,
    1 << 16,
    1 << 21,
)  # COOKIE_EXCHANGE, NO_SESSION_RESUMPTION_ON_RENEGOTIATION, PRIORITIZE_CHACHA
TICKETS_PER_PEER, SERVER_SIZE = 8, 20480
_attaching = threading.RLock()


class Settled(NamedTuple):
    """What connections are made of, once it is decided."""

    context: ssl.SSLContext
    inner: ssl.SSLContext
    """The context whose ``SSL_CTX`` the connections have; another one with truststore."""
    never_resumes: bool
    """A server whose every connection gets a session id context of its own, for its context belongs to its user."""


def new_context(server: bool, client_auth: bool, verify_later: bool) -> ssl.SSLContext:
    """A context of ssl's own defaults that no renegotiation can change the peer of."""
    if verify_later or sys.version_info < (3, 10):  # before, ssl's defaults are of a protocol of both sides
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if not server and not verify_later:
            context.load_default_certs()
    else:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH if server else ssl.Purpose.SERVER_AUTH)
    if server and client_auth:
        context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
        context.verify_mode = ssl.CERT_REQUIRED
    context.options |= NO_RENEGOTIATION
    return context


def refuse_contradictions(settings: dict[str, Any], baked: dict[str, Any]) -> None:
    """Raises ``ValueError`` for settings that do not go together. baked: what a context was made with, elsewhere."""
    server, given = settings["server_side"], settings["context"]
    if server and settings["server_hostname"] is not None:
        raise ValueError("server_hostname is whom a client connects to: a server has none")
    if not server and settings["client_auth"]:
        raise ValueError("client_auth is for servers, which ask clients for a certificate")
    if settings["verify_later"]:
        if server:
            raise ValueError(
                "verify_later is for clients: a server verifies during the handshake or not at all"
            )
        if not settings["validators"] and not settings["insecure"]:
            raise ValueError(
                "verify_later without validators would trust anybody: add validators, or say insecure=True"
            )
    if given is None:
        if server and settings["certificate"] is None:
            raise ValueError(
                "a server needs a certificate: certificate=(chain, key), or a context that has one"
            )
        return
    for name, instead in (("certificate", "load_cert_chain"), ("cipher_suites", "set_ciphers")):
        if settings[name] not in (None, baked.get(name)):
            raise ValueError(
                f"{name} and context exclude each other, for others may use the context: call context.{instead}()"
            )


def settle(settings: dict[str, Any], own: ssl.SSLContext | None, baked: dict[str, Any]) -> Settled:
    """Decides. own: the context that :func:`new_context` made, None where the user gave his.

    Errors: ``ValueError`` for what is unsafe, contradicts itself or is missing; of files ``OSError``, ``ssl.SSLError``.
    """
    server, context = settings["server_side"], own if own is not None else settings["context"]
    inner = _borrow.true_context(context)
    if own is not None:
        _apply(settings, own)
    if _borrow.protocol_of(inner) == (ssl.PROTOCOL_TLS_CLIENT if server else ssl.PROTOCOL_TLS_SERVER):
        raise ValueError(
            f"the context is a {'client' if server else 'server'}'s, and this side is the other one"
        )
    require_verification(settings, context)  # before a cache is attached to it
    with _attaching:
        never = _join_cache(settings, context, inner, own is not None, baked)
    return Settled(context, inner, never)


def _apply(settings: dict[str, Any], context: ssl.SSLContext) -> None:
    if settings["verify_later"]:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate, suites = settings["certificate"], settings["cipher_suites"]
    if isinstance(certificate, Certificate):
        certificate.load(context)
    if suites is not None:
        text = suites.value if isinstance(suites, CipherSuites) else suites
        try:
            context.set_ciphers(text)
        except ssl.SSLError as error:
            raise ValueError(
                f"cipher_suites: OpenSSL knows no suite in {text!r} ({error.strerror or error}); see `openssl ciphers`"
            ) from None


def require_verification(settings: dict[str, Any], context: ssl.SSLContext) -> None:
    """Raises ``ValueError`` where nobody would look at the peer, as each connection begins: contexts change."""
    verifies, validators = is_verifying(context), settings["validators"]
    if settings["server_side"]:
        if settings["client_auth"] and context.verify_mode != ssl.CERT_REQUIRED:
            raise ValueError(
                "client_auth=True, and the context does not require it: set its verify_mode to CERT_REQUIRED"
            )
        if validators and not verifies:
            raise ValueError(
                "a server's validators look at client certificates: ask for them with client_auth=True"
            )
        return
    if settings["verify_later"] and verifies:
        raise ValueError(
            "verify_later=True, and the context verifies during the handshake: "
            "set its check_hostname to False and its verify_mode to CERT_NONE, or give no context"
        )
    if not verifies and not validators and not settings["insecure"]:
        raise ValueError(
            "the context verifies nothing and there are no validators: anybody could be the server. "
            "Add validators, or say insecure=True"
        )
    if context.check_hostname and settings["server_hostname"] is None:
        raise ValueError(
            "server_hostname is needed, for the server's certificate is checked against it; "
            "or verify_later=True with validators"
        )


def _users(inner: ssl.SSLContext) -> list[Any]:
    number = lib.sslsession_context_id(_borrow.context_pointer(inner))
    return list(getattr(_callbacks.handlers.get(number), "users", ()))


def _joined(inner: ssl.SSLContext, server: bool) -> list[Any]:
    return [each for each in _users(inner) if (each.server or each.ring if server else each.pool) is not None]


def _resumes_nothing(settings: dict[str, Any]) -> bool:
    return not settings["resume"] or settings["cache_size"] == 0


def require_no_cache(settings: dict[str, Any], inner: ssl.SSLContext) -> None:
    """Raises ``ValueError`` where nothing is to be resumed and a cache would: another may have brought it."""
    if _resumes_nothing(settings) and _joined(inner, settings["server_side"]):
        raise ValueError(
            "nothing is to be resumed, and a cache is attached to the context: detach it, or give another context"
        )


def _join_cache(
    settings: dict[str, Any], context: ssl.SSLContext, inner: ssl.SSLContext, own: bool, baked: dict[str, Any]
) -> bool:
    """Gives the context a cache unless it has one; whether its connections must be kept from resuming one by one."""
    server, size = settings["server_side"], settings["cache_size"]
    joined = _joined(inner, server)
    if _resumes_nothing(settings):
        if own:
            _end_resumption(context, inner, joined, server)
        else:
            require_no_cache(settings, inner)
        return bool(server and not own)
    if joined and not own:
        if size not in (None, baked.get("cache_size")):
            raise ValueError(
                "cache_size is of a cache of this connection's own, and its context has one attached"
            )
        return False
    if server:
        from sslsession.server import ServerSessionCache

        ServerSessionCache(size=size or SERVER_SIZE).attach(context)
    else:
        from sslsession.client import ClientSessionCache

        ClientSessionCache(tickets_per_peer=size or TICKETS_PER_PEER).attach(context)
    return False


def _end_resumption(context: ssl.SSLContext, inner: ssl.SSLContext, joined: list[Any], server: bool) -> None:
    for user in joined:
        user.holder.detach(context)  # inject_into_ssl() attaches to every context
    if server:
        # OpenSSL takes a size of 0 for one without limit, and tickets need no cache at all.
        lib.SSL_CTX_ctrl(_borrow.context_pointer(inner), SET_SESS_CACHE_MODE, SESS_CACHE_OFF, ffi.NULL)
        inner.options |= ssl.OP_NO_TICKET
        inner.num_tickets = 0


def prepare(settings: dict[str, Any], settled: Settled, handle: Any) -> None:
    """Gives an ``SSL *`` what is of this connection alone. Errors: ``ValueError`` for a server without certificate."""
    server, size = settings["server_side"], settings["max_buffer_size"]
    hold_to(settings, handle)
    if not server:
        options = UNDER_VALIDATORS if settings["validators"] else 0
        options |= sum(bit for number, bit in enumerate(FRAGMENT_CODES) if size.code >> number & 1)
        if size.code:
            lib.SSL_set_tlsext_max_fragment_length(handle, size.code)
        if options:
            lib.SSL_set_options(handle, options)
    if settled.never_resumes:
        unique = os.urandom(32)
        lib.SSL_set_session_id_context(handle, unique, len(unique))
    if server and settled.inner.sni_callback is None and not _has_certificate(handle):
        raise ValueError("a server needs a certificate: the context has none, so call its load_cert_chain()")


def hold_to(settings: dict[str, Any], handle: Any) -> None:
    """Gives an ``SSL *`` what holds for one that somebody else established, too."""
    if settings["validators"]:  # a renegotiation could bring a certificate that none of them saw
        lib.SSL_set_options(handle, NO_RENEGOTIATION)
    if settings["max_buffer_size"] is not MaxBufferSize.Default:
        lib.SSL_ctrl(handle, SET_MAX_SEND_FRAGMENT, settings["max_buffer_size"].bytes, ffi.NULL)


def _has_certificate(handle: Any) -> bool:
    policy = ffi.new("sslsession_policy *")
    lib.sslsession_read_policy(handle, policy)
    return bool(policy.has_certificate)


def earned_under_validators(session: Any) -> bool:
    """Whether a :class:`Session` comes from a connection that had validators; False where that is not known."""
    policy = session.policy
    return policy is not None and bool(policy.options & UNDER_VALIDATORS)


def _after_fork() -> None:
    global _attaching
    _attaching = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
