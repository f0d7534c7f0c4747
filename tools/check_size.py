"""Holds the bounds of size: of files, functions and lines, and of the part that is promised small.

python3 tools/check_size.py [--table] [PROJECT]

PROJECT is the project's directory, this one unless told. --table prints the sizes of all modules.
"""

import argparse
import ast
import io
import os
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MAX_FILE = 500  # lines
MAX_FUNCTION = 60  # lines of its body, without the docstring
MAX_LINE = 100  # columns

FOLDERS = ("src", "tests", "tools", "examples", ".ci")
SUFFIXES = (".py", ".sh", ".c", ".h")
NAMES = ("Makefile", "run")  # sources without a suffix

# A promise: at most so many lines of code, all in all. The language of register tables is not among
# them: it is no part of one device's datasheet.
PACKAGE = "src/ixy"
CORE_NAME = "forward app, device, memory, and the ixgbe driver with its datasheet"
CORE_BOUND = 1000
CORE = (
    "apps/forward.py",
    "device.py",
    "memory/*.py",
    "drivers/intel/*.py",
    "drivers/ixgbe/*.py",
    "datasheets/intel82599.py",
)

LAYOUT = (
    tokenize.ENCODING,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
)


class Size(NamedTuple):
    """How many lines a Python file has."""

    total: int
    code: int
    comments: int  # comments and docstrings; a line of code with a comment behind it is in both
    blank: int

    @property
    def comment_share(self) -> float:
        """The part of the lines that are not blank which explains."""
        return self.comments / max(1, self.total - self.blank)


def is_text(node: ast.AST) -> bool:
    """Whether a statement is a string and nothing else: a docstring."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def measure(path: Path) -> Size:
    """The size of a Python file. A table in a string is code; a docstring is a comment."""
    source = path.read_text()
    lines = source.splitlines()
    blank = {number for number, line in enumerate(lines, 1) if not line.strip()}
    docstrings = {
        (node.lineno, node.col_offset)
        for node in ast.walk(ast.parse(source, str(path)))
        if isinstance(node, ast.Expr) and is_text(node)
    }
    code: set[int] = set()
    comments: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in LAYOUT:
            continue
        is_comment = token.type == tokenize.COMMENT or token.start in docstrings
        covered = range(token.start[0], token.end[0] + 1)
        (comments if is_comment else code).update(covered)
    return Size(len(lines), len(code - blank), len(comments - blank), len(blank))


def count_code_lines(path: Path | str) -> int:
    """The lines of code in a Python file: no blanks, no comments, no docstrings."""
    return measure(Path(path)).code


def sources(project: Path) -> list[Path]:
    """Every source file that the bounds hold for."""
    found = [path for folder in FOLDERS for path in (project / folder).rglob("*")]
    found.append(project / "Makefile")
    return sorted(
        path for path in found if path.is_file() and (path.suffix in SUFFIXES or path.name in NAMES)
    )


def python_functions(source: str) -> Iterator[tuple[str, int, int]]:
    """Name, first line and length of each function, its docstring not counted."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first, last = node.body[0], node.end_lineno or 0
            begin = (first.end_lineno or 0) + 1 if is_text(first) else first.lineno
            yield node.name, node.lineno, last - begin + 1


def other_functions(source: str) -> Iterator[tuple[str, int, int]]:
    """The same for C and the shell: from an unindented line with a bracket to an unindented }."""
    name, begin = "", 0
    for number, line in enumerate(source.splitlines(), 1):
        if heading := re.match(r"[A-Za-z_][^;=(]*\(", line):
            name, begin = heading[0].strip("( ").split()[-1], number
        elif line == "}" and name:
            yield name, begin, number - begin - 1
            name = ""


def check_file(path: Path) -> Iterator[str]:
    """A line for each bound that a file breaks."""
    source = path.read_text()
    lines = source.splitlines()
    if len(lines) > MAX_FILE:
        yield f"{path}:1: {len(lines)} lines; a file has at most {MAX_FILE}"
    for number, line in enumerate(lines, 1):
        if len(line.expandtabs(8)) > MAX_LINE:
            width = len(line.expandtabs(8))
            yield f"{path}:{number}: {width} columns; a line has at most {MAX_LINE}"
    functions = python_functions if path.suffix == ".py" else other_functions
    for name, number, length in functions(source):
        if length > MAX_FUNCTION:
            yield f"{path}:{number}: {name} has {length} lines; a function at most {MAX_FUNCTION}"


def core_files(project: Path) -> tuple[list[Path], list[str]]:
    """The files of the promise, and the patterns that match none."""
    found = {pattern: sorted((project / PACKAGE).glob(pattern)) for pattern in CORE}
    missing = [pattern for pattern, paths in found.items() if not paths]
    return [path for paths in found.values() for path in paths], missing


def check_core(project: Path) -> Iterator[str]:
    """A line if the promised part has grown, or is not there."""
    files, missing = core_files(project)
    for pattern in missing:
        yield f"{project / PACKAGE / pattern}: missing, but its lines are promised to be few"
    code = sum(count_code_lines(path) for path in files)
    if code > CORE_BOUND:
        yield f"{project / PACKAGE}: {CORE_NAME}: {code} lines of code; promised are {CORE_BOUND}"


def print_table(project: Path) -> None:
    """Prints the sizes of all modules of the package, and of the promise."""
    package = project / PACKAGE
    print(f"{'file':<48}{'lines':>8}{'code':>8}{'comments':>10}")
    for path in sorted(package.rglob("*.py")):
        size = measure(path)
        name = str(path.relative_to(package))
        print(f"{name:<48}{size.total:>8}{size.code:>8}{size.comment_share:>10.0%}")


def main() -> int:
    """Prints what breaks a bound; 1 if anything does."""
    parser = argparse.ArgumentParser(description="Holds the bounds of size.")
    parser.add_argument("project", nargs="?", default=Path(__file__).resolve().parents[1])
    parser.add_argument("--table", action="store_true", help="print the sizes of all modules")
    arguments = parser.parse_args()
    project = Path(os.path.relpath(arguments.project))
    if arguments.table:
        print_table(project)
    files = sources(project)
    violations = [line for path in files for line in check_file(path)]
    violations += check_core(project)
    for violation in violations:
        print(violation)
    code = sum(count_code_lines(path) for path in core_files(project)[0])
    if not violations:
        print(f"size: {len(files)} files within bounds; {CORE_NAME}: {code} of {CORE_BOUND} lines")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
