"""Rings of key files that somebody else rotates, and files that a ring writes: nginx's, HAProxy's and Apache's."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Any

import pytest

from helpers.certs import Identity
from helpers.clients import eventually
from helpers.key_files import KINDS, made, some
from helpers.openssl_calls import Unraisables
from helpers.peers import server_context
from helpers.rings import (
    HOUR,
    ROTATE_EVERY,
    SECRET,
    Hand,
    again,
    attached,
    current,
    key_of,
    names,
    needs_ring,
    states,
)
from helpers.sessions import resumes, take
from sslsession import KeyFileError, SessionError, TicketKeyRing, _keyfiles
from sslsession._keyfiles import Material
from sslsession._sources import TELL_EVERY

pytestmark = needs_ring
posix = pytest.mark.skipif(os.name != "posix", reason="modes mean nothing here")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ticket.key"


@pytest.fixture
def twin(server_identity: Identity) -> ssl.SSLContext:
    """A context like `server`: a neighbour's."""
    return server_context(server_identity)


def ring_of(keys: list[Material], path: Path, layout: str = "nginx", **settings: Any) -> TicketKeyRing:
    """A ring of a file with these keys."""
    _keyfiles.write(path, keys, layout)
    return TicketKeyRing.from_file(path, layout, **settings)


# What is in a file


@pytest.mark.parametrize(("layout", "size"), KINDS)
def test_a_file_s_keys_open_and_the_right_one_encrypts(
    client: ssl.SSLContext, server: ssl.SSLContext, twin: ssl.SSLContext, path: Path, layout: str, size: int
) -> None:
    """Each key of the file resumes what a neighbour issued under it, and the ticket is renewed under the first."""
    keys = some(layout, size)
    ring = attached(ring_of(keys, path, layout), server)
    assert names(ring) == {key.name for key in keys}
    assert current(ring).name == keys[0].name == key_of(take(client, server))
    for number, key in enumerate(keys):
        alone = path.with_name(f"neighbour-{number}")
        neighbour = ring_of([key], alone, "nginx")
        attached(neighbour, twin)
        session = again(client, server, take(client, twin))
        assert key_of(session) == keys[0].name
        neighbour.detach(twin)
    assert ring.stats()["opened"] == len(keys)


@pytest.mark.parametrize(("layout", "size"), KINDS)
def test_what_is_saved_is_what_was_read(path: Path, layout: str, size: int) -> None:
    ring = ring_of(some(layout, size), path, layout)
    copy = path.with_name("copy")
    ring.save(copy, layout)
    assert copy.read_bytes() == path.read_bytes()
    assert TicketKeyRing.from_file(copy, layout).key_info() == ring.key_info()


@pytest.mark.parametrize("layout", ["nginx", "haproxy"])
@pytest.mark.parametrize("age", [0, ROTATE_EVERY, 10 * ROTATE_EVERY], ids=["new", "rotated", "old"])
def test_a_neighbour_with_a_saved_file_opens_what_the_ring_issued(
    client: ssl.SSLContext, server: ssl.SSLContext, twin: ssl.SSLContext, path: Path, layout: str, age: float
) -> None:
    """Of a new ring too, which has no retired key yet. HAProxy's last line is the key that comes next."""
    hand = Hand()
    ring = attached(TicketKeyRing.random(clock=hand), server)
    hand.move(age, ring)
    session = take(client, server)
    ring.save(path, layout)
    neighbour = attached(TicketKeyRing.from_file(path, clock=hand), twin)
    assert current(neighbour).name == current(ring).name
    assert resumes(client, twin, session)
    lines = path.read_bytes().splitlines() if layout == "haproxy" else []
    assert len(lines) == (0 if layout == "nginx" else max(3, 2 + states(ring).count("retired")))
    hand.move(ROTATE_EVERY, ring, neighbour)
    opened = neighbour.stats()["opened"]
    resumed = resumes(client, twin, take(client, server))
    assert resumed == (layout == "haproxy"), "it has the key that came next"
    assert neighbour.stats()["opened"] == opened + resumed


def test_one_file_as_another_program_has_it(path: Path) -> None:
    keys = made(1, 16)
    ring = ring_of(keys, path)
    for layout in ("apache", "nginx"):
        copy = path.with_name(layout)
        ring.save(copy, layout)
        assert _keyfiles.read(copy, layout) == keys
    with pytest.raises(KeyFileError, match="1 key, and HAProxy asks for 3; write nginx's format"):
        ring.save(path.with_name("haproxy"), "haproxy")
    with pytest.raises(KeyFileError, match="have 80 bytes, and apache's have 48"):
        TicketKeyRing.random().save(path.with_name("large"), "apache")
    with pytest.raises(ValueError, match="is one of nginx, haproxy, apache, not 'caddy'"):
        ring.save(path.with_name("other"), "caddy")
    assert sorted(each.name for each in path.parent.iterdir()) == ["apache", "nginx", "ticket.key"]


@posix
def test_what_is_saved_is_for_this_user_alone(path: Path) -> None:
    path.write_bytes(b"older")
    path.chmod(0o644)
    TicketKeyRing.from_secret(SECRET).save(str(path))
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_size == 80


# When it changes


def test_a_file_that_is_replaced_is_read_again(
    client: ssl.SSLContext, server: ssl.SSLContext, path: Path
) -> None:
    one, other = made(2)
    ring = attached(ring_of([one], path), server)
    session = take(client, server)
    _keyfiles.write(path, [other], "nginx")
    ring.refresh()
    assert current(ring).name == other.name == key_of(take(client, server))
    assert not resumes(client, server, session), "its key is in no file any more"


def test_it_is_read_by_itself(client: ssl.SSLContext, server: ssl.SSLContext, path: Path) -> None:
    one, other = made(2)
    ring = attached(ring_of([one], path), server)
    _keyfiles.write(path, [other], "nginx")
    eventually(lambda: key_of(take(client, server)) == other.name)
    assert ring.stats()["errors"] == 0


def test_files_as_nginx_rotates_them_drop_nothing(
    client: ssl.SSLContext, server: ssl.SSLContext, tmp_path: Path
) -> None:
    """The first encrypts, and what it was becomes the second."""
    present, previous = tmp_path / "present", tmp_path / "previous"
    keys = made(6)
    _keyfiles.write(present, keys[:1], "nginx")
    _keyfiles.write(previous, keys[1:2], "nginx")
    ring = attached(TicketKeyRing.from_file([present, str(previous)]), server)
    session = take(client, server)
    for old, new in zip(keys[:1] + keys[2:], keys[2:]):
        _keyfiles.write(previous, [old], "nginx")
        ring.refresh()
        _keyfiles.write(present, [new], "nginx")
        ring.refresh()
        assert names(ring) == {old.name, new.name}
        assert key_of(session) == old.name
        session = again(client, server, session)
        assert key_of(session) == current(ring).name == new.name


@posix
def test_a_link_that_is_pointed_elsewhere(tmp_path: Path) -> None:
    """As Kubernetes changes what a pod sees."""
    one, other = made(2)
    for directory, key in (("1", one), ("2", other)):
        (tmp_path / directory).mkdir()
        _keyfiles.write(tmp_path / directory / "key", [key], "nginx")
    (tmp_path / "now").symlink_to("1")
    ring = TicketKeyRing.from_file(tmp_path / "now" / "key")
    assert current(ring).name == one.name
    (tmp_path / "new").symlink_to("2")
    os.replace(tmp_path / "new", tmp_path / "now")
    ring.refresh()
    assert current(ring).name == other.name


BAD = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:47]),
    "empty": lambda path: path.write_bytes(b""),
    "long": lambda path: path.write_bytes(path.read_bytes() + b"?"),
    "all zero": lambda path: path.write_bytes(bytes(80)),
    "gone": lambda path: path.unlink(),
    "a directory": lambda path: (path.unlink(), path.mkdir()),
    "for all to read": lambda path: (_keyfiles.write(path, made(3)[2:], "nginx"), path.chmod(0o644)),
}


@pytest.mark.parametrize("how", BAD)
def test_a_file_that_is_not_good_leaves_the_keys_in_force(
    client: ssl.SSLContext, server: ssl.SSLContext, path: Path, unraisables: Unraisables, how: str
) -> None:
    """Counted at each look, told once; a good one is taken, and the next bad one, a minute later, is told again."""
    if how == "for all to read" and os.name != "posix":
        pytest.skip("modes mean nothing here")
    one, other, _ = made(3)
    hand = Hand()
    ring = attached(ring_of([one], path, clock=hand), server)
    session = take(client, server)
    for turn in (1, 2):
        hand.move(TELL_EVERY)
        BAD[how](path)
        before = ring.stats()["errors"]
        for _ in range(3):
            ring.refresh()
        assert ring.stats()["errors"] >= before + 3
        assert len(unraisables.errors) == turn
        assert isinstance(unraisables.errors[-1], (KeyFileError, OSError))
        assert str(path) in str(unraisables.errors[-1])
        assert unraisables.messages[-1] == (
            "Exception ignored in sslsession's reading of ticket keys; the old ones stay in force"
        )
        session = again(client, server, session)
        if path.is_dir():
            path.rmdir()
        good = (other, one)[turn - 1]
        _keyfiles.write(path, [good], "nginx")
        after = ring.stats()["errors"]
        ring.refresh()
        assert current(ring).name == good.name
        assert ring.stats()["errors"] == after
        session = take(client, server)


# What is refused


def test_a_file_that_is_not_good_from_the_start(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"ticket\.key"):
        TicketKeyRing.from_file(path)
    with pytest.raises(ValueError, match="at least one file is needed"):
        TicketKeyRing.from_file([])
    _keyfiles.write(path, made(1, 16), "nginx")
    with pytest.raises(KeyFileError, match="48 bytes are nginx's or Apache's, which differ; say which"):
        TicketKeyRing.from_file(path)
    with pytest.raises(ValueError, match="is one of nginx, haproxy, apache, not 'ngnix'"):
        TicketKeyRing.from_file(path, "ngnix")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(KeyFileError, match=r"ticket\.key: 47 bytes"):
        TicketKeyRing.from_file(path, "apache")


@posix
def test_a_file_that_others_can_read_only_where_that_is_said(path: Path) -> None:
    _keyfiles.write(path, made(1), "nginx")
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match=r"others can read or write it \(mode 0640\)"):
        TicketKeyRing.from_file(path)
    assert len(names(TicketKeyRing.from_file(path, allow_shared=True))) == 1


def test_a_file_s_ring_is_rotated_by_its_file(path: Path) -> None:
    ring = ring_of(some("haproxy", 32), path, "haproxy")
    before = ring.key_info()
    with pytest.raises(SessionError, match="rotate it, by the command `sslsession keys rotate"):
        ring.rotate()
    with pytest.raises(SessionError, match="the file's first and encrypts: rotate the file"):
        ring.revoke(current(ring).name)
    assert ring.key_info() == before


def test_a_file_s_other_keys_can_be_withdrawn_and_stay_so(
    client: ssl.SSLContext, server: ssl.SSLContext, twin: ssl.SSLContext, path: Path
) -> None:
    keys = some("haproxy", 32)
    ring = attached(ring_of(keys, path, "haproxy"), server)
    attached(ring_of(keys[1:2], path.with_name("neighbour")), twin)
    sessions = [take(client, twin) for _ in range(3)]
    assert resumes(client, server, sessions.pop())
    ring.revoke(keys[1].name)
    assert not resumes(client, server, sessions.pop())
    os.utime(path, (HOUR, HOUR))
    ring.refresh()
    assert names(ring) == {key.name for key in keys} - {keys[1].name}
    assert not resumes(client, server, sessions.pop())
