"""A sub-interpreter (mod_wsgi's kind) is refused, and leaves the main one's hooks alone when it ends."""

from __future__ import annotations

import sys

import pytest

from helpers.certs import Authority, Identity
from helpers.child_contexts import arguments
from helpers.children import run_python

pytestmark = [
    pytest.mark.binding,
    pytest.mark.skipif(sys.implementation.name != "cpython", reason="PyPy has no sub-interpreters"),
]
PROGRAM = """
import ssl, sslsession
from helpers import child_contexts
from helpers.peers import connect
try:
    import _interpreters as interpreters
    made = interpreters.create("legacy")
    inside = lambda text: interpreters.exec(made, text)
except ImportError:
    import _xxsubinterpreters as interpreters
    made = interpreters.create(isolated=False)
    inside = lambda text: interpreters.run_string(made, text)
client, server = child_contexts.client(), child_contexts.server()
heard = []
hooks = sslsession.SessionHooks(client, new=lambda conn, session: heard.append(session), remove=print)
failure = inside('''
import ssl, sslsession
try:
    sslsession.SessionHooks(ssl.create_default_context(), print, print, print)
except sslsession.UnsupportedInterpreter as error:
    assert "sub-interpreter" in str(error) and "mod_wsgi" in str(error), error
else:
    raise AssertionError("not refused")
''')
assert failure is None, failure
connect(client, server).close()
assert heard
interpreters.destroy(made)
heard.clear()
connect(client, server).close()
assert heard, "the sub-interpreter's end closed the gate of all"
hooks.close()
"""


def test_it_is_refused_and_takes_nothing_with_it(ca: Authority, server_identity: Identity) -> None:
    run_python(PROGRAM, args=arguments(ca, server_identity))
