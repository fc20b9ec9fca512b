"""Secrets are in `to_der`, `to_pem`, `to_bytes` and where they are asked for by name, and nowhere else."""

from __future__ import annotations

import base64
import gc
import io
import logging
import pickle
import ssl
import sys
import traceback
from collections.abc import Callable
from typing import Any

import pytest

import sslsession
from helpers.certs import Authority, Identity
from helpers.children import run_python
from helpers.peers import Pair, client_context, connect, server_context
from helpers.sessions import (
    FIELDS,
    aged,
    die_of_a_fatal_alert,
    offering,
    resumes,
    session_of,
    take,
)
from helpers.spellings import spellings
from sslsession import Session, SessionError, SessionHooks

pytestmark = pytest.mark.binding


class Watched:
    """The secrets of a session, to look for in text."""

    def __init__(self, session: Session) -> None:
        assert len(session.master_secret) >= 32
        assert session.ticket
        self.spellings = spellings(session.master_secret) | spellings(session.ticket)

    def absent_from(self, text: str) -> bool:
        plain, lower = text, text.lower()
        return not any(each in plain or each in lower for each in self.spellings)


@pytest.fixture
def contexts(
    ca: Authority, server_identity: Identity, tls_version: str
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    return client_context(ca, version=tls_version), server_context(server_identity)


@pytest.fixture
def session(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> Session:
    return take(*contexts)


@pytest.fixture
def watched(session: Session) -> Watched:
    return Watched(session)


def test_the_search_finds_what_is_there(session: Session, watched: Watched) -> None:
    secret = session.master_secret
    for text in (
        *(
            secret.hex(),
            secret.hex().upper(),
            repr(secret),
            str(list(secret)),
            base64.b64encode(secret).decode(),
        ),
        *(session.to_pem().replace("\n", ""), session.describe(secrets=True), repr(session.to_der())),
        f"and in the middle {secret[20:30]!r} of a line",
    ):
        assert not watched.absent_from(text)


def test_not_in_what_a_session_shows(session: Session, watched: Watched) -> None:
    for text in (
        *(repr(session), str(session), f"{session}", "%r" % session, session.describe()),  # noqa: UP031
        *(repr([session]), repr({"session": session}), repr(session.policy), repr(session.cert_data)),
        repr([getattr(session, name, None) for name in Session.__slots__]),
    ):
        assert watched.absent_from(text)


def test_not_in_any_field_but_the_two(session: Session, watched: Watched) -> None:
    for name in FIELDS:
        if name not in ("master_secret", "ticket"):
            assert watched.absent_from(repr(getattr(session, name))), name


def test_not_in_describe_unless_asked(session: Session) -> None:
    assert session.ticket
    masked, whole = session.describe(), session.describe(secrets=True)
    assert f"({len(session.ticket)} bytes, hidden)" in masked
    assert session.master_secret.hex() in whole
    assert session.ticket.hex() in whole


def other_end(data: bytes) -> bytes:
    """The same, and the last byte another one, whatever it was."""
    return data[:-1] + bytes([data[-1] ^ 1])


Failure = Callable[[Any, Any, Session], object]
FAILURES: dict[str, Failure] = {
    "another name": lambda client, server, session: resumes(client, server, session, "a.example"),
    "expired": lambda client, server, session: resumes(client, server, aged(session, 9_999)),
    "begun": lambda client, server, session: sslsession.set_session(connect(client, server).client, session),
    "a server": lambda client, server, session: sslsession.set_session(Pair(client, server).server, session),
    "no connection": lambda client, server, session: sslsession.set_session(object(), session),
    "pickled": lambda client, server, session: pickle.dumps(session),
    "a cut envelope": lambda client, server, session: Session.from_bytes(session.to_bytes()[:-1]),
    "a damaged envelope": lambda client, server, session: Session.from_bytes(other_end(session.to_bytes())),
    "a long envelope": lambda client, server, session: Session.from_bytes(session.to_bytes() + b"?"),
    "DER for an envelope": lambda client, server, session: Session.from_bytes(session.to_der()),
    "cut DER": lambda client, server, session: Session.from_der(session.to_der()[:-1]),
    "long DER": lambda client, server, session: Session.from_der(session.to_der() + b"?"),
    "damaged DER": lambda client, server, session: Session.from_der(session.to_der()[:70] + bytes(50)),
    "damaged PEM": lambda client, server, session: Session.from_pem(
        session.to_pem().replace("=", "?").replace("A", "_")
    ),
    "two PEM": lambda client, server, session: Session.from_pem(session.to_pem() * 2),
    "bytes for a session": lambda client, server, session: sslsession.set_session(
        Pair(client, server).client,
        session.to_bytes(),  # type: ignore[arg-type]
    ),
    "changed": lambda client, server, session: setattr(session, "ticket", b""),
    "not ordered": lambda client, server, session: session < session,  # type: ignore[operator]
}


@pytest.mark.parametrize("name", FAILURES)
def test_not_in_exceptions_and_their_tracebacks(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], session: Session, watched: Watched, name: str
) -> None:
    with pytest.raises((SessionError, TypeError, AttributeError)) as caught:
        FAILURES[name](*contexts, session)
    error: BaseException | None = caught.value
    assert watched.absent_from("".join(traceback.format_exception(type(error), error, error.__traceback__)))
    while error is not None:
        assert watched.absent_from(repr(error) + str(error) + repr(error.args) + repr(vars(error)))
        error = error.__cause__ or error.__context__


def test_not_in_the_variables_of_a_refusal(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], session: Session, watched: Watched
) -> None:
    """As pytest, Sentry and their kin print them."""
    client, server = contexts
    pair = Pair(client, server, "a.example")
    with pytest.raises(SessionError) as caught:
        sslsession.set_session(pair.client, session)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    shown.stack = traceback.StackSummary.from_list(
        [frame for frame in shown.stack if "sslsession" in frame.filename]
    )
    assert watched.absent_from("".join(shown.format()))


def test_not_in_logs_and_reports_of_broken_hooks(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG)
    client, server = contexts
    came: list[Session] = []
    reported: list[Any] = []

    def new(conn: Any, session: Session) -> bool:
        came.append(session)
        raise RuntimeError(f"about {session}")

    def remove(ctx: Any, session: Session) -> None:
        raise RuntimeError(f"about {session}")

    for hook in (sys.__unraisablehook__, reported.append):
        monkeypatch.setattr(sys, "unraisablehook", hook)
        with SessionHooks(client, new=new, remove=remove):
            pair = connect(client, server)
            die_of_a_fatal_alert(pair)
            pair.drop()
            gc.collect()
    assert came
    assert reported
    out, err = capsys.readouterr()
    assert "about <Session" in err
    said = io.StringIO()
    for each in reported:
        said.write(repr(vars(each)))
        said.write("".join(traceback.format_exception(each.exc_type, each.exc_value, each.exc_traceback)))
    for session in came:
        assert Watched(session).absent_from(caplog.text + out + err + said.getvalue())


def test_not_in_the_errors_of_a_connection(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], session: Session, watched: Watched
) -> None:
    client, server = contexts
    pair = connect(client, server, prepare=offering(session))
    die_of_a_fatal_alert(pair)
    kept = session_of(pair.client)
    assert watched.absent_from(repr(kept) + kept.describe() + str(sslsession.why_not_resumed(pair.client)))


def test_a_faulthandler_and_an_uncaught_error_show_none(session: Session, watched: Watched) -> None:
    code = """
        import sys
        from sslsession import Session
        session = Session.from_bytes(bytes.fromhex(sys.stdin.read()))
        print(session, session.describe())
        raise ValueError(session)
    """
    done = run_python(code, stdin=session.to_bytes().hex(), expect=1)
    assert "ValueError: <Session" in done.stderr
    assert watched.absent_from(done.stdout + done.stderr)
