"""What the benchmark does to a Redis that is named to it; not how long that takes."""

from __future__ import annotations

import pytest

from helpers.stores import redis_server
from sslsession.bench.servers import measure_servers

redis = pytest.importorskip("redis")


def test_a_redis_is_measured_and_left_as_it_was(tls_version: str) -> None:
    with redis_server() as running:
        url = f"redis://127.0.0.1:{running.port}"
        with redis.Redis.from_url(url) as client:
            client.set("somebody's", b"value")
            costs = list(measure_servers([tls_version], 2, 2, url))
            assert client.keys() == [b"somebody's"]
            calls = client.info("commandstats")
    assert [(cost.name, cost.unit) for cost in costs] == [
        (f"server_cache_{tls_version}", "x"),
        (f"server_ring_{tls_version}", "x"),
        (f"server_redis_{tls_version}", "us"),
    ]
    looked_up = "lpop" if tls_version == "1.3" else "lrange"
    assert min(calls[f"cmdstat_{looked_up}"]["calls"], calls["cmdstat_get"]["calls"]) > 20
