"""Huge pages for tests."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NR_HUGEPAGES = Path("/proc/sys/vm/nr_hugepages")
NEEDED = 64


@contextmanager
def huge_pages_of_this_machine(needed: int = NEEDED) -> Iterator[None]:
    """The machine has so many more huge pages meanwhile."""
    gc.collect()  # what earlier tests have let go of, but still hold
    before = int(NR_HUGEPAGES.read_text())
    try:
        NR_HUGEPAGES.write_text(str(before + needed))
        assert int(NR_HUGEPAGES.read_text()) >= before + needed / 2, "free some memory"
        yield
    finally:
        NR_HUGEPAGES.write_text(str(before))
