"""Two TLS peers, however they are joined: all in one place to import from."""

from __future__ import annotations

from helpers.contexts import client_context, server_context
from helpers.memory import Pair, connect
from helpers.sockets import EchoServer, SocketPair, dial

__all__ = [
    "EchoServer",
    "Pair",
    "SocketPair",
    "client_context",
    "connect",
    "dial",
    "server_context",
]
