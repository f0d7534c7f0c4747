"""Rates, as `--rate` says."""

import pytest

from ixy.errors import IxyError
from ixy.traffic.rates import parse_rate


@pytest.mark.parametrize(
    ("text", "size", "pps"),
    [
        ("1e6", 60, 1e6),
        ("1", 1514, 1),
        ("0.5", 60, 0.5),
        ("1.25e6", 60, 1.25e6),
        ("10Gbit-wire", 60, 14_880_952.38),  # the line rate of 10 Gbit/s
        ("10Gbit-wire", 1514, 812_743.82),
        ("10Gbit", 60, 10e9 / 512),  # frames of 64 bytes with their CRC
        ("512bit", 60, 1),
        ("512kbit", 60, 1e3),
        ("51.2Mbit", 60, 1e5),
        ("100%", 60, 14_880_952.38),
        ("50%", 1514, 406_371.91),
        (" 50 % ", 1514, 406_371.91),
    ],
)
def test_packets_per_second(text: str, size: float, pps: float) -> None:
    rate = parse_rate(text)
    assert rate.pps(size, 10_000) == pytest.approx(pps, rel=1e-8)
    assert rate.of_link == ("%" in text)


def test_percent_are_of_the_link_s_speed() -> None:
    assert parse_rate("10%").pps(60, 1000) == pytest.approx(148_809.5, abs=0.1)


@pytest.mark.parametrize(
    "text",
    ["", "0", "0%", "-1", "x", "nan", "inf", "1e999", "101%", "5Tbit", "5gbit", "5Gbit/s", "5 G",
     "1e6pps", "5%-wire", "1e-4", "1e13", "0Gbit", "1e6 1e6"],
)  # fmt: skip
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(IxyError) as error:
        parse_rate(text)
    assert "\n" not in str(error.value)


def test_a_rate_that_no_clock_measures() -> None:
    with pytest.raises(IxyError, match="packets per second"):
        parse_rate("1e30bit").pps(60)
