"""In a child interpreter: contexts from the files that the test passed as arguments."""

from __future__ import annotations

import ssl
import sys
from pathlib import Path
from typing import Any

from helpers.certs import Authority, Identity
from helpers.contexts import client_context, server_context


def arguments(ca: Authority, identity: Identity) -> list[Path]:
    """What the test passes as `args`."""
    return [ca.pem_path, identity.cert_pem_path, identity.key_path]


def client(**settings: Any) -> ssl.SSLContext:
    """A client's context that trusts the authority whose file is the first argument."""
    ctx = client_context(**settings)
    ctx.load_verify_locations(sys.argv[1])
    return ctx


def server(**settings: Any) -> ssl.SSLContext:
    """A server's context that presents the identity of the second and third argument."""
    identity = Identity((), Path(sys.argv[2]), Path(sys.argv[3]), ())
    return server_context(identity, **settings)
