"""The tools are scripts, not a package: the tests run them as such, and load what they import."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


class Tool:
    """A script of tools/."""

    def __init__(self, name: str) -> None:
        self.path = ROOT / "tools" / name

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(self.path), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)

    def load(self) -> ModuleType:
        spec = importlib.util.spec_from_file_location(self.path.stem, self.path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


@pytest.fixture
def floors() -> Tool:
    return Tool("check_floors.py")


@pytest.fixture
def size() -> Tool:
    return Tool("check_size.py")


@pytest.fixture
def write(tmp_path: Path):
    """write("bus/vfio.py", "import os") makes a file, and its folders, in tmp_path."""

    def write(name: str, text: str = "") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write
