"""Sizes, as `--size` says."""

import pytest

from ixy.errors import IxyError
from ixy.traffic.sizes import Sizes, parse_sizes


@pytest.mark.parametrize("size", [60, 61, 1514])
def test_one_size(size: int) -> None:
    found = parse_sizes(str(size))
    assert (found.least, found.most, found.mean, found.count) == (size, size, size, 1)


def test_a_range() -> None:
    found = parse_sizes("60..1514")
    assert (found.least, found.most, found.mean, found.count) == (60, 1514, 787, 1455)
    assert parse_sizes("100..100") == Sizes(100)


def test_weights_as_small_as_they_can_be() -> None:
    found = parse_sizes("60:70,570:40,1514:10")
    assert sorted(found.table) == [60] * 7 + [570] * 4 + [1514]
    assert found == parse_sizes("imix")
    assert (found.least, found.most, found.count) == (60, 1514, 12)
    assert found.mean == pytest.approx((7 * 60 + 4 * 570 + 1514) / 12)
    assert parse_sizes("100:3,60:0").least == 100


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "59", "1515", "-1", "9" * 9, "60..59", "59..60", "60..1515", "60...70", "60..",
        "100..60", "60:7,", "60:7,570", "60:0", ":1", "60:1,60:2", "60:1;70:1", "59:1", "1515:1",
        "60:65536,61:1", "60:-1", "imix2", "60:999999999,61:1", "6e1",
    ],
)  # fmt: skip
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(IxyError) as error:
        parse_sizes(text)
    assert "\n" not in str(error.value)
