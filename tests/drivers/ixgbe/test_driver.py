"""Set-up, statistics and closing of the ixgbe driver, also on functions that lie."""

import struct
from collections.abc import Callable

import pytest

from ixy.datasheets.intel82599 import MODELS
from ixy.datasheets.registers import DeviceTimeout
from ixy.drivers.ixgbe.driver import IxgbeDevice
from ixy.emulator.intel82599.model import Intel82599
from ixy.errors import IxyError
from ixy.memory.pool import Mempool
from recorder import Recorder, clear
from rig import MAC, Bench, Nic, ethernet, numbered

# The order of the datasheet, 4.6.3 to 4.6.8

EN = 1 << 25


def test_the_order_of_the_datasheet(recorder: Recorder) -> None:
    device = IxgbeDevice(recorder, [Mempool(512), Mempool(512)], 64)
    first = recorder.first
    order = [
        first("write", "EIMC", 0xFFFFFFFF),  # interrupts off
        first("write", "CTRL", 0x04000008),  # reset
        first("read", "EEC", 0x200),  # EEPROM read
        first("read", "RDRXCTL", 8),  # DMA ready
        first("map", ""),
        first("write", "config 0x4", 4),  # bus master: not before there is something to reach
        first("write", "AUTOC", 0x1000),  # link
        first("read", "GPTC"),  # counters cleared
        first("write", "RXCTRL"),  # receiver off while it is set up
        first("write", "RXPBSIZE[0]"),
        first("write", "HLREG0", 2),
        first("write", "FCTRL", 0x400),
        first("write", "RSSRK[0]"),
        first("write", "MRQC", 1),
        first("write", "RDBAL[0]"),
        first("write", "RXDCTL[0]", EN),
        first("write", "RDT[0]", 63),
        first("write", "RXCTRL", 1),
    ]
    assert order == sorted(order)
    transmit = [
        first("write", "DMATXCTL", 1),
        first("write", "TDBAL[0]"),
        first("write", "TXDCTL[0]", EN),
    ]
    assert transmit == sorted(transmit)
    assert transmit[-1] < first("write", "RXCTRL", 1)
    device.close()


def test_after_a_reset_interrupts_are_masked_again(recorder: Recorder) -> None:
    IxgbeDevice(recorder, [Mempool(512)], 64).close()
    reset = recorder.first("write", "CTRL", 0x04000008)
    masks = [i for i, entry in enumerate(recorder.log) if entry == ("write", "EIMC", 0xFFFFFFFF)]
    assert masks[0] < reset < masks[1]
    assert recorder.first("read", "EICR") > masks[1]


@pytest.mark.parametrize("queue", [0, 1])
def test_a_queue_is_described_before_it_runs_and_moves_after(
    recorder: Recorder, queue: int
) -> None:
    IxgbeDevice(recorder, [Mempool(512), Mempool(512)], 128).close()
    log, first = recorder.log, recorder.first
    enabled = first("write", f"RXDCTL[{queue}]", EN)
    for name in ("RDBAL", "RDBAH", "RDLEN", "SRRCTL", "DCA_RXCTRL"):
        assert first("write", f"{name}[{queue}]") < enabled
    assert ("write", f"RDLEN[{queue}]", 128 * 16) in log
    assert first("write", f"SRRCTL[{queue}]", 0x02000002) < enabled
    seen = next(i for i in range(enabled, len(log)) if log[i][:2] == ("read", f"RXDCTL[{queue}]"))
    assert log[seen][2] & EN
    assert first("write", f"RDT[{queue}]", 127) > seen
    assert log[first("write", f"DCA_RXCTRL[{queue}]")][2] & 0x1000 == 0
    enabled = first("write", f"TXDCTL[{queue}]", EN)
    for name in ("TDBAL", "TDBAH", "TDLEN"):
        assert first("write", f"{name}[{queue}]") < enabled


def test_what_the_device_is_told() -> None:
    with Nic() as nic:
        read = nic.model.read
        assert read(0x3C00) == 512 << 10  # RXPBSIZE
        assert [read(0x3C00 + 4 * i) for i in range(1, 8)] == [0] * 7
        assert read(0xCC00) == 160 << 10  # TXPBSIZE
        assert read(0x4950) == 160  # TXPBTHRESH
        assert [read(0xCC00 + 4 * i) for i in range(1, 8)] == [0] * 7
        assert read(0x8100) == 0xFFF  # DTXMXSZRQ
        assert read(0x4240) & 0x407 == 0x403  # HLREG0: CRC, strip, pad; no jumbo frames
        assert read(0x2F00) & 0x063E0002 == 0x06000002  # RDRXCTL
        assert read(0x42A0) & 0xE000 == 0x6000  # AUTOC.LMS
        assert read(0x6028) & 0x7F7F7F == 36 | 8 << 8 | 1 << 16  # TXDCTL thresholds
        assert read(0x4900) & 0x40 == 0  # RTTDCS.ARBDIS
        assert read(0x18) & 0x10000  # CTRL_EXT.NS_DIS
        assert read(0x4268) >> 16 == 1518  # MAXFRS


def test_rss_is_set_up_with_microsofts_key() -> None:
    with Nic(queues=4) as nic:
        key = b"".join(nic.model.read(0xEB80 + 4 * i).to_bytes(4, "little") for i in range(10))
        assert key.hex() == (
            "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa"
        )
        assert nic.model.read(0xEC80) == 0x00F30001
        assert {nic.model.read(0xEB00 + 4 * i) for i in range(32)} == {0x03020100}


# What it refuses


@pytest.mark.parametrize("ring", [0, 1, 32, 63, 65, 100, 127, 4095, 4097, 8192, -64, -128])
def test_ring_sizes_that_are_refused(ring: int) -> None:
    pool = Mempool(9000)
    with pytest.raises(IxyError, match=rf"emu:x: a ring of {ring}: .*power of two.* 64 to 4096"):
        IxgbeDevice(Recorder("emu:x", Intel82599(Bench(), MAC)), [pool], ring)
    assert pool.available == 9000


@pytest.mark.parametrize("ring", [64, 128, 256, 512, 1024, 2048, 4096])
def test_ring_sizes(ring: int) -> None:
    with Nic(ring=ring, buffers=ring + 64) as nic:
        frames = [numbered(i) for i in range(100)]
        got = []
        for i in range(0, 100, 20):
            got += nic.pass_in(*frames[i : i + 20])
        assert got == frames


def test_a_pool_that_is_too_small_is_refused() -> None:
    pools = [Mempool(600), Mempool(575)]
    with pytest.raises(IxyError, match=r"emu:x: the pool is too small: 575 .*576"):
        IxgbeDevice(Recorder("emu:x", Intel82599(Bench(), MAC)), pools, 512)
    assert [pool.available for pool in pools] == [600, 575]


def test_a_pool_for_several_queues_must_be_large_enough_for_all() -> None:
    pool = Mempool(600)
    with pytest.raises(IxyError, match="pool is too small"):
        IxgbeDevice(Recorder("emu:x", Intel82599(Bench(), MAC)), [pool] * 4, 512)
    assert pool.available == 600
    assert len(set(pool.take(600).tolist())) == 600


def test_one_pool_may_serve_several_queues() -> None:
    pool = Mempool(1024)
    with Nic(pools=[pool] * 4, ring=64) as nic:
        assert pool.available == 1024 - 4 * 64
        assert nic.pass_in(numbered(1)) == [numbered(1)]
    assert len(set(pool.take(1024).tolist())) == 1024


@pytest.mark.parametrize("queues", [0, 65, 200])
def test_numbers_of_queues_that_are_refused(queues: int) -> None:
    pools = [Mempool(512)] * queues
    with pytest.raises(IxyError, match=f"emu:x: {queues} queues: give it 1 to 64"):
        IxgbeDevice(Recorder("emu:x", Intel82599(Bench(), MAC)), pools, 64)


def test_64_queues_send_and_receive() -> None:
    with Nic(queues=64, buffers=160) as nic:
        for queue in range(64):
            assert nic.pass_out(numbered(queue), queue=queue) == [numbered(queue)]
        assert nic.device.statistics().tx_packets == 64
        assert nic.model.read(0x1028 + 0x40 * 63) & EN
        assert nic.pass_in(ethernet()) == [ethernet()]


@pytest.mark.parametrize(
    ("vendor", "device"), [(0x8086, 0x100E), (0x15B3, 0x10FB), (0xFFFF, 0xFFFF)]
)
def test_other_devices_are_refused(vendor: int, device: int) -> None:
    model = Intel82599(Bench(), MAC)
    model.config[0:4] = struct.pack("<HH", vendor, device)
    function = Recorder("emu:x", model)
    with pytest.raises(IxyError, match=r"emu:x: .*is no 82599, X540 or X550"):
        IxgbeDevice(function, [Mempool(512)], 64)
    assert function.log == []


@pytest.mark.parametrize("name", MODELS)
def test_all_models_come_up(name: str) -> None:
    pool = Mempool(256)
    device = IxgbeDevice(Recorder("emu:x", Intel82599(Bench(), MAC, name)), [pool], 64)
    assert device.mac == MAC
    assert device.link_speed() == 10000
    device.close()
    assert pool.available == 256


# Functions that lie: each wait ends, and nothing is leaked


def stick(bits: int) -> Callable[[int], int]:
    return lambda word: word | bits


LIES = [
    (0x0, stick(1 << 26), r"CTRL.*RST = 0", "8.2.3.1.1"),
    (0x0, stick(1 << 3), r"CTRL.*LNK_RST = 0", "8.2.3.1.1"),
    (0x10010, clear(1 << 9), r"EEC\.ARD = 1", "8.2.3.2.1"),
    (0x2F00, clear(1 << 3), r"RDRXCTL\.DMAIDONE = 1", "8.2.3.8.8"),
    (0x1028, clear(EN), r"RXDCTL\[0\]\.ENABLE = 1", "8.2.3.8.6"),
    (0x1068, clear(EN), r"RXDCTL\[1\]\.ENABLE = 1", "8.2.3.8.6"),
    (0x6028, clear(EN), r"TXDCTL\[0\]\.ENABLE = 1", "8.2.3.9.10"),
    (0x6068, clear(EN), r"TXDCTL\[1\]\.ENABLE = 1", "8.2.3.9.10"),
]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time-outs of 20 ms instead of a second."""
    from ixy.datasheets.registers import Bound

    wait = Bound.wait
    monkeypatch.setattr(
        Bound, "wait", lambda self, timeout, **fields: wait(self, min(timeout, 0.02), **fields)
    )


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("offset", "lie", "words", "section"), LIES)
def test_a_device_that_does_not_answer(
    recorder: Recorder, offset: int, lie: Callable[[int], int], words: str, section: str
) -> None:
    recorder.lies[offset] = lie
    pools = [Mempool(512), Mempool(512)]
    with pytest.raises(DeviceTimeout, match=rf"^emu:x: no {words}.*datasheet {section}\)$"):
        IxgbeDevice(recorder, pools, 64)
    assert [pool.available for pool in pools] == [512, 512]
    for pool in pools:
        assert len(set(pool.take(512).tolist())) == 512
    assert recorder.closed == 1
    assert recorder.model.config_read(4, 2) & 4 == 0  # bus master off
    assert recorder.model.port[0]["mapped"] == 0


def test_a_dead_device_reads_all_ones(recorder: Recorder, monkeypatch) -> None:
    monkeypatch.setattr(Recorder, "name", staticmethod(lambda _: ""))
    recorder.lies = {offset: stick(0xFFFFFFFF) for offset in range(0, 0x20000, 4)}
    pool = Mempool(512)
    with pytest.raises(DeviceTimeout, match=r"CTRL.*it reads 0xffffffff"):
        IxgbeDevice(recorder, [pool], 64)
    assert pool.available == 512


def test_no_link_within_the_time_is_an_error_with_a_hint() -> None:
    wire = Bench()
    wire.up = False
    with Nic(wire) as nic:
        assert nic.device.link_speed() == 0
        with pytest.raises(IxyError, match=r"^nic: still no link: .*other end"):
            nic.device.wait_for_link(0.05)
        wire.up = True
        assert nic.device.wait_for_link(0.05) == 10000


@pytest.mark.parametrize(("code", "speed"), [(0, 0), (1, 100), (2, 1000), (3, 10000)])
def test_link_speeds(recorder: Recorder, code: int, speed: int) -> None:
    device = IxgbeDevice(recorder, [Mempool(512)], 64)
    recorder.lies[0x42A4] = lambda _: 1 << 30 | code << 28
    assert device.link_speed() == speed
    recorder.lies[0x42A4] = lambda _: code << 28  # a speed, but no link
    assert device.link_speed() == 0
    device.close()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("offset", [0x1028, 0x6028, 0x8])
def test_a_device_that_does_not_stop_is_let_go_of_and_reported(
    recorder: Recorder, offset: int
) -> None:
    pool = Mempool(512)
    device = IxgbeDevice(recorder, [pool], 64)
    recorder.lies[offset] = stick(EN | 1 << 19)
    with pytest.raises(DeviceTimeout, match=r"emu:x: no (RXDCTL|TXDCTL|STATUS)"):
        device.close()
    assert pool.available == 512
    assert recorder.closed == 1
    assert recorder.model.config_read(4, 2) & 4 == 0
    device.close()
    assert recorder.closed == 1
