"""Rates between two totals."""

import pytest

from ixy.cli.samples import Rate, missing, rate_of


def test_rates_count_crc_and_framing() -> None:
    old = {"rx_packets": 10, "rx_bytes": 600}
    new = {"rx_packets": 1_000_010, "rx_bytes": 60_000_600}
    rate = rate_of(old, new, "rx", 0.5)
    assert rate.pps == pytest.approx(2e6)
    assert rate.mbit == pytest.approx(2 * 64 * 8)
    assert rate.wire == pytest.approx(2 * 84 * 8)


def test_no_time_is_no_rate() -> None:
    total = {"tx_packets": 7, "tx_bytes": 420}
    assert rate_of(total, total, "tx", 0.0) == Rate(0.0, 0.0, 0.0)


def test_what_is_missing_is_named_with_the_command_that_brings_it() -> None:
    assert str(missing("--plot", "matplotlib")) == "--plot needs matplotlib: pip install matplotlib"
