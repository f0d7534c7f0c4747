"""V2: what HdrHistogram reads back is what was counted."""

import base64
import struct
import zlib
from pathlib import Path

import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
from hypothesis import given, settings
from hypothesis import strategies as st

from command import many
from ixy.traffic.histogram import HIGHEST, PERCENTILES, Histogram
from ixy.traffic.histogram_v2 import encode, log


def histogram_of(values: list[int]) -> Histogram:
    histogram = Histogram()
    histogram.add(values)
    return histogram


def test_the_payload_by_its_bytes() -> None:
    raw = base64.b64decode(encode(histogram_of([3, 3, 70, *[200] * 64])))
    assert raw[:8] == bytes.fromhex("1c849314") + struct.pack(">I", len(raw) - 8)
    payload = zlib.decompress(raw[8:])
    assert payload == (
        bytes.fromhex("1c849313 00000009 00000000 00000003")
        + struct.pack(">QQd", 1, 2**47 - 1, 1.0)
        + bytes.fromhex("05 04 8301 02 8102 8001")  # 3 zeros, 2, 66 zeros, 1, 129 zeros, 64
    )


def test_it_begins_as_all_of_them_do() -> None:
    assert encode(Histogram()).startswith("HISTFAAA")


@given(st.lists(st.integers(0, HIGHEST), min_size=1, max_size=100))
@settings(deadline=None, max_examples=many(60, 15))
def test_hdrhistogram_reads_back_the_same_values(values: list[int]) -> None:
    histogram = histogram_of(values)
    read = HdrHistogram.decode(encode(histogram))
    assert list(read.counts) == histogram.counts.tolist()
    assert read.get_total_count() == len(values)
    assert (
        read.get_count_at_value(values[0])
        == histogram.counts.tolist()[read.get_counts_array_index(values[0])]
    )


@pytest.mark.parametrize("count", [1, 63, 64, 2**13, 2**20, 2**40, 2**55, 2**56, 2**61])
def test_counts_of_any_size(count: int) -> None:
    histogram = Histogram()
    histogram.counts[77] = count
    assert HdrHistogram.decode(encode(histogram)).get_count_at_index(77) == count


def test_a_log_is_read_by_hdrhistogram(tmp_path: Path) -> None:
    histogram = histogram_of([1000, 2_000_000, 2_000_001, 77])
    path = tmp_path / "latency.hlog"
    path.write_text(log(histogram, begin=1_700_000_000.25, seconds=2.5))
    assert path.read_text().splitlines()[1] == (
        "#[StartTime: 1700000000.250 (seconds since epoch), Tue Nov 14 22:13:20 UTC 2023]"
    )
    reader = HistogramLogReader(str(path), HdrHistogram(1, HIGHEST, 3))
    read = reader.get_next_interval_histogram()
    assert list(read.counts) == histogram.counts.tolist()
    assert reader.get_next_interval_histogram() is None
    for percent in PERCENTILES:
        hers = min(read.get_value_at_percentile(float(percent)), histogram.maximum)
        assert hers == histogram.percentile(percent)
