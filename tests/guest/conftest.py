"""Fixtures of the guests' tests."""

from pathlib import Path

import pytest

from guest import package


@pytest.fixture(scope="session")
def our_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed wheel as a disk for guests."""
    return package.make_disk(tmp_path_factory.mktemp("package"))
