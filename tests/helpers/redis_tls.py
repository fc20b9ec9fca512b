"""Redis that speaks TLS alone."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from helpers.certs import Identity
from helpers.processes import require
from helpers.services import CERTIFICATE, KEY, Service, service


def tls_redis(identity: Identity, *, version: str) -> AbstractContextManager[Service]:
    """redis-server with TLS `version` ("1.2" or "1.3"), which wants no client certificate and keeps no file."""
    program = require("redis-server")

    def configure(directory: Path, ports: Sequence[int]) -> list[str | Path]:
        return [
            *(program, "--bind", "127.0.0.1", "--port", "0", "--tls-port", str(ports[0]), "--save", ""),
            *("--tls-cert-file", directory / CERTIFICATE, "--tls-key-file", directory / KEY),
            *("--tls-ca-cert-file", directory / CERTIFICATE, "--tls-auth-clients", "no"),
            *("--tls-protocols", f"TLSv{version}"),
        ]

    return service(configure, identity)
