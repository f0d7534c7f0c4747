"""Tables for people."""

import sys
from collections.abc import Iterable, Sequence

WIDTH = 160  # columns where the output is no terminal


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
    """Prints a table to stdout; on a terminal no wider than that."""
    from rich.console import Console
    from rich.table import Table

    if title:
        print(title)
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)
