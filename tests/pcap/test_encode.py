import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pcap_files import enhanced, record

from ixy.pcap import MAX_OVERHEAD, PCAP, PCAPNG, encode

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


@settings(deadline=None, max_examples=100)
@given(
    format=st.sampled_from([PCAP, PCAPNG]),
    frame=st.binary(max_size=70),
    cut=st.integers(0, 9),
    length=st.integers(0, 2**32 - 1),
    time=st.integers(0, 2**64 - 1),
    position=st.integers(0, 9),
    room=st.integers(-5, 5),
)
def test_twin(format, frame, cut, length, time, position, room):
    kept = frame[: max(0, len(frame) - cut)]
    if format == PCAP:
        expected = record("<", time // 10**9 % 2**32, time % 10**9, kept, length)
    else:
        expected = enhanced("<", kept, time, 0, length)
    assert len(expected) <= (len(kept) + 3) // 4 * 4 + MAX_OVERHEAD
    out = np.full(max(0, position + len(expected) + room), 0x55, np.uint8)
    before = out.tobytes()
    data = np.frombuffer(frame, np.uint8)
    end = encode(out, position, data, len(kept), length, np.uint64(time), format)
    if position + len(expected) > len(out):
        assert end == position
        assert out.tobytes() == before
    else:
        assert end == position + len(expected)
        after = out.tobytes()
        assert after[position:end] == expected
        assert after[:position] + after[end:] == before[:position] + before[end:]


@pytest.mark.parametrize("kind", [np.uint16, np.uint32, np.int64, np.uint64])
def test_numbers_of_any_kind(kind):
    out = np.zeros(64, np.uint8)
    data = np.arange(3, dtype=np.uint8)
    end = encode(out, kind(4), data, kind(3), kind(3), np.int64(5), PCAPNG)
    assert out[4 : int(end)].tobytes() == enhanced("<", b"\0\1\2", 5)
