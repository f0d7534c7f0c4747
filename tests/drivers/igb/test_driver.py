"""The igb driver on QEMU's 82576: set-up, RSS, statistics, closing, and what it refuses."""

from collections import Counter
from collections.abc import Iterator

import pytest

import ixy
from ixy.address import open_device
from ixy.device import Device
from ixy.drivers.igb.driver import IgbDevice
from ixy.emulator.bus import EmulatedFunction
from ixy.emulator.intel82599.model import Intel82599
from ixy.errors import IxyError
from ixy.memory.pool import Mempool
from machines import needs_igb
from packets import UDP, finished, ip_header, transport_header
from rig import MAC, Bench, Nic, ethernet, of_length


def receive(device: Device, queue: int = 0) -> list[bytes]:
    with device.rx[queue].receive(64, timeout=0.0) as batch:
        return [bytes(packet) for packet in batch]


def exchange(device: Device, frames: list[bytes]) -> None:
    """Sends frames over the loopback plug and waits until they are back in memory."""
    before = device.statistics().rx_packets
    assert device.tx[0].send(frames) == len(frames)
    assert device.flush(30) == 0
    while device.statistics().rx_packets - before < len(frames):
        pass


@pytest.fixture
def device(no_shared_pools: list) -> Iterator[Device]:
    with ixy.open("qemu:igb:loopback?mac=02:00:00:00:0a:01&queues=4&ring=64&pool=1024") as opened:
        assert opened.wait_for_link(30) == 1000
        yield opened


@needs_igb
def test_what_is_set_up(device: Device) -> None:
    assert device.mac == bytes.fromhex("020000000a01")
    regs = device.regs
    assert regs.RCTL.field("RXEN") == regs.TCTL.field("EN") == regs.RCTL.field("SECRC") == 1
    assert (regs.RCTL.field("UPE"), regs.RCTL.field("MPE")) == (1, 1)
    for queue in range(4):
        assert regs.RXDCTL[queue].field("ENABLE") == regs.TXDCTL[queue].field("ENABLE") == 1
        assert regs.RDLEN[queue].read() == regs.TDLEN[queue].read() == 1024
    assert regs.RXCSUM.field("TUOFLD") == 0  # a wrong checksum must not look like damage


@needs_igb
def test_frames_of_all_lengths_and_their_statistics(device: Device) -> None:
    frames = [of_length(size) for size in (14, 59, 60, 61, 1000, 1513, 1514)]
    exchange(device, frames)
    got = [frame for queue in range(4) for frame in receive(device, queue)]
    assert sorted(got) == sorted(frame.ljust(60, b"\0") for frame in frames)
    statistics = device.statistics()
    assert (statistics.rx_packets, statistics.tx_packets) == (7, 7)
    assert statistics.rx_bytes == sum(map(len, got))
    assert set(statistics.dropped.values()) == {0}


@needs_igb
def test_wrong_checksums_are_delivered(device: Device) -> None:
    right = finished(ip_header(True, 17, 26), UDP, transport_header(UDP, bytes(18)), bytes(18))
    wrong = right[:40] + bytes([right[40] ^ 0xFF]) + right[41:]
    exchange(device, [wrong])
    assert [frame for queue in range(4) for frame in receive(device, queue)] == [wrong]


@needs_igb
def test_flows_are_spread_over_the_queues(device: Device) -> None:
    frames = []
    for flow in range(32):
        header = bytes([4, flow]) + transport_header(UDP, bytes(18))[2:]
        frames.append(finished(ip_header(True, 17, 26), UDP, header, bytes(18)))
    exchange(device, frames)
    first = [receive(device, queue) for queue in range(4)]
    assert sum(map(len, first)) == 32
    assert min(map(len, first)) > 0
    exchange(device, frames)
    again = [receive(device, queue) for queue in range(4)]
    assert list(map(Counter, again)) == list(map(Counter, first))  # a flow has its queue


@needs_igb
def test_close_quiesces_and_gives_all_back(no_shared_pools: list) -> None:
    pool = Mempool(512)
    device = open_device("qemu:igb:loopback?ring=64", pools=[pool])
    assert pool.available == 512 - 64
    device.wait_for_link(30)
    exchange(device, [ethernet(bytes([i])) for i in range(20)])
    regs, closed = device.regs, []
    release = device._release
    device._release = lambda: closed.append(regs.RCTL.read()) or release()  # type: ignore
    device.close()
    device.close()
    assert [word & 2 for word in closed] == [0]  # RCTL.RXEN
    assert pool.available == 512
    pool.close()


@needs_igb
@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("queues=9", "9 queues: give it 1 to 8"),
        ("ring=100", "a ring of 100: give it a power of two, 64 to 4096"),
        ("itr=50", "this driver has no interrupts: poll instead"),
        ("pool=100", "the pool is too small: 100 free buffers of 576: give it pool=N"),
    ],
)
def test_what_is_refused(options: str, complaint: str, no_shared_pools: list) -> None:
    with pytest.raises(IxyError) as error:
        ixy.open(f"qemu:igb:loopback?{options}")
    assert str(error.value) == f"qemu:igb:loopback?{options}: {complaint}"


def test_another_card_is_refused() -> None:
    pool = Mempool(1024)
    function = EmulatedFunction("emu:x", Intel82599(Bench(), MAC), threaded=False)
    with pytest.raises(IxyError, match=r"^emu:x: 8086:10fb is no 82576 or I350$"):
        IgbDevice(function, [pool], 64)
    assert pool.available == 1024
    pool.close()


def test_a_second_store_of_a_descriptor_is_undone() -> None:
    """QEMU's igb stores a descriptor twice; the second store may come after our own."""
    with Nic() as nic:
        nic.model.write(0x3000, 0)  # RXCTRL: from here on the test is the device
        record, ring, _, _ = nic.device._rings[0]
        record[0]["twice"] = 1  # as in an igb's

        def complete(slot: int) -> None:
            ring["buffer"][slot], ring["done"][slot] = 0, 60 << 32 | 3

        complete(0)
        assert len(nic.receive()) == 1
        ours = ring[0].tobytes()
        complete(0)
        complete(1)
        assert len(nic.receive()) == 1
        assert ring[0].tobytes() == ours
