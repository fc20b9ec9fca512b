"""The recipes for HTTP servers: workers that resume what any of them made, also when all were started anew."""

from __future__ import annotations

import contextlib
import re
import ssl
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from helpers.certs import Authority, Identity
from helpers.openssl_calls import slots
from helpers.peers import server_context
from helpers.recipes import Program, needs, programs
from helpers.stores import PATIENT
from helpers.visitors import KINDS, Answer, Command, Visitor, through_gunicorn, workers
from sslsession.resumption import TLS1_2, TLS1_3
from sslsession.server import key_of
from sslsession.stores import open_store

TICKETS, IDS = KINDS[:2], KINDS[2]


@dataclass(frozen=True)
class Case:
    """A page's program and how it is run.

    processes: how many are started; command: how; expected: how many a client meets for certain. ids: whether plain
    workers keep the ids of TLS 1.2; some withdraw them by not closing cleanly.
    """

    program: Program
    processes: int = 1
    command: Command | None = None
    expected: int = 2
    ids: bool = True


FLEET = {"processes": 4, "expected": 4}
CASES = {
    "aiohttp": Case(*programs("aiohttp-server"), **FLEET),
    "asyncio": Case(*programs("asyncio-server"), **FLEET),
    "flask": Case(*programs("flask"), command=through_gunicorn(), ids=False),
    "gunicorn": Case(programs("gunicorn")[0], command=through_gunicorn(), ids=False),
    "gunicorn --preload": Case(programs("gunicorn")[0], command=through_gunicorn("--preload"), ids=False),
    "http.server": Case(*programs("http-server"), **FLEET, ids=False),
    "hypercorn": Case(*programs("hypercorn")),
    "uvicorn": Case(*programs("uvicorn")),
}
INHERITED = programs("gunicorn")[1]
GUNICORN = Program("gunicorn", "import gunicorn\n", "")
"""What its configurations need, which do not import it."""


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A store's URL, of a file that is not there yet; patient, for machines that run tests are slow at times."""
    return f"sqlite://{tmp_path}/own/tls.db?timeout={PATIENT:.0f}"


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_any_worker_resumes_what_any_made(
    ca: Authority, server_identity: Identity, store: str, case: Case, record_property
):
    needs(case.program)
    if case.command is not None:
        needs(GUNICORN)
    run = partial(
        workers,
        identity=server_identity,
        store=store,
        command=case.command,
        visitor=partial(Visitor, ca, "1.3"),
        processes=case.processes,
        expected=case.expected,
    )
    with run(case.program.without_added) as plain:
        for kind in KINDS:
            answers = Visitor(ca, kind).visit(plain)
            record_property(f"plain, {kind}", share(answers))
            assert [each.resumed for each in answers] == by_its_maker(
                answers, kept=kind in TICKETS or case.ids
            )

    visitors = {kind: Visitor(ca, kind) for kind in KINDS}
    with run(case.program.code) as found:
        first = {kind: visitors[kind].visit(found) for kind in TICKETS}
        first[IDS] = visitors[IDS].visit(found, 1, expected=1)
        until_stored(store, visitors[IDS].session.id)
        first[IDS] += visitors[IDS].visit(found)
    with run(case.program.code) as anew:
        later = {kind: each.visit(anew) for kind, each in visitors.items()}
    for kind, answers in first.items():
        assert [each.resumed for each in answers] == [False] + [True] * (len(answers) - 1), kind
    for kind, answers in later.items():
        assert [each.resumed for each in answers] == [True] * len(answers), kind
    assert as_printed(first["1.3"][:3]) == masked(case.program.output)
    for answers in (first, later):
        agrees([each for kind in KINDS for each in answers[kind]])


def test_gunicorn_without_a_hook_resumes_nothing(ca: Authority, server_identity: Identity):
    program = CASES["gunicorn"].program
    needs(GUNICORN)
    code = program.without_added.replace("def ssl_context(", "def unused(")
    for options in ((), ("--threads", "2")):
        command = through_gunicorn("--workers", "1", *options)
        with workers(
            code.replace("workers = 4", ""),
            server_identity,
            command=command,
            visitor=partial(Visitor, ca, "1.3"),
            processes=1,
            expected=1,
        ) as found:
            for kind in KINDS:
                assert not any(each.resumed for each in Visitor(ca, kind).visit(found, 5)), kind


@pytest.mark.parametrize("options", [(), ("--preload",)], ids=["", "--preload"])
def test_workers_of_gunicorn_inherit_a_ring(
    ca: Authority, server_identity: Identity, options: tuple[str, ...]
):
    needs(GUNICORN)
    run = partial(
        workers,
        INHERITED.code,
        server_identity,
        command=through_gunicorn(*options),
        visitor=partial(Visitor, ca, "1.3"),
        processes=1,
        expected=2,
    )
    visitors = [Visitor(ca, kind) for kind in TICKETS]
    with run() as found:
        for visitor in visitors:
            answers = visitor.visit(found)
            assert [each.resumed for each in answers] == [False] + [True] * (len(answers) - 1)
            agrees(answers)
        assert as_printed(answers[:3]) == masked(INHERITED.output)
    with run() as anew:
        for visitor in visitors:
            assert [each.resumed for each in visitor.visit(anew)[:3]] == [False, True, True]


@pytest.mark.parametrize("kind", ["from_secret", "from_file", "random"])
def test_other_rings(ca: Authority, server_identity: Identity, tmp_path: Path, kind: str):
    """As docs/servers.md has it: which of them last through a restart."""
    from sslsession import TicketKeyRing

    made = {
        "from_secret": repr("0123456789abcdef" * 4),
        "from_file": repr(str(tmp_path / "key")),
        "random": "",
    }
    TicketKeyRing.random().save(tmp_path / "key")
    program = CASES["http.server"].program
    code = program.code.replace(".shared(store)", f".{kind}({made[kind]})")
    code = "\n".join(line for line in code.splitlines() if "ServerSessionCache" not in line)
    run = partial(
        workers, code, server_identity, visitor=partial(Visitor, ca, "1.3"), processes=4, expected=4
    )
    visitors = [Visitor(ca, kind) for kind in TICKETS]
    with run() as found:
        first = [visitor.visit(found) for visitor in visitors]
    with run() as anew:
        later = [visitor.visit(anew) for visitor in visitors]
    for answers in (*first, *later):
        if kind == "random":
            assert [each.resumed for each in answers] == by_its_maker(answers)
        else:
            assert all(each.resumed for each in answers[1:])
    assert [answers[0].resumed for answers in later] == [kind != "random"] * 2


def until_stored(store: str, session_id: bytes) -> None:
    """A worker writes a session a moment after the handshake; whoever is faster at another one starts in full."""
    deadline = time.monotonic() + 10
    with contextlib.closing(open_store(store)) as found:
        while all(found.peek(key_of(session_id, each)) is None for each in (TLS1_2, TLS1_3)):
            assert time.monotonic() < deadline, "the session was not stored"


def by_its_maker(answers: list[Answer], kept: bool = True) -> list[bool]:
    """What resumes where each worker knows its own sessions alone, if it keeps them."""
    pairs = zip(answers, answers[1:])
    return [False] + [kept and before.worker == after.worker for before, after in pairs]


def share(answers: list[Answer]) -> str:
    """How many of a client's later connections resumed."""
    return f"{sum(each.resumed for each in answers)} of {len(answers) - 1}"


def agrees(answers: list[Answer]) -> None:
    """The server's own account: of each connection, or so far in each worker."""
    if answers[0].told.startswith("resumed: "):
        assert [each.told for each in answers] == [f"resumed: {each.resumed}" for each in answers]
        return
    last = {each.worker: int(each.told.rpartition(" ")[2]) for each in answers}
    assert sum(last.values()) == sum(each.resumed for each in answers)


def as_printed(answers: list[Answer]) -> str:
    return masked("".join(f"worker {each.worker}, {each.told}\n" for each in answers))


def masked(text: str) -> str:
    """A page's numbers are others than a run's."""
    return re.sub(r"\d+", "N", text)


@pytest.mark.parametrize("program", [*programs("gunicorn"), *programs("flask")])
def test_a_thread_gets_no_context_that_is_not_attached_yet(
    program: Program, store: str, monkeypatch: pytest.MonkeyPatch, server_identity: Identity
):
    """Of gunicorn's threads one asks for the context while another makes it."""
    from sslsession import TicketKeyRing

    needs(program)
    monkeypatch.setenv("STORE", store)
    page: dict[str, Any] = {"__name__": program.page}
    exec(program.code, page)  # noqa: S102
    plain = slots(server_context(server_identity))
    attach, given = TicketKeyRing.attach, []

    def hook() -> ssl.SSLContext:
        return page["ssl_context"](None, partial(server_context, server_identity))

    def interrupted(ring: TicketKeyRing, context: ssl.SSLContext) -> None:
        monkeypatch.setattr(TicketKeyRing, "attach", attach)
        given.append(slots(hook()))
        attach(ring, context)

    monkeypatch.setattr(TicketKeyRing, "attach", interrupted)
    given.append(slots(hook()))
    assert len(given) == 2
    assert plain not in given
