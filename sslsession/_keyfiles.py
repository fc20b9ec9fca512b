"""Ticket key files as nginx, HAProxy and Apache have them.

    nginx    48 bytes: name 16, AES-128 16, HMAC 16; or 80: name 16, HMAC 32, AES-256 32. One key a file; of a server's
             files the first encrypts, all decrypt.
    haproxy  48 bytes: name 16, AES-128 16, HMAC 16; or 80: name 16, AES-256 32, HMAC 32. Base64, one key a line, all of
             one size, at least three. The last but one encrypts, the last three decrypt: the last is the next.
    apache   48 bytes: name 16, HMAC 16, AES-128 16. One key a file.

All mean AES-CBC and HMAC-SHA256. Sources: nginx, ngx_ssl_session_ticket_keys() in ngx_event_openssl.c; HAProxy,
bind_parse_tls_ticket_keys() in cfgparse-ssl.c and struct tls_sess_key_128 and _256; Apache, ssl_init_ticket_key() in
ssl_engine_init.c.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from sslsession.errors import KeyFileError

NAME = 16
SIZES = {"nginx": (48, 80), "haproxy": (48, 80), "apache": (48,)}
MAC_FIRST = {("nginx", 80), ("apache", 48)}
FEWEST = 3
"""HAProxy's TLS_TICKETS_NO, as it is built unless told otherwise."""
LARGEST = 1 << 16
"""Bytes; HAProxy's file has some hundred for each key."""
NO_FILE = (errno.ENXIO, errno.EOPNOTSUPP)
"""What opening a socket fails with."""
NO_REGULAR = "a directory, a device or a pipe, no regular file; name a file"
REWRITE = "if it is being rewritten, read it again, and let its writer put it there whole, by a rename"
RENEW = "make it anew, of random bytes"
AMBIGUOUS = "48 bytes are nginx's or Apache's, which differ; say which layout it has"
ROLES = ("name", "cipher key", "MAC key")


class Material(NamedTuple):
    """A ticket key. Secret but for its name; the repr has no more than that."""

    name: bytes
    """16 bytes, in the clear at the head of each ticket."""
    cipher_key: bytes
    """16 or 32 bytes, for AES-CBC."""
    mac_key: bytes
    """As many, for HMAC-SHA256."""

    def __repr__(self) -> str:
        return f"<Material {self.name.hex()}, AES-{8 * len(self.cipher_key)}>"


def parse(data: bytes, layout: str, *, where: str = "these ticket keys") -> list[Material]:
    """The keys in a file's bytes: the one that encrypts, then the others in the file's order.

    layout: ``"nginx"``, ``"haproxy"`` or ``"apache"``. where: the file, for messages. Errors: :class:`KeyFileError`
    where they are cut or damaged, too few, or no secret: all zero (CVE-2020-13777), or there twice.
    """
    sizes = _sizes(layout)
    if not data:
        raise KeyFileError(f"{where}: empty; {REWRITE}")
    if layout == "haproxy":
        raws = _lines(data, where)
    elif len(data) in sizes:
        raws = [data]
    else:
        raise KeyFileError(
            f"{where}: {len(data)} bytes, where {layout} has one key, of {_either(sizes)} bytes;"
            f" {_rather(data, layout) or REWRITE}"
        )
    keys = [_unpacked(each, layout) for each in raws]
    _check(keys, layout, where)
    if layout == "haproxy":
        keys.insert(0, keys.pop(-2))
    return keys


def format(keys: Iterable[Material], layout: str) -> bytes:  # noqa: A001
    """A file's bytes, with these keys in the order that :func:`parse` returns: the one that encrypts is the first.

    Where a file has one key, there is one; HAProxy's are the present, then the retired, the oldest first, then the
    next. Errors: :class:`KeyFileError`, as in :func:`parse`.
    """
    _sizes(layout)
    ordered = list(keys)
    if layout == "haproxy" and len(ordered) < FEWEST:
        raise KeyFileError(
            f"{plural(len(ordered))}, and HAProxy asks for {FEWEST}; write nginx's format, to which the command"
            " `sslsession keys convert` adds random ones"
        )
    for size in {NAME + 2 * len(each.cipher_key) for each in ordered}:
        if size in SIZES["nginx"] and size not in SIZES[layout]:
            raise KeyFileError(
                f"these keys have {size} bytes, and {layout}'s have {_either(SIZES[layout])}; the command"
                f" `sslsession keys new FILE --format {layout}` makes such a file"
            )
    _check(ordered, layout, f"these keys for {layout}")
    if layout == "haproxy":
        ordered.insert(-1, ordered.pop(0))
    raws = [_packed(each, layout) for each in ordered]
    return b"".join(base64.b64encode(each) + b"\n" for each in raws) if layout == "haproxy" else raws[0]


def guess(data: bytes) -> str | None:
    """The layout of a file's bytes; None where they tell none, or not which: 48 are nginx's or Apache's."""
    first = _decoded(data.partition(b"\n")[0].rstrip(b"\r"))
    if first is not None and len(first) in SIZES["haproxy"]:
        return "haproxy"
    return "nginx" if len(data) == 80 else None


def read(
    path: str | os.PathLike[str], layout: str | None = None, *, allow_shared: bool = False
) -> list[Material]:
    """Secret. The keys in a file, as :func:`parse` returns them.

    A link is followed. layout: None where the file tells. allow_shared: also where group or others can read or write
    it, or where it belongs to neither this user nor root; not asked on Windows, where modes mean nothing. Errors:
    :class:`KeyFileError`; ``OSError`` where it cannot be opened or read.
    """
    if layout is not None:
        _sizes(layout)
    where = os.fspath(path)
    data = _contents(where, allow_shared)
    return parse(data, layout or _guessed(data, where), where=where)


def write(
    path: str | os.PathLike[str], keys: Iterable[Material], layout: str, *, replace: bool = True
) -> None:
    """Secret. Writes a file with these keys, as of :func:`format`, whole or not at all, for this user alone (0600).

    replace: over what is there, whose owner and mode go with it, and which is replaced itself if it is a link. Errors:
    :class:`KeyFileError`; ``FileExistsError`` where there is something and ``replace`` is false; ``OSError``.
    """
    data, path = format(keys, layout), Path(path)
    handle, temporary = tempfile.mkstemp(prefix=".sslsession-", dir=path.parent)  # O_EXCL, O_NOFOLLOW, 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(temporary, path)
        else:
            _publish(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _publish(temporary: str, path: Path) -> None:
    try:
        if os.name == "nt":
            os.rename(temporary, path)  # fails there where something is
        else:
            os.link(temporary, path)
            os.unlink(temporary)
    except FileExistsError:
        told = "there is something already; replace=True writes over it"
        raise FileExistsError(errno.EEXIST, told, os.fspath(path)) from None


def _contents(where: str, allow_shared: bool) -> bytes:
    # O_NONBLOCK: nobody may ever write to a named pipe.
    extra = ("O_NONBLOCK", "O_NOCTTY", "O_BINARY")
    try:
        handle = os.open(where, os.O_RDONLY | sum(getattr(os, flag, 0) for flag in extra))
    except OSError as error:
        if error.errno in NO_FILE:
            raise KeyFileError(f"{where}: {NO_REGULAR}") from None
        raise
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise KeyFileError(f"{where}: {NO_REGULAR}")
        if os.name == "posix" and not allow_shared:
            _check_owner(status, where)
        with os.fdopen(handle, "rb", closefd=False) as file:
            data = file.read(LARGEST + 1)
    finally:
        os.close(handle)
    if len(data) > LARGEST:
        raise KeyFileError(
            f"{where}: more than {LARGEST} bytes, too large for ticket keys; name another file"
        )
    return data


def _check_owner(status: os.stat_result, where: str) -> None:
    if status.st_uid not in (0, os.geteuid()):
        raise KeyFileError(
            f"{where}: belongs to another user (uid {status.st_uid}), who has these keys and can forge sessions;"
            f" chown it and chmod 600 {where}, or read it with allow_shared=True if that user may"
        )
    if status.st_mode & 0o066:
        raise KeyFileError(
            f"{where}: others can read or write it (mode {stat.S_IMODE(status.st_mode):04o}), and who has these keys"
            f" can forge sessions; chmod 600 {where}, or read it with allow_shared=True if they may"
        )


def _sizes(layout: str) -> tuple[int, ...]:
    if layout not in SIZES:
        raise ValueError(f"the layout of a ticket key file is one of {', '.join(SIZES)}, not {layout!r}")
    return SIZES[layout]


def plural(count: int) -> str:
    """So many keys."""
    return f"{count} key{'' if count == 1 else 's'}"


def _either(sizes: Iterable[int]) -> str:
    return " or ".join(map(str, sizes))


def _guessed(data: bytes, where: str) -> str:
    found = guess(data)
    if found is None and len(data) == 48:
        raise KeyFileError(f"{where}: {AMBIGUOUS}")
    if found is None and data:
        raise KeyFileError(f"{where}: {len(data)} bytes of no layout; name another file, or {REWRITE}")
    return found or "nginx"  # any: where nothing is in the file, parse() says so


def _rather(data: bytes, layout: str) -> str:
    """What to do with a file that looks like one of another layout; nothing where it looks like none."""
    found = guess(data)
    if found is None and layout == "haproxy" and len(data) == 48:
        return AMBIGUOUS
    return (
        "" if found in (None, layout) else f"it looks like {found}'s: read it as that, or name another file"
    )


def _lines(data: bytes, where: str) -> list[bytes]:
    raws: list[bytes] = []
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    for number, line in enumerate(lines, 1):
        advice = REWRITE
        # HAProxy, too, takes one CR, and no blank line.
        raw = _decoded(line[:-1] if line.endswith(b"\r") else line)
        if raw is None:
            told = f"line {number} is not base64"
            advice = _rather(data, "haproxy") or REWRITE
        elif len(raw) not in SIZES["haproxy"]:
            told = f"line {number} has {len(raw)} bytes, where a key has {_either(SIZES['haproxy'])}"
        elif raws and len(raw) != len(raws[0]):
            told = f"line {number} has {len(raw)} bytes, and those before it {len(raws[0])}; HAProxy takes one size"
        else:
            raws.append(raw)
            continue
        raise KeyFileError(f"{where}: {told}; {advice}")
    return raws


def _decoded(line: bytes) -> bytes | None:
    try:
        # Before 3.11 a line with too much padding passes for base64.
        return None if len(line) % 4 else base64.b64decode(line, validate=True)
    except binascii.Error:
        return None


def _unpacked(raw: bytes, layout: str) -> Material:
    half = NAME + (len(raw) - NAME) // 2
    name, one, other = raw[:NAME], raw[NAME:half], raw[half:]
    return Material(name, other, one) if (layout, len(raw)) in MAC_FIRST else Material(name, one, other)


def _packed(key: Material, layout: str) -> bytes:
    name, one, other = key
    if (layout, sum(map(len, key))) in MAC_FIRST:
        one, other = other, one
    return name + one + other


def _check(keys: Sequence[Material], layout: str, where: str) -> None:
    """Refuses what a file of this layout cannot have, and keys that are no secret."""
    if layout == "haproxy" and len(keys) < FEWEST:
        raise KeyFileError(
            f"{where}: {plural(len(keys))}, and HAProxy asks for {FEWEST}; add the missing, or if others write the"
            " file, let them do so whole, by a rename"
        )
    if layout != "haproxy" and len(keys) != 1:
        raise KeyFileError(f"{where}: {plural(len(keys))}, and such a file has one; write each to its own")
    seen: dict[tuple[str, bytes], int] = {}
    for number, key in enumerate(keys, 1):
        which = f"{where}: key {number}" if len(keys) > 1 else f"{where}: the key"
        size = len(key.cipher_key)
        if len(key.name) != NAME or len(key.mac_key) != size or NAME + 2 * size not in SIZES[layout]:
            wanted = _either((each - NAME) // 2 for each in SIZES[layout])
            raise KeyFileError(f"{which} is not a name of {NAME} bytes and two secrets of {wanted}; {RENEW}")
        if size != len(keys[0].cipher_key):
            raise KeyFileError(f"{which} has another size than the first; HAProxy takes one size in a file")
        for role, part in zip(ROLES, key):
            if role != "name" and not any(part):
                raise KeyFileError(f"{which} has a {role} that is all zero, which everybody knows; {RENEW}")
            earlier = seen.setdefault((role, part), number)
            if earlier != number:
                raise KeyFileError(f"{which} has the {role} of key {earlier}; {RENEW}")
