"""A vfio-user server in a thread, and a client of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from vfio_client import Client, Serving


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    with Serving(tmp_path) as server:
        yield server


@pytest.fixture
def client(serving: Serving) -> Iterator[Client]:
    client = serving.client()
    yield client
    client.close()
