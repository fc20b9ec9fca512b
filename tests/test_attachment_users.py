"""Several users of one context: each is heard, in any order of joining and leaving, whoever closes when."""

from __future__ import annotations

import ssl
import sys
from itertools import permutations
from typing import Any

import pytest

import sslsession
from helpers.certs import Authority, Identity
from helpers.child_contexts import arguments
from helpers.children import run_python
from helpers.openssl_calls import RawCallbacks, cache_mode, flush, slots
from helpers.peers import connect, server_context
from sslsession._attachment import Attachment, User

pytestmark = pytest.mark.binding


@pytest.fixture
def server(server_identity: Identity) -> ssl.SSLContext:
    return server_context(server_identity, session_tickets=False)


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_several_hooks_on_one_context_may_close_in_any_order(
    client: ssl.SSLContext, server: ssl.SSLContext, order: tuple[int, ...]
) -> None:
    raw = RawCallbacks(server)
    before, mode = slots(server), cache_mode(server)
    seen: list[int] = []
    hooks = [sslsession.SessionHooks(server, new=lambda *_, i=i: seen.append(i)) for i in range(3)]
    left = {0, 1, 2}
    for index in order:
        seen.clear()
        connect(client, server).close()
        assert set(seen) == left
        hooks[index].close()
        left.remove(index)
    seen.clear()
    raw.calls.clear()
    connect(client, server).close()
    assert seen == []
    assert "new" in raw.calls
    assert (slots(server), cache_mode(server)) == (before, mode)


def test_the_first_get_hook_with_an_answer_gives_it(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    kept: dict[bytes, sslsession.Session] = {}
    asked: list[str] = []

    def get(name: str, store: dict[bytes, Any]) -> Any:
        return lambda conn, session_id: (asked.append(name), store.get(session_id))[1]

    with sslsession.SessionHooks(server, new=lambda conn, session: kept.update({session.id: session})):
        pair = connect(client, server)
        session = sslsession.get_session(pair.client)
        pair.close()
    flush(server)
    assert session is not None
    with (
        sslsession.SessionHooks(server, get=get("none", {})),
        sslsession.SessionHooks(server, get=get("has", kept)),
    ):
        with sslsession.SessionHooks(server, get=get("late", kept)):
            again = connect(client, server, prepare=lambda conn: sslsession.set_session(conn, session))
            assert again.client.session_reused
            again.close()
    assert asked == ["none", "has"]


def test_one_refusal_among_several_new_hooks_is_enough(
    client: ssl.SSLContext, server: ssl.SSLContext
) -> None:
    with (
        sslsession.SessionHooks(server, new=lambda *_: True),
        sslsession.SessionHooks(server, new=lambda *_: False),
    ):
        with sslsession.SessionHooks(server, new=lambda *_: True):
            pair = connect(client, server)
            session = sslsession.get_session(pair.client)
            pair.close()
    assert session is not None
    again = connect(client, server, prepare=lambda conn: sslsession.set_session(conn, session))
    assert not again.client.session_reused
    again.close()


@pytest.mark.skipif(sys.implementation.name == "pypy", reason="its finalizers never interrupt")
def test_garbage_that_closes_its_hooks_may_be_collected_while_others_join_and_leave(
    ca: Authority, server_identity: Identity
) -> None:
    done = run_python(
        """
        import faulthandler, gc, ssl
        import sslsession
        from helpers import child_contexts
        from helpers.openssl_calls import slots

        faulthandler.dump_traceback_later(20, exit=True)

        class Nosy(ssl.SSLContext):
            "Collects garbage where a setting is read, as the interpreter may at any moment."
            collecting = False

            @property
            def protocol(self):
                if self.collecting:
                    gc.collect()
                return super().protocol

        class Owner:
            "Closes its hooks when it is collected, as a cache that is dropped may."
            def __init__(self, ctx):
                self.itself = self
                self.hooks = sslsession.SessionHooks(ctx, print, print, print)

            def __del__(self):
                self.hooks.close()

        gc.disable()
        ctx, other = child_contexts.client(cls=Nosy), child_contexts.client()
        before = slots(ctx), slots(other)
        Owner(ctx), Owner(other)
        ctx.collecting = True
        hooks = sslsession.SessionHooks(ctx, print, print, print)
        Owner(ctx), Owner(other)
        hooks.close()
        ctx.collecting = False
        gc.collect()
        assert (slots(ctx), slots(other)) == before
        print("as before")
        """,
        args=arguments(ca, server_identity),
    )
    assert done.stdout == "as before\n"


def test_an_internal_user_may_want_nothing(client: ssl.SSLContext) -> None:
    user = User()
    attachment = Attachment.join(client, user)
    assert user.wants == 0
    assert attachment.users == (user,)
    attachment.leave(user)
    assert attachment.users == ()
