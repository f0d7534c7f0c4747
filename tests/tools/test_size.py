"""tools/check_size.py: files, functions and lines stay small, and so does the promised part."""

from pathlib import Path

import pytest

CORE = [
    "apps/forward.py",
    "device.py",
    "memory/pool.py",
    "drivers/intel/device.py",
    "drivers/ixgbe/driver.py",
    "datasheets/intel82599.py",
]

COUNTED = '''\
"""A module
of two lines of docstring."""

import os  # code, with a comment behind

# a comment
TABLE = """
CTRL    0x00000

# STATUS 0x00008
"""


class A:
    """Its docstring."""

    #: a comment
    x = 1
    """What x is."""

    def f(self):
        """Its docstring,

        which goes on.
        """
        return (
            self.x,  # a comment

            f"{os.name}",
        )
'''


@pytest.fixture
def project(write, tmp_path):
    for name in CORE:
        write(f"src/ixy/{name}", "x = 1\n")
    return tmp_path


def python_function(lines: int, docstring: str = "") -> str:
    return "def long():\n" + docstring + "    x = 1\n" * lines


def c_function(lines: int) -> str:
    return "static int long_one(int a,\n    int b)\n{\n" + "    a++;\n" * (lines - 2) + "}\n"


def shell_function(lines: int) -> str:
    return "long_one() {\n" + "    true\n" * lines + "}\n"


def test_a_small_project_passes(size, project):
    result = size.run(project)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("size: 6 files within bounds; ")
    assert result.stdout.endswith(": 6 of 1000 lines\n")


BOUNDS = [
    ("src/ixy/a.py", "x = 1\n" * 500, None),
    ("src/ixy/a.py", "x = 1\n" * 501, "1: 501 lines"),
    ("tests/test_a.py", "x = 1\n" * 501, "1: 501 lines"),
    ("src/ixy/a.py", python_function(60), None),
    ("src/ixy/a.py", python_function(60, '    """One.\n\n    Two.\n    """\n'), None),
    ("src/ixy/a.py", python_function(61), "1: long has 61 lines"),
    ("src/ixy/a.py", "async " + python_function(61), "1: long has 61 lines"),
    ("src/ixy/bench/a.c", c_function(60), None),
    ("src/ixy/bench/a.c", "#include <x.h>\n" + c_function(61), "2: long_one has 61 lines"),
    ("examples/a.sh", shell_function(60), None),
    ("examples/a.sh", "set -e\n\n" + shell_function(61), "3: long_one has 61 lines"),
    ("src/ixy/a.py", "#" * 100, None),
    ("src/ixy/a.py", "\n" + "#" * 101, "2: 101 columns"),
    ("src/ixy/bench/a.h", "//" + "/" * 99, "1: 101 columns"),
    ("examples/a.sh", "#" * 101, "1: 101 columns"),
    ("Makefile", "a:\n\t" + "#" * 93, "2: 101 columns"),
    (".ci/run", "#" * 101, "1: 101 columns"),
    ("README.md", "#" * 101, None),
    ("examples/real.pcap", "#" * 101, None),
]


@pytest.mark.parametrize(("name", "text", "complaint"), BOUNDS)
def test_bounds(size, project, write, name, text, complaint):
    write(name, text)
    result = size.run(project)
    if complaint is None:
        assert (result.returncode, result.stderr) == (0, "")
    else:
        assert result.returncode == 1
        assert len(result.stdout.splitlines()) == 1
        assert f"{name}:{complaint}" in result.stdout


def test_the_promise_counts_all_its_files(size, project, write):
    for name in CORE:
        write(f"src/ixy/{name}", "x = 1\n# why\n" * 150)
    write("src/ixy/device.py", "x = 1\n" * 250)
    assert size.run(project).returncode == 0
    write("src/ixy/memory/dma.py", "x = 1\n")
    result = size.run(project)
    assert result.returncode == 1
    assert "1001 lines of code; promised are 1000" in result.stdout


def test_a_missing_part_of_the_promise_fails(size, project):
    (project / "src/ixy/apps/forward.py").unlink()
    result = size.run(project)
    assert result.returncode == 1
    assert "apps/forward.py: missing" in result.stdout


def test_the_table_names_every_module(size, project):
    lines = size.run("--table", project).stdout.splitlines()
    assert [line.split()[0] for line in lines[1:7]] == sorted(CORE)


def test_lines_of_code(size, write):
    path = write("counted.py", COUNTED)
    measured = size.load().measure(path)
    assert measured.code == 1 + 4 + 1 + 1 + 1 + 4
    assert measured.comments == 2 + 1 + 1 + 1 + 1 + 1 + 3 + 1
    assert measured.total == len(COUNTED.splitlines())
    assert size.load().count_code_lines(str(path)) == measured.code


def test_an_empty_file_has_no_lines(size, write):
    assert size.load().count_code_lines(write("empty.py")) == 0


def test_this_project_passes(size):
    result = size.run(Path(__file__).parents[2])
    assert result.returncode == 0, result.stdout
