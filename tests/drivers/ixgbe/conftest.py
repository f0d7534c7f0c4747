"""Fixtures of the driver's tests."""

import pytest

from ixy.emulator.intel82599.model import Intel82599
from recorder import Recorder
from rig import MAC, Bench


@pytest.fixture
def recorder() -> Recorder:
    return Recorder("emu:x", Intel82599(Bench(), MAC))
