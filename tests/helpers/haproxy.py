"""HAProxy with one TLS frontend, which says of each connection whether it resumed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from helpers.certs import Identity
from helpers.processes import require
from helpers.services import CERTIFICATE, KEY, Service, service

CONFIG = """\
defaults
    mode http
    timeout client 20s
    timeout connect 20s
    timeout server 20s
frontend tls
    bind 127.0.0.1:{port} ssl crt {pem} tls-ticket-keys {keys} ssl-min-ver TLSv{version} ssl-max-ver TLSv{version}
    http-request return status 200 content-type text/plain lf-string "resumed: %[ssl_fc_is_resumed]\\n"
"""


def haproxy(identity: Identity, keys: Path, *, version: str) -> AbstractContextManager[Service]:
    """HAProxy of TLS `version` ("1.2" or "1.3") alone, with this `tls-ticket-keys` file."""
    program = require("haproxy")

    def configure(directory: Path, ports: Sequence[int]) -> list[str | Path]:
        pem = directory / "both.pem"
        pem.write_text((directory / CERTIFICATE).read_text() + (directory / KEY).read_text())
        conf = directory / "haproxy.cfg"
        conf.write_text(CONFIG.format(port=ports[0], pem=pem, keys=keys, version=version))
        return [program, "-db", "-f", conf]

    return service(configure, identity)
