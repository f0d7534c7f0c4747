"""Brings the README's reading order up to date: the lines of code of each file it names.

python3 tools/reading_order.py [--check]

A row of the table names files of src/ixy in backquotes, separated by commas, and their lines of
code, all in all. --check changes nothing and exits 1 if a number is not true.
"""

import argparse
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from check_size import count_code_lines

PROJECT = Path(__file__).resolve().parent.parent
ROW = re.compile(r"^\| ((?:`[\w/.]+`(?:, )?)+) \| (\d+) \|", re.MULTILINE)


def corrected(text: str) -> str:
    """The README with true numbers. Raises ValueError if it has no reading order."""
    if not ROW.search(text):
        raise ValueError("the README has no row such as | `apps/forward.py` | 80 | ... |")

    def row(found: re.Match[str]) -> str:
        files = re.findall(r"`([\w/.]+)`", found[1])
        lines = sum(count_code_lines(PROJECT / "src" / "ixy" / file) for file in files)
        return f"| {found[1]} | {lines} |"

    return ROW.sub(row, text)


def main() -> int:
    """Writes the numbers, or checks them."""
    parser = argparse.ArgumentParser(description="The README's reading order, with true numbers.")
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 if untrue")
    check = parser.parse_args().check
    readme = PROJECT / "README.md"
    text = readme.read_text()
    new = corrected(text)
    if check and new != text:
        print("README.md: the reading order's numbers are old: python3 tools/reading_order.py")
        return 1
    if not check:
        readme.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
