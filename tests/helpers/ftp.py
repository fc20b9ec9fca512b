"""vsftpd, which insists that each data connection resumes the control connection's session."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from helpers.certs import Identity
from helpers.processes import require
from helpers.services import CERTIFICATE, KEY, Service, account, service

CONFIG = """\
listen=YES
background=NO
listen_address=127.0.0.1
listen_port={port}
run_as_launching_user=YES
secure_chroot_dir={directory}/empty
seccomp_sandbox=NO
isolate=NO
isolate_network=NO
ftp_username={account.user}
nopriv_user={account.user}
anonymous_enable=YES
anon_root={directory}/files
anon_upload_enable=YES
anon_other_write_enable=YES
anon_world_readable_only=NO
write_enable=YES
ssl_enable=YES
implicit_ssl={implicit}
allow_anon_ssl=YES
force_anon_logins_ssl=YES
force_anon_data_ssl=YES
require_ssl_reuse=YES
ssl_request_cert=NO
ssl_ciphers=HIGH
rsa_cert_file={directory}/{certificate}
rsa_private_key_file={directory}/{key}
pasv_address=127.0.0.1
debug_ssl=YES
xferlog_enable=YES
vsftpd_log_file={directory}/vsftpd.log
"""
HANDSHAKE = r"SSL version: (\S+), SSL cipher: \S+, (not reused|reused)"
"""In its log: the protocol, and whether the session was reused."""


def vsftpd(
    identity: Identity, *, version: str | None = None, implicit: bool = False
) -> AbstractContextManager[Service]:
    """vsftpd with require_ssl_reuse=YES, where anonymous may read and write.

    `version` is "1.2", "1.3" or None for both. `implicit`: TLS from the first byte, without AUTH TLS.
    """
    program = require("vsftpd")
    runs_as = account()

    def configure(directory: Path, ports: Sequence[int]) -> list[str | Path]:
        for each in ("empty", "files"):
            (directory / each).mkdir(exist_ok=True)
        conf = directory / "vsftpd.conf"
        conf.write_text(
            CONFIG.format(
                port=ports[0],
                directory=directory,
                account=runs_as,
                implicit="YES" if implicit else "NO",
                certificate=CERTIFICATE,
                key=KEY,
            )
        )
        return [program, conf]

    return service(configure, identity, account=runs_as, log_file="vsftpd.log", openssl_version=version)
