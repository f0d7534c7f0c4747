import numpy as np
import pytest

from ixy.errors import IxyError
from ixy.pcap import Frame, PcapError
from ixy.pcap.scan import require_ethernet, store, word

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


def test_words_in_both_orders():
    data = np.array([0, 0xFF, 0xFE, 0xFD, 0xFC], np.uint8)
    assert word(data, 1, True) == 0xFFFEFDFC
    assert word(data, 1, False) == 0xFCFDFEFF


@pytest.mark.parametrize(
    ("captured", "length", "fcs", "kept", "original"),
    [(60, 60, 0, 60, 60), (64, 64, 4, 60, 60), (62, 64, 4, 60, 60), (50, 64, 4, 50, 60),
     (64, 60, 4, 60, 56), (3, 3, 4, 0, 0)],
)  # fmt: skip
def test_frames_lose_their_check_sequence(captured, length, fcs, kept, original):
    frame = np.zeros(1, Frame)
    store(frame, 7, captured, length, fcs, np.uint64(2**64 - 1))
    assert frame.tolist() == [(7, kept, original, 2**64 - 1)]


def test_link_types():
    assert require_ethernet(1, "x") is None
    with pytest.raises(PcapError, match=r"^x holds frames of link type 127 \(802.11 radiotap\)"):
        require_ethernet(127, "x")
    assert issubclass(PcapError, IxyError)
