"""tools/check_floors.py: imports run downwards, with no circle."""

import pytest

DOWNWARDS = {
    "__init__.py": "def __getattr__(name):\n    from ixy.address import open\n    return open\n",
    "__main__.py": "from ixy.cli.start import main\n",
    "cli/start.py": "def main():\n    from ..address import open\n",
    "address.py": "from ixy.drivers.ixgbe.driver import Ixgbe\nfrom ixy.emulator import Wire\n",
    "drivers/__init__.py": "",
    "drivers/ixgbe/driver.py": "import numpy\nfrom ixy.device import Device\n"
    "from ixy.drivers.intel import rings\n",
    "drivers/intel/rings.py": "from ixy.compiled import compiled\n",
    "emulator/__init__.py": "from ixy.memory.pool import Pool\n",
    "device.py": "import ixy.bus.function\nfrom ixy.memory import pool\n",
    "bus/function.py": "from ixy.errors import IxyError\n",
    "memory/pool.py": "from ixy.system import mmap\n",
    "system.py": "from ixy import errors, compiled\n",
    "compiled.py": "",
    "errors.py": "",
}

# file, its text, what the tool says about it
UPWARDS = [
    (
        "memory/pool.py",
        "import os\nimport ixy.device\n",
        "2: room memory (floor 1) imports device (floor 2)",
    ),
    (
        "bus/function.py",
        "def open():\n    from ixy.cli import start\n",
        "2: room bus (floor 2) imports cli (floor 5)",
    ),
    (
        "drivers/ixgbe/driver.py",
        "from ixy.emulator import Wire\n",
        "1: room drivers (floor 3) imports emulator (floor 3): rooms of one floor",
    ),
    (
        "emulator/model.py",
        "from ..drivers.ixgbe import rings\n",
        "1: room emulator (floor 3) imports drivers (floor 3)",
    ),
    (
        "apps/forward.py",
        "from ixy.drivers.ixgbe import rings\n",
        "1: room apps (floor 3) imports drivers (floor 3)",
    ),
    (
        "bus/vfio.py",
        "from ixy.device import Device\n",
        "1: room bus (floor 2) imports device (floor 2)",
    ),
    (
        "system.py",
        "from ixy.memory import pool\n",
        "1: room system (floor 0) imports memory (floor 1)",
    ),
    (
        "apps/forward.py",
        "import ixy\n",
        "1: room apps (floor 3) imports the package itself (porch)",
    ),
    (
        "apps/forward.py",
        "import importlib\nimportlib.import_module('ixy.cli.start')\n",
        "2: room apps (floor 3) imports cli (floor 5)",
    ),
    (
        "traffic/rate.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import ixy.address\n",
        "3: room traffic (floor 2) imports address (floor 4)",
    ),
    (
        "drivers/virtio/driver.py",
        "from ..ixgbe.driver import Ixgbe\n",
        "1: room drivers (floor 3) imports drivers (floor 3): a driver does not know another",
    ),
    (
        "drivers/intel/rings.py",
        "from ..ixgbe.driver import Ixgbe\n",
        "1: room drivers (floor 3) imports drivers (floor 3): a driver does not know another",
    ),
    ("cellar/wine.py", "import os\n", "1: room cellar has no floor"),
]

CIRCLES = [
    {"pcap/a.py": "from ixy.pcap import b\n", "pcap/b.py": "def f():\n    import ixy.pcap.a\n"},
    {"pcap/__init__.py": "from .a import A\n", "pcap/a.py": "from ixy.pcap import B\n"},
    {
        "pcap/a.py": "from . import b\n",
        "pcap/b.py": "from .c import C\n",
        "pcap/c.py": "from .a import A\n",
    },
]


@pytest.fixture
def house(write, tmp_path):
    for name, text in DOWNWARDS.items():
        write(f"ixy/{name}", text)
    return tmp_path / "ixy"


def test_a_sound_house_passes(floors, house):
    result = floors.run(house)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "floors: 14 modules, 15 imports, all downwards, no circle\n"


@pytest.mark.parametrize(("name", "text", "complaint"), UPWARDS)
def test_an_upward_import_fails(floors, house, write, name, text, complaint):
    write(f"ixy/{name}", text)
    result = floors.run(house)
    lines = [line for line in result.stdout.splitlines() if "in a circle" not in line]
    assert result.returncode == 1
    assert len(lines) == 1
    assert f"{name}:{complaint}" in lines[0]


@pytest.mark.parametrize("files", CIRCLES)
def test_a_circle_fails(floors, house, write, files):
    for name, text in files.items():
        write(f"ixy/{name}", text)
    result = floors.run(house)
    assert result.returncode == 1
    assert len(result.stdout.splitlines()) == 1
    assert "imports in a circle: ixy.pcap" in result.stdout


def test_a_type_closes_no_circle(floors, house, write):
    write("ixy/pcap/a.py", "from . import b\n")
    write("ixy/pcap/b.py", "import typing\nif typing.TYPE_CHECKING:\n    from .a import A\n")
    assert floors.run(house).returncode == 0


def test_the_other_branch_of_type_checking_runs(floors, house, write):
    write("ixy/pcap/a.py", "from . import b\n")
    text = "if TYPE_CHECKING:\n    import os\nelse:\n    from .a import A\n"
    write("ixy/pcap/b.py", text)
    assert "pcap/b.py:4: imports in a circle" in floors.run(house).stdout


def test_an_empty_folder_fails(floors, tmp_path):
    assert floors.run(tmp_path / "nothing").returncode == 1


def test_this_project_passes(floors):
    result = floors.run()
    assert result.returncode == 0, result.stdout
