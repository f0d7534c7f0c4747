"""Fixtures of the guests' tests."""

import signal
from pathlib import Path

import pytest

from guest import package


def pytest_configure() -> None:
    """Who is asked to end cleans up first: machines, servers and namespaces go."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="session")
def our_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed wheel as a disk for guests."""
    return package.make_disk(tmp_path_factory.mktemp("package"))
