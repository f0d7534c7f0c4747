"""Fixtures of the emulated 82599's tests: a device without our driver."""

from collections.abc import Iterator

import pytest

from rig import Bare


@pytest.fixture
def bare() -> Iterator[Bare]:
    bare = Bare()
    yield bare
    bare.close()


@pytest.fixture
def receiver(bare: Bare) -> Bare:
    bare.receiver()
    return bare


@pytest.fixture
def transmitter(bare: Bare) -> Bare:
    bare.transmitter()
    return bare
