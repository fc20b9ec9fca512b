"""Ticket key files: each layout to the byte, and what is refused, why, and with what to do."""

from __future__ import annotations

import base64
import random
import traceback
from pathlib import Path

import pytest

import sslsession
from helpers.key_files import KINDS, in_order, left, lines, made, some
from helpers.openssl_calls import Unraisables
from helpers.rings import needs_ring
from sslsession import TicketKeyRing, _keyfiles
from sslsession._keyfiles import Material, guess, parse, read, write
from sslsession._sources import together
from sslsession.errors import KeyFileError, SessionError

# The order in the file, as the sources of the three servers have it.
ORDERS = [
    ("nginx", 16, ("name", "cipher_key", "mac_key")),
    ("nginx", 32, ("name", "mac_key", "cipher_key")),
    ("haproxy", 16, ("name", "cipher_key", "mac_key")),
    ("haproxy", 32, ("name", "cipher_key", "mac_key")),
    ("apache", 16, ("name", "mac_key", "cipher_key")),
]
EACH = pytest.mark.parametrize(("layout", "size"), KINDS)


def refused(data, layout, match):
    with pytest.raises(KeyFileError, match=match) as caught:
        parse(data, layout, where="the file")
    assert str(caught.value).startswith("the file: ")


@pytest.mark.parametrize(("layout", "size", "order"), ORDERS)
def test_the_bytes_of_each_layout(layout, size, order):
    keys = some(layout, size)
    raws = [b"".join(getattr(key, part) for part in order) for key in keys]
    data = lines([raws[1], raws[2], raws[0], raws[3]]) if layout == "haproxy" else raws[0]
    assert parse(data, layout) == keys
    assert _keyfiles.format(keys, layout) == data


def test_haproxys_penultimate_key_encrypts_and_its_last_is_the_next():
    oldest, old, present, coming = made(4)
    assert parse(in_order(oldest, old, present, coming), "haproxy") == [present, oldest, old, coming]
    assert parse(in_order(old, present, coming), "haproxy") == [present, old, coming]


def test_haproxys_lines_may_end_as_on_windows_and_the_last_may_not_end():
    keys = made(3)
    data = _keyfiles.format(keys, "haproxy")
    assert parse(data.replace(b"\n", b"\r\n"), "haproxy") == keys
    assert parse(data[:-1], "haproxy") == keys


def test_random_keys_go_and_come_back():
    for seed in range(200):
        layout, size = KINDS[seed % len(KINDS)]
        count = 3 + seed % 9 if layout == "haproxy" else 1
        keys = made(count, size, seed)
        data = _keyfiles.format(iter(keys), layout)
        assert parse(data, layout) == keys
        assert _keyfiles.format(parse(data, layout), layout) == data


@EACH
def test_a_cut_file_is_refused_wherever_it_was_cut(layout, size):
    data = _keyfiles.format(made(3 if layout == "haproxy" else 1, size), layout)
    for end in range(len(data.rstrip(b"\n")) if layout == "haproxy" else len(data)):
        if (layout, end) != ("nginx", 48):  # which is a file of the other size
            refused(data[:end], layout, "rename")


@EACH
def test_a_damaged_file_is_refused_or_read_and_nothing_else(layout, size):
    whole, chance = _keyfiles.format(some(layout, size), layout), random.Random(size)
    for _ in range(1000):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(data))
            data[at : at + chance.randrange(3)] = chance.choice(
                [b"", b"\n", b"\0", b"=", b"\r\n", b"\xff\xfe"]
            )
        try:
            assert all(isinstance(each, Material) for each in parse(bytes(data), layout))
        except KeyFileError:
            pass
        guess(bytes(data))


@pytest.mark.parametrize(
    ("data", "layout", "match"),
    [
        (b"", "nginx", "empty"),
        (b"", "haproxy", "empty"),
        (b"x" * 96, "nginx", "96 bytes, where nginx has one key, of 48 or 80 bytes;"),
        (
            b"x" * 80,
            "apache",
            "80 bytes, where apache has one key, of 48 bytes; it looks like nginx's: read it",
        ),
        (in_order(*made(3)), "nginx", "it looks like haproxy's: read it as that, or name"),
        (in_order(*made(2)) + b"no *base64*\n", "haproxy", "line 3 is not base64"),
        (in_order(*made(3)) + b"QUJD=\n", "haproxy", "line 4 is not base64"),
        (in_order(*made(3)) + b"\xff\xff\xff\xff\n", "haproxy", "line 4 is not base64"),
        (b"\xff" * 80, "haproxy", "line 1 is not base64; it looks like nginx's: read it as that"),
        (
            b"\xff" * 48,
            "haproxy",
            "line 1 is not base64; 48 bytes are nginx's or Apache's, which differ; say",
        ),
        (b"\n" + in_order(*made(3)), "haproxy", "line 1 has 0 bytes, where a key has 48 or 80"),
        (lines([b"x" * 79] * 3), "haproxy", "line 1 has 79 bytes"),
        (in_order(*made(2, 32), *made(1, 16)), "haproxy", "line 3 has 48 bytes, and those before it 80"),
        (in_order(*made(2)), "haproxy", "2 keys, and HAProxy asks for 3; add the missing"),
        (bytes(48), "nginx", "all zero, which everybody knows; make it anew"),
        (b"n" * 16 + b"k" * 16 + bytes(16), "nginx", "MAC key that is all zero"),
        (b"n" * 16 + b"k" * 16 + bytes(16), "apache", "cipher key that is all zero"),
        (b"n" * 16 + b"k" * 32 + bytes(32), "nginx", "cipher key that is all zero"),
    ],
)
def test_what_is_wrong_and_what_to_do(data, layout, match):
    refused(data, layout, match)


def test_keys_that_are_there_twice():
    one, two, three = made(3)
    refused(in_order(one, two, one), "haproxy", "key 3 has the name of key 1")
    refused(in_order(one, two, three._replace(name=two.name)), "haproxy", "key 3 has the name of key 2")
    refused(
        in_order(one, two._replace(cipher_key=one.cipher_key), three), "haproxy", "the cipher key of key 1"
    )
    refused(
        in_order(one, two, three._replace(mac_key=two.mac_key)), "haproxy", "the MAC key of key 2; make it"
    )


@pytest.mark.parametrize(
    ("keys", "layout", "match"),
    [
        ([], "nginx", "0 keys, and such a file has one"),
        (made(2), "nginx", "2 keys, .*write each to its own"),
        (made(2), "haproxy", "HAProxy asks for 3"),
        (made(1, 32), "apache", "these keys have 80 bytes, and apache's have 48; the command"),
        (made(1, 24), "nginx", "two secrets of 16 or 32;"),
        ([made()[0]._replace(name=b"short")], "nginx", "a name of 16 bytes"),
        ([made()[0]._replace(mac_key=b"m" * 16)], "nginx", "two secrets"),
        ([*made(2, 32), *made(1, 16)], "haproxy", "key 3 has another size than the first"),
        ([*made(2), made()[0]], "haproxy", "key 3 has the name of key 1"),
        ([made()[0]._replace(mac_key=bytes(32))], "nginx", "MAC key that is all zero"),
    ],
)
def test_what_no_file_can_have_is_not_written(keys, layout, match, tmp_path):
    with pytest.raises(KeyFileError, match=match):
        _keyfiles.format(keys, layout)
    with pytest.raises(KeyFileError, match=match):
        write(tmp_path / "file", keys, layout)
    assert left(tmp_path) == []


def test_a_layout_that_nobody_has(tmp_path):
    for call in (
        lambda: parse(b"", "caddy"),
        lambda: _keyfiles.format([], "caddy"),
        lambda: read(tmp_path / "file", "caddy"),
        lambda: write(tmp_path / "file", made(), "caddy"),
    ):
        with pytest.raises(ValueError, match="one of nginx, haproxy, apache, not 'caddy'"):
            call()


def test_the_layout_is_guessed_only_where_it_is_certain():
    assert guess(_keyfiles.format(made(3, 16), "haproxy")) == "haproxy"
    assert guess(in_order(*made(1)).replace(b"\n", b"\r\n")) == "haproxy"
    assert guess(_keyfiles.format(made(1, 32), "nginx")) == "nginx"
    for data in (b"", b"text\n", b"k" * 48, b"k" * 49, _keyfiles.format(made(1, 16), "apache")):
        assert guess(data) is None


def test_no_secret_in_a_repr_or_an_error():
    one, two, three = made(3)
    assert repr(one) == str(one) == f"{one}" == f"<Material {one.name.hex()}, AES-256>"
    texts = [repr([one, two])]
    for keys in ([one, two, one], [one, two], [one, two, three._replace(mac_key=two.mac_key)]):
        for data in (
            in_order(*keys),
            in_order(*keys) + b"!" * 8,
            in_order(*keys)[:-9],
            in_order(*keys)[:-10],
        ):
            for layout in ("nginx", "haproxy", "apache"):
                with pytest.raises(KeyFileError) as caught:
                    parse(data, layout)
                texts.append("".join(traceback.format_exception(*caught._excinfo)) + repr(caught.value.args))
    for secret in (part for key in (one, two, three) for part in key[1:]):
        for at in range(len(secret) - 5):
            piece = secret[at : at + 6]
            for spelled in (piece.hex(), repr(piece)[2:-1], base64.b64encode(piece).decode()):
                assert not any(spelled in text for text in texts)


def test_the_error_is_also_what_a_caller_would_catch():
    assert sslsession.KeyFileError is KeyFileError
    assert issubclass(KeyFileError, SessionError)
    assert issubclass(KeyFileError, ValueError)


# Several files


def test_of_several_files_a_key_that_is_there_again_counts_once_and_the_order_stays() -> None:
    """As nginx's are for a moment, while the old key is copied before the new one takes its place."""
    one, other, third = made(3)
    assert together([("a", [one]), ("b", [one]), ("c", [other, third])]) == [one, other, third]
    assert together([]) == []


@pytest.mark.parametrize(("role", "part"), [*enumerate(_keyfiles.ROLES)])
def test_of_several_files_two_keys_that_share_a_part_are_refused(role: int, part: str) -> None:
    """Both files are named, and no byte of the keys."""
    one, other = made(2)
    mixed = Material(*(one[number] if number == role else other[number] for number in range(3)))
    with pytest.raises(KeyFileError) as caught:
        together([("/keys/first", [one]), ("/keys/second", [mixed])])
    assert str(caught.value) == (
        f"/keys/second: a key has the {part} of a key in /keys/first, and is another; servers could tell only one of"
        " them; make it anew, of random bytes"
    )


@needs_ring
def test_files_with_two_keys_of_one_name(tmp_path: Path, unraisables: Unraisables) -> None:
    """Refused from the start, and later left aside; a copy of a file is none."""
    one, other = made(2)
    paths = [tmp_path / "present", tmp_path / "previous"]
    for path in paths:
        _keyfiles.write(path, [one], "nginx")
    ring = TicketKeyRing.from_file(paths)
    assert {info.name for info in ring.key_info()} == {one.name}
    _keyfiles.write(paths[1], [other._replace(name=one.name)], "nginx")
    ring.refresh()
    assert {info.name for info in ring.key_info()} == {one.name}
    assert "previous: a key has the name of a key in" in str(unraisables.errors[0])
    with pytest.raises(
        KeyFileError, match=r"previous: a key has the name of a key in .*present, and is another"
    ):
        TicketKeyRing.from_file(paths)
