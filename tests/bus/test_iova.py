"""Where memory is put: inside what is allowed, apart from all else, as low as it goes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ixy.bus.iova import Range, place
from ixy.errors import IxyError

MIB2 = 1 << 21
INTEL = [Range(0, 0xFEDFFFFF), Range(0xFEF00000, (1 << 39) - 1)]


def test_address_0_stays_free() -> None:
    assert place(4096, INTEL, []) >= MIB2


def test_the_interrupt_window_is_left_out() -> None:
    below = [Range(MIB2, 0xFE000000)]
    assert place(32 << 20, INTEL, below) >= 0xFEF00000


def test_a_hole_is_filled_again() -> None:
    first = place(4096, INTEL, [])
    second = place(4096, INTEL, [Range(first, first + 4095)])
    assert second > first
    assert place(4096, INTEL, [Range(second, second + 4095)]) == first


def test_no_room_names_the_ranges() -> None:
    with pytest.raises(IxyError, match="0x0-0x3fffff"):
        place(MIB2 + 1, [Range(0, 0x3FFFFF)], [])


@given(
    st.lists(st.integers(1, 100 << 20), min_size=1, max_size=30),
    st.lists(st.tuples(st.integers(0, 1 << 34), st.integers(1, 1 << 32)), min_size=1, max_size=4),
)
def test_whatever_is_placed(sizes: list[int], spans: list[tuple[int, int]]) -> None:
    allowed = [Range(first, first + length - 1) for first, length in spans]
    taken: list[Range] = []
    for size in sizes:
        try:
            iova = place(size, allowed, taken)
        except IxyError:
            continue
        last = iova + size - 1
        assert iova % MIB2 == 0
        assert iova > 0
        assert any(low <= iova and last <= high for low, high in allowed)
        assert all(last + MIB2 < other.first or iova > other.last + MIB2 for other in taken)
        taken.append(Range(iova, last))
