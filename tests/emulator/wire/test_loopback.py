"""`loopback`: what is sent comes back."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ixy.emulator.wire import plug_in
from ixy.emulator.wire.loopback import Loopback
from rig import Nic, numbered, of_length


def test_the_address_gives_a_loopback() -> None:
    wire = plug_in("loopback", {})
    assert isinstance(wire, Loopback)
    assert wire.link is True
    assert wire.ended is None
    assert wire.drops() == {"wire_lost": 0}
    wire.close()


@given(st.lists(st.integers(14, 1514), min_size=1, max_size=63))
@settings(deadline=None, max_examples=15)
def test_what_is_sent_comes_back_in_order(lengths: list[int]) -> None:
    with Nic(Loopback()) as nic:
        frames = [of_length(length) for length in lengths]
        assert nic.device.tx[0].send(frames) == len(frames)
        nic.step(3)
        assert nic.receive() == [frame.ljust(60, b"\0") for frame in frames]


def test_a_plug_that_nobody_empties_misses_frames_and_counts_them() -> None:
    with Nic(Loopback(), buffers=300) as nic:
        sent = 0
        for _ in range(60):
            sent += nic.device.tx[0].send([numbered(sent + i, 1514) for i in range(32)])
            nic.step()
        nic.step(40)
        got = 0
        while batch := nic.receive():
            got += len(batch)
            nic.step()
        statistics = nic.device.statistics()
        assert statistics.tx_packets == sent
        assert statistics.dropped["rx_missed"] > 0
        assert got + statistics.dropped["rx_missed"] == sent
