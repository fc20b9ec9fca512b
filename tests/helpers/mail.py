"""A mail server's two ends: Exim (SMTP, over GnuTLS) and Dovecot (IMAP, over OpenSSL)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from helpers.certs import Identity
from helpers.processes import require
from helpers.services import CERTIFICATE, KEY, Service, account, give, service

DOVECOT_CONFIG = """\
base_dir = {directory}/run
state_dir = {directory}/state
log_path = /dev/stderr
info_log_path = /dev/stderr
debug_log_path = /dev/stderr
import_environment = TZ OPENSSL_CONF={directory}/openssl.cnf
protocols = imap
listen = 127.0.0.1
default_internal_user = {account.user}
default_internal_group = {account.group}
default_login_user = {account.user}
first_valid_uid = {account.uid}
first_valid_gid = 0
ssl = required
ssl_cert = <{directory}/{certificate}
ssl_key = <{directory}/{key}
ssl_min_protocol = TLSv1.2
verbose_ssl = yes
mail_location = maildir:{directory}/mail
service imap-login {{
  chroot =
  service_count = {service_count}
  process_limit = 1
  inet_listener imap {{
    port = 0
  }}
  inet_listener imaps {{
    port = {port}
    ssl = yes
  }}
}}
service anvil {{
  chroot =
}}
passdb {{
  driver = static
  args = password=secret
}}
userdb {{
  driver = static
  args = uid={account.uid} gid={account.gid} home={directory}/home
}}
"""
DOVECOT_FULL = r"SSLv3/TLS write certificate\b"
"""In Dovecot's log, once for each full handshake."""
DOVECOT_LOGIN = r"imap-login: Info: Login: "

EXIM_CONFIG = """\
spool_directory = {directory}/spool
log_file_path = {directory}/%slog
pid_file_path = {directory}/pid
primary_hostname = localhost
local_interfaces = 127.0.0.1
daemon_smtp_ports = {ports[0]} : {ports[1]}
tls_on_connect_ports = {ports[1]}
tls_advertise_hosts = *
tls_certificate = {directory}/{certificate}
tls_privatekey = {directory}/{key}
tls_require_ciphers = {priorities}
tls_resumption_hosts = *
host_lookup =
rfc1413_hosts =
keep_environment =
queue_only
acl_smtp_mail = accept logwrite = $tls_in_ver ${{if >={{$tls_in_resumption}}{{16}}{{resumed}}{{full}}}}
acl_smtp_rcpt = accept
begin routers
nowhere:
  driver = redirect
  data = :blackhole:
"""
EXIM_HANDSHAKE = r"(TLS1\.\d) (resumed|full)\n"
GNUTLS_PRIORITIES = {
    "1.2": "NORMAL:-VERS-ALL:+VERS-TLS1.2",
    "1.3": "NORMAL:-VERS-ALL:+VERS-TLS1.3",
    "both": "NORMAL",
}


def dovecot(
    identity: Identity, *, version: str = "1.3", one_process: bool = True
) -> AbstractContextManager[Service]:
    """Dovecot with IMAP over TLS; any user, whose password is "secret".

    `version` is "1.2" or "1.3". `one_process=False` is Dovecot's default: a login process, with ticket keys of its
    own, for each connection.
    """
    program = require("dovecot")
    runs_as = account()

    def configure(directory: Path, ports: Sequence[int]) -> list[str | Path]:
        for each in ("run", "state", "mail", "home"):
            (directory / each).mkdir(exist_ok=True)
        conf = directory / "dovecot.conf"
        conf.write_text(
            DOVECOT_CONFIG.format(
                directory=directory,
                port=ports[0],
                account=runs_as,
                service_count=0 if one_process else 1,
                certificate=CERTIFICATE,
                key=KEY,
            )
        )
        return [program, "-F", "-c", conf]

    return service(configure, identity, account=runs_as, openssl_version=version)


def exim(identity: Identity, *, version: str = "both") -> AbstractContextManager[Service]:
    """Exim, which takes any mail and throws it away: STARTTLS on its first port, TLS at once on its second.

    `version` is "1.2", "1.3" or "both". Only root may start it.
    """
    program = require("exim4")
    if os.geteuid() != 0:
        pytest.skip("Exim's daemon can be started by root alone")

    def configure(directory: Path, ports: Sequence[int]) -> list[str | Path]:
        (directory / "spool").mkdir(exist_ok=True)
        give(directory, account("Debian-exim"))
        conf = directory / "exim.conf"
        conf.write_text(
            EXIM_CONFIG.format(
                directory=directory,
                ports=ports,
                priorities=GNUTLS_PRIORITIES[version],
                certificate=CERTIFICATE,
                key=KEY,
            )
        )
        conf.chmod(0o644)
        return [program, "-C", conf, "-bdf"]

    return service(configure, identity, ports=2, log_file="mainlog")
