"""export_to a URL: the store that it names is opened and closed."""

from __future__ import annotations

import gc
import ssl
from pathlib import Path

import pytest

from helpers.clients import Home, visit
from sslsession import ClientSessionCache

pytestmark = pytest.mark.binding


class TestExport:
    def test_into_a_file_by_its_url(
        self, client: ssl.SSLContext, server: ssl.SSLContext, tmp_path: Path
    ) -> None:
        url = f"sqlite://{tmp_path}/private/sessions.db"
        home = Home()
        home.visit(client, server)
        assert home.cache.export_to(url) >= 1
        gc.collect()
        home.close()
        with ClientSessionCache(url) as cache:
            cache.attach(client)
            assert visit(client, server).reused
