"""Real counterparts on loopback: nginx, `openssl s_server`, `s_client`, `sess_id`."""

from __future__ import annotations

import re
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from helpers.certs import Authority, Identity
from helpers.processes import Process, free_port, require, run

__all__ = [
    "ClientRun",
    "Page",
    "Running",
    "fetch_page",
    "nginx",
    "require",
    "s_client",
    "s_server",
    "sess_id",
    "sess_id_fields",
]

PALINDROME = b"ping-gnip"
OPENSSL_VERSIONS = {"1.2": ("-tls1_2",), "1.3": ("-tls1_3",), "both": ()}
NGINX_VERSIONS = {"1.2": "TLSv1.2", "1.3": "TLSv1.3", "both": "TLSv1.2 TLSv1.3"}
NGINX_CONFIG = """\
daemon off;
master_process off;
pid nginx.pid;
lock_file nginx.lock;
error_log error.log info;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        server_name localhost;
        ssl_certificate {identity.cert_pem_path};
        ssl_certificate_key {identity.key_path};
        ssl_protocols {protocols};
        ssl_session_tickets {tickets};
        ssl_session_cache {cache};
        ssl_early_data {early_data};
        {more}
        add_header X-Early-Data $ssl_early_data;
        default_type text/plain;
        location / {{
            return 200 "$ssl_session_reused $ssl_protocol $ssl_session_id\\n";
        }}
    }}
}}
"""


@dataclass(frozen=True)
class Running:
    """A server that runs: its port on 127.0.0.1, its process, its directory."""

    port: int
    process: Process
    directory: Path

    @property
    def log(self) -> str:
        """All it said so far, and its error log if it keeps one."""
        error_log = self.directory / "error.log"
        kept = error_log.read_text() if error_log.exists() else ""
        return self.process.output + kept


class Page(NamedTuple):
    """What nginx says of the connection: the body that `nginx` here serves."""

    reused: bool
    protocol: str
    session_id: str


@contextmanager
def nginx(
    identity: Identity,
    *,
    tls: str = "both",
    tickets: bool = True,
    cache: bool | str = True,
    client_ca: Authority | None = None,
    early_data: bool = False,
    extra: str = "",
) -> Iterator[Running]:
    """nginx with one TLS server whose every page is read by `fetch_page`.

    `tls` is "1.2", "1.3" or "both". `cache` True: shared by name `x`, 1 MB; False:
    off; a string: that value of `ssl_session_cache`. With `client_ca` clients need
    a certificate of it. `extra` is further directives for the server.
    """
    program = require("nginx")
    more = [extra]
    if client_ca is not None:
        more.append(f"ssl_client_certificate {client_ca.pem_path};")
        more.append("ssl_verify_client on;")
    if isinstance(cache, bool):
        cache = "shared:x:1m" if cache else "off"
    with tempfile.TemporaryDirectory(prefix="nginx-") as name:
        directory = Path(name)
        conf = directory / "nginx.conf"
        for _ in range(5):
            port = free_port()
            conf.write_text(
                NGINX_CONFIG.format(
                    port=port,
                    identity=identity,
                    protocols=NGINX_VERSIONS[tls],
                    tickets="on" if tickets else "off",
                    cache=cache,
                    early_data="on" if early_data else "off",
                    more="\n".join(more),
                )
            )
            with Process(*(program, "-p", directory, "-e", "error.log", "-c", conf)) as process:
                running = Running(port, process, directory)
                if process.accepts(port):
                    try:
                        yield running
                    except BaseException:
                        print(f"nginx said:\n{running.log}")
                        raise
                    return
            if "Address already in use" not in running.log:
                break
        raise AssertionError(f"nginx did not start\n{running.log}")


def fetch_page(conn: ssl.SSLSocket) -> Page:
    """What the nginx at the other end says of `conn`; it ends the connection."""
    conn.sendall(b"GET / HTTP/1.0\r\n\r\n")
    answer = bytearray()
    while piece := conn.recv(65536):
        answer += piece
    head, _, body = answer.decode().partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200 "), answer.decode()
    reused, protocol, session_id = body.rstrip("\n").split(" ")
    return Page(reused == "r", protocol, session_id)


@contextmanager
def s_server(
    identity: Identity,
    *,
    version: str = "both",
    args: Sequence[str | Path] = (),
    mode: str | None = "-rev",
) -> Iterator[Running]:
    """`openssl s_server`, which serves one connection at a time.

    `version` is "1.2", "1.3" or "both". `mode` "-rev" sends each line back reversed,
    "-www" serves a status page, None prints what comes (as -early_data needs).
    """
    program = require("openssl")
    argv = [
        *(program, "s_server", "-accept", "127.0.0.1:0"),
        *("-cert", identity.cert_pem_path, "-key", identity.key_path),
        *("-cert_chain", identity.cert_pem_path),
        *OPENSSL_VERSIONS[version],
        *([mode] if mode else []),
        *args,
    ]
    with tempfile.TemporaryDirectory(prefix="s_server-") as name, Process(*argv, cwd=Path(name)) as process:
        port = int(process.expect(r"ACCEPT 127\.0\.0\.1:(\d+)\s")[1])
        yield Running(port, process, Path(name))


@dataclass(frozen=True)
class ClientRun:
    """What `openssl s_client` said, and its status."""

    output: str
    returncode: int

    @property
    def reused(self) -> bool:
        """Whether it says that the session was reused."""
        return re.search(r"^Reused, ", self.output, re.MULTILINE) is not None


def s_client(
    port: int,
    *args: str | Path,
    server_hostname: str = "localhost",
    send: bytes | None = PALINDROME + b"\n",
    until: str | None = None,
    timeout: float = 30,
) -> ClientRun:
    """Connect `openssl s_client` to 127.0.0.1:`port`, and close it cleanly.

    It sends `send` and waits for `until`, a regex, in its output, having then read
    the tickets that came before; None: for the same text, as `EchoServer` and
    `s_server` send it back. With `send=None` it ends after the handshake; a
    program that ends early is no error here: see `returncode`.
    """
    argv = ["s_client", "-connect", f"127.0.0.1:{port}", "-servername", server_hostname]
    with Process(require("openssl"), *argv, *args) as process:
        if send is not None:
            process.send(send)
            process.find(until or re.escape(send.decode().strip()), timeout)
        process.send(b"Q\n")
        if not process.ends(timeout):
            raise process.error(f"not done in {timeout} s")
    assert process.returncode is not None
    return ClientRun(process.output, process.returncode)


def sess_id(path: Path, *args: str, form: str = "PEM") -> str:
    """What `openssl sess_id -text` says of a session file; `form` PEM or DER."""
    argv = (require("openssl"), "sess_id", "-noout", "-text", "-inform", form)
    return run(*argv, "-in", path, *args)


def sess_id_fields(text: str) -> dict[str, str]:
    """The `name: value` lines of `sess_id` output, e.g. "Session-ID" in hex."""
    lines = re.findall(r"^ {4}([A-Z][\w -]*?) *: (.*?) *$", text, re.MULTILINE)
    return dict(lines)
