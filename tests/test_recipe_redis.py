"""docs/recipes/redis.md against a Redis that speaks TLS alone."""

from __future__ import annotations

import pytest

from helpers.certs import Authority, Identity
from helpers.recipes import Program, needs, programs
from helpers.redis_tls import tls_redis


@pytest.mark.parametrize("program", programs("redis"), ids=["blocking", "asyncio"])
def test_resumes_by_one_line(ca: Authority, server_identity: Identity, tls_version: str, program: Program):
    needs(program)
    with tls_redis(server_identity, version=tls_version) as server:
        plain = program.run("localhost", server.port, ca=ca, plain=True)
        outcome = program.run("localhost", server.port, ca=ca)
    assert plain.handshakes == [(tls_version, False)] * 3
    assert outcome.handshakes == [(tls_version, reused) for reused in (False, True, True)]
    assert outcome.printed == program.output
