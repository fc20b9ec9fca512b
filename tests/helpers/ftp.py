"""vsftpd and ProFTPD, which insist that each data connection resumes the control connection's session."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from helpers.certs import Identity
from helpers.processes import require, run, which
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


PROFTPD_CONFIG = """\
ModulePath {modules}
LoadModule mod_tls.c
ServerType standalone
ServerName test
DefaultAddress 127.0.0.1
SocketBindTight on
UseIPv6 off
Port {port}
User {account.user}
Group {account.group}
PidFile {directory}/pid
ScoreboardFile {directory}/scoreboard
SystemLog {directory}/proftpd.log
TransferLog none
WtmpLog off
DelayEngine off
AuthOrder mod_auth_file.c
AuthUserFile {directory}/passwd
RequireValidShell off
UseFtpUsers off
AllowOverwrite on
TLSEngine on
TLSLog {directory}/tls.log
TLSRequired on
TLSProtocol {protocols}
TLSECCertificateFile {directory}/{certificate}
TLSECCertificateKeyFile {directory}/{key}
TLSVerifyClient off
"""
PROFTPD_PASSWORD = "secret"
PROFTPD_REUSED = "client reused TLS session for data connection"
PROFTPD_REFUSED = "client did not reuse TLS session, rejecting data connection"


def proftpd(identity: Identity, *, version: str) -> AbstractContextManager[Service]:
    """ProFTPD as its TLS module comes: data connections have to resume. User "ftp", PROFTPD_PASSWORD.

    `version` is "1.2" or "1.3". Debian installs one FTP server at a time, so this one may be missing everywhere; what
    `dpkg -x` takes out of its packages will do.
    """
    program = which("proftpd")
    if program is None:
        pytest.skip("proftpd is not installed: Debian does not install it beside vsftpd")
    runs_as = account()

    def configure(directory: Path, ports: Sequence[int]) -> list[str | Path]:
        files = directory / "files"
        files.mkdir(exist_ok=True)
        password = run(require("openssl"), "passwd", "-6", PROFTPD_PASSWORD).strip()
        users = directory / "passwd"
        users.touch(mode=0o600)
        users.write_text(f"ftp:{password}:{runs_as.uid}:{runs_as.gid}::{files}:/bin/false\n")
        (directory / KEY).chmod(0o600)
        conf = directory / "proftpd.conf"
        conf.write_text(
            PROFTPD_CONFIG.format(
                modules=Path(program).parent.parent / "lib" / "proftpd",
                port=ports[0],
                directory=directory,
                account=runs_as,
                protocols=f"TLSv{version}",
                certificate=CERTIFICATE,
                key=KEY,
            )
        )
        return [program, "-n", "-c", conf]

    return service(configure, identity, account=runs_as, log_file="tls.log")
