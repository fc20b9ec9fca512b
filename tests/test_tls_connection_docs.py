"""docs/tls-connection.md: its programs, run as they stand there, and its table."""

from __future__ import annotations

import re

import pytest

import sslsession
from helpers.peers import EchoServer, server_context
from helpers.recipes import DIRECTORY, programs

PAGE = "../tls-connection"
PROGRAMS = programs(PAGE)


@pytest.mark.parametrize("program", PROGRAMS, ids=["blocking", "asyncio", "selectors"])
def test_each_drivers_example_prints_what_the_page_shows(ca, server_identity, tls_version, program):
    context = server_context(server_identity, version=tls_version)
    with EchoServer(context) as server:
        outcome = program.run("localhost", server.port, ca=ca)
    assert outcome.printed == program.output


def test_the_page_names_nothing_that_is_not_there():
    text = (DIRECTORY / f"{PAGE}.md").read_text()
    names = set(
        re.findall(r"\b(Pin[A-Z]\w+|MaxBufferSize|CipherSuites|FragmentTooLarge|TLSConnection)\b", text)
    )
    assert {"PinPublicKeySHA256", "MaxBufferSize", "TLSConnection"} <= names
    for name in names:
        assert hasattr(sslsession, name)


def test_each_setting_is_on_the_page():
    text = (DIRECTORY / f"{PAGE}.md").read_text()
    from sslsession._connection_settings import CHECKS

    for name in CHECKS:
        assert name in text


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!https)([^)#]+)\)", (DIRECTORY / f"{PAGE}.md").read_text()):
        assert (DIRECTORY / ".." / target).exists(), target
