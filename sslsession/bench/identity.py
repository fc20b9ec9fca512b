"""The benchmark's own certificate authority and server certificate, and contexts that are equal but for the version.

They are constants so that ``pip install`` and ``sslsession bench`` are all it takes: making a certificate needs the
``openssl`` program or another package, and one with a usual lifetime would fail some day. That is safe because the
server speaks only to a client in the same process, through memory: the key below is no secret, the authority is
trusted by the benchmark's own contexts alone, its private key was never kept, and its only leaf is for a name that
cannot exist (RFC 6761 6.4). ECDSA P-256 with SHA-256, valid from 2025 to 2126.
"""

from __future__ import annotations

import ssl
import tempfile
from pathlib import Path

HOST = "bench.sslsession.invalid"
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def client_context(version: str) -> ssl.SSLContext:
    """A context of ssl's defaults that verifies certificate and name. version: a key of ``VERSIONS``."""
    context = _pinned(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), version)
    context.load_verify_locations(cadata=AUTHORITY)
    return context


def server_context(version: str) -> ssl.SSLContext:
    """A context of ssl's defaults that shows the certificate. version: a key of ``VERSIONS``."""
    context = _pinned(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), version)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "server.pem")
        path.write_text(SERVER_KEY + SERVER)
        context.load_cert_chain(path)
    return context


def _pinned(context: ssl.SSLContext, version: str) -> ssl.SSLContext:
    context.minimum_version = context.maximum_version = VERSIONS[version]
    return context


AUTHORITY = """\
-----BEGIN CERTIFICATE-----
MIIBcjCCARigAwIBAgIBATAKBggqhkjOPQQDAjAeMRwwGgYDVQQDDBNzc2xzZXNz
aW9uIGJlbmNoIENBMCAXDTI1MDEwMTAwMDAwMFoYDzIxMjYwMTAxMDAwMDAwWjAe
MRwwGgYDVQQDDBNzc2xzZXNzaW9uIGJlbmNoIENBMFkwEwYHKoZIzj0CAQYIKoZI
zj0DAQcDQgAETdGq4mSpQYskW0V3/Pz9MsRILjPWSMZGxoH/2jHuqhzeGxlHw0kU
UyZhsWAtseA38c+pDLHK4q66msFxZ4GDpaNFMEMwEgYDVR0TAQH/BAgwBgEB/wIB
ADAOBgNVHQ8BAf8EBAMCAQYwHQYDVR0OBBYEFD5OaZ09VziHGPyV/qtf8g7nCwyP
MAoGCCqGSM49BAMCA0gAMEUCIQCknrLCyssT/PnYZzofsy5DV0BkDTU4i+Ye13P4
lGdPtgIgcg9vkdrmGyNmrJyPmdDyMOVCNdl7Jtg9ivrc1zI5ta4=
-----END CERTIFICATE-----
"""
SERVER = """\
-----BEGIN CERTIFICATE-----
MIIBzTCCAXOgAwIBAgIBAjAKBggqhkjOPQQDAjAeMRwwGgYDVQQDDBNzc2xzZXNz
aW9uIGJlbmNoIENBMCAXDTI1MDEwMTAwMDAwMFoYDzIxMjYwMTAxMDAwMDAwWjAi
MSAwHgYDVQQDDBdzc2xzZXNzaW9uIGJlbmNoIHNlcnZlcjBZMBMGByqGSM49AgEG
CCqGSM49AwEHA0IABOXumQktLKKB1LzWt0rj7kfoNF6wBC5/TjW3AXPanwFMBawa
yTO+BxkzwlVU08jNpdvBbPQeMEadjgxjfXaqGGCjgZswgZgwDAYDVR0TAQH/BAIw
ADAOBgNVHQ8BAf8EBAMCB4AwEwYDVR0lBAwwCgYIKwYBBQUHAwEwIwYDVR0RBBww
GoIYYmVuY2guc3Nsc2Vzc2lvbi5pbnZhbGlkMB0GA1UdDgQWBBQtVCBg9nR6s/Qq
yKMvi4BA2b817jAfBgNVHSMEGDAWgBQ+TmmdPVc4hxj8lf6rX/IO5wsMjzAKBggq
hkjOPQQDAgNIADBFAiEA7YKQ5NJFGClzu6+PQDNvatNzadSlSdnbeC1fjpcTp5sC
IAxSZUIFiSnmsIvIt5wfjQqlkV++REX+7i+ivf3KmsnO
-----END CERTIFICATE-----
"""
SERVER_KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgvPqeBkoaXYds2iX6
GfE5dOyeNSeha8Szlynu9g/65F2hRANCAATl7pkJLSyigdS81rdK4+5H6DResAQu
f041twFz2p8BTAWsGskzvgcZM8JVVNPIzaXbwWz0HjBGnY4MY312qhhg
-----END PRIVATE KEY-----
"""
