"""Set-up, statistics and closing of the ixgbe driver, also on functions that lie."""

import os
import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ixy.datasheets.intel82599 import INTEL82599, MODELS
from ixy.datasheets.registers import DeviceTimeout
from ixy.drivers.ixgbe.driver import IxgbeDevice
from ixy.emulator.bus import EmulatedBar, EmulatedFunction
from ixy.emulator.intel82599.model import Intel82599
from ixy.errors import IxyError
from ixy.memory.dma import DmaMemory
from ixy.memory.pool import Mempool
from rig import BROADCAST, MAC, OTHER, Bench, Nic, ethernet, numbered, of_length, run_python, tagged

Access = tuple[str, str, int]  # read or write, register, word


class Recorder(EmulatedFunction):
    """Writes down each access, and answers reads with a lie where a test wants it."""

    def __init__(self, address: str, model: Intel82599, *, threaded: bool = False) -> None:
        super().__init__(address, model, threaded=threaded)
        self.log: list[Access] = []
        self.lies: dict[int, Callable[[int], int]] = {}
        self.closed = 0

    def bar(self, index: int) -> EmulatedBar:
        bar = super().bar(index)
        read, write = bar.read32, bar.write32

        def read32(offset: int) -> int:
            word = read(offset)
            word = self.lies[offset](word) if offset in self.lies else word
            self.log.append(("read", self.name(offset), word))
            return word

        def write32(offset: int, value: int) -> None:
            self.log.append(("write", self.name(offset), value))
            write(offset, value)

        bar.read32, bar.write32 = read32, write32
        return bar

    @staticmethod
    def name(offset: int) -> str:
        row, index = INTEL82599.at(offset) or (None, 0)
        assert row is not None, f"{offset:#x} is no register"
        return f"{row.name}[{index}]" if len(row.offsets) > 1 else row.name

    def config_write(self, offset: int, size: int, value: int) -> None:
        self.log.append(("write", f"config {offset:#x}", value))
        super().config_write(offset, size, value)

    def dma_map(self, memory: DmaMemory):
        self.log.append(("map", "", memory.size))
        return super().dma_map(memory)

    def dma_unmap(self, memory: DmaMemory) -> None:
        self.log.append(("unmap", "", memory.size))
        super().dma_unmap(memory)

    def close(self) -> None:
        self.closed += 1
        super().close()

    def first(self, kind: str, name: str, bits: int = 0) -> int:
        """When a register was first accessed so, with these bits set."""
        for when, (done, what, word) in enumerate(self.log):
            if (done, what) == (kind, name) and word & bits == bits:
                return when
        raise AssertionError(f"no {kind} of {name} with {bits:#x}")

    def last(self, kind: str, name: str) -> int:
        return (
            len(self.log)
            - 1
            - self.log[::-1].index(
                next(entry for entry in reversed(self.log) if entry[:2] == (kind, name))
            )
        )


@pytest.fixture
def recorder() -> Recorder:
    return Recorder("emu:x", Intel82599(Bench(), MAC))


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
        assert read(0x6028) & 0x7F7F7F == 36 | 8 << 8 | 4 << 16  # TXDCTL thresholds
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


def clear(bits: int) -> Callable[[int], int]:
    return lambda word: word & ~bits


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
        with pytest.raises(IxyError, match=r"^nic: no link within 0\.05 s: .*other end"):
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


def test_an_error_between_reset_and_queues_leaks_nothing(recorder: Recorder) -> None:
    pool = Mempool(512)

    def fail(memory: DmaMemory):
        raise IxyError("no IOMMU space")

    recorder.dma_map = fail
    fds = len(os.listdir("/proc/self/fd"))
    with pytest.raises(IxyError, match="no IOMMU space"):
        IxgbeDevice(recorder, [pool], 64)
    assert pool.available == 512
    assert recorder.closed == 1
    assert len(os.listdir("/proc/self/fd")) < fds  # the model's own memory is gone, too


# Addresses and filters


def test_the_address_comes_from_the_device() -> None:
    with Nic(promiscuous=False) as nic:
        assert nic.device.mac == MAC


def test_set_mac_keeps_the_address_valid() -> None:
    with Nic(promiscuous=False) as nic:
        assert nic.pass_in(ethernet(to=MAC)) == [ethernet(to=MAC)]
        nic.device.set_mac(OTHER)
        assert nic.device.mac == OTHER
        assert nic.model.read(0x5404) >> 31 == 1  # RAH.AV
        assert nic.pass_in(ethernet(to=MAC), ethernet(to=OTHER)) == [ethernet(to=OTHER)]


@pytest.mark.parametrize("mac", [b"", bytes(5), bytes(7), b"\1" + bytes(5), b"\xff" * 6])
def test_addresses_that_are_refused(mac: bytes) -> None:
    with Nic() as nic:
        with pytest.raises(IxyError, match=r"nic: .*no address of a single station"):
            nic.device.set_mac(mac)
        assert nic.device.mac == MAC
        assert nic.model.read(0x5400).to_bytes(4, "little") == MAC[:4]


def test_promiscuous_on_and_off() -> None:
    multicast = bytes.fromhex("01005e000001")
    frames = [ethernet(to=to) for to in (MAC, OTHER, BROADCAST, multicast)]
    with Nic() as nic:
        assert nic.pass_in(*frames) == frames  # on from the start: an app forwards
        nic.device.set_promiscuous(False)
        assert nic.pass_in(*frames) == [frames[0], frames[2]]
        nic.device.set_promiscuous(True)
        assert nic.pass_in(*frames) == frames


# Statistics


def test_statistics_of_a_few_frames() -> None:
    with Nic() as nic:
        assert nic.device.statistics().rx_packets == 0
        nic.pass_in(of_length(60), of_length(100), tagged(of_length(1514)))
        nic.pass_out(of_length(20), of_length(70))
        for _ in range(2):  # reading clears the device's counters, not the totals
            statistics = nic.device.statistics()
            assert (statistics.rx_packets, statistics.rx_bytes) == (3, 60 + 100 + 1518)
            assert (statistics.tx_packets, statistics.tx_bytes) == (2, 60 + 70)
            assert set(statistics.dropped.values()) == {0}


def test_drops_by_reason() -> None:
    with Nic() as nic:
        nic.pass_in(of_length(1515), of_length(59), of_length(30), of_length(60))
        statistics = nic.device.statistics()
        assert statistics.rx_packets == 1
        assert {reason: count for reason, count in statistics.dropped.items() if count} == {
            "rx_oversize": 1,
            "rx_undersize": 2,
        }
        assert {"rx_missed", "rx_no_descriptor", "rx_crc_errors", "rx_damaged", "wire_lost"} <= set(
            statistics.dropped
        )


def test_counts_from_before_it_was_opened_are_not_its_own() -> None:
    model = Intel82599(Bench(), MAC)
    model.port[0]["counts"][:] = 12345
    function = Recorder("emu:x", model)
    device = IxgbeDevice(function, [Mempool(512)], 64)
    assert device.statistics().rx_packets == device.statistics().tx_packets == 0
    assert set(device.statistics().dropped.values()) == {0}
    device.close()


steps = st.lists(
    st.one_of(
        st.tuples(st.just("in"), st.lists(st.integers(14, 1600), max_size=20)),
        st.tuples(st.just("out"), st.lists(st.integers(14, 1514), max_size=20)),
        st.tuples(st.just("read"), st.just([])),
        st.tuples(st.just("step"), st.just([])),
    ),
    max_size=30,
)


@given(steps)
@settings(deadline=None, max_examples=30)
def test_statistics_never_lose_a_count(script: list[tuple[str, list[int]]]) -> None:
    with Nic(ring=256, buffers=1024) as nic:
        came: list[int] = []
        sent: list[int] = []
        for what, lengths in script:
            if what == "in":
                assert nic.wire.arrive(*map(of_length, lengths)) == len(lengths)
                came += lengths
            elif what == "out":
                count = nic.device.tx[0].send([of_length(length) for length in lengths])
                sent += [max(60, length) for length in lengths[:count]]
            elif what == "read":
                nic.device.statistics()
            nic.step()
            nic.receive(256)
            nic.wire.sent()
        nic.step(10)
        statistics = nic.device.statistics()
        good = [length for length in came if 60 <= length <= 1514]
        assert (statistics.rx_packets, statistics.rx_bytes) == (len(good), sum(good))
        assert (statistics.tx_packets, statistics.tx_bytes) == (len(sent), sum(sent))
        assert statistics.rx_packets + sum(statistics.dropped.values()) == len(came)


def test_more_octets_than_32_bits(recorder: Recorder) -> None:
    device = IxgbeDevice(recorder, [Mempool(512)], 64)
    answers = {0x1034: 0xFFFFFFFF, 0x1038: 0xF, 0x1030: 1 << 31, 0x4090: 4, 0x4094: 2, 0x4080: 1}
    for offset, word in answers.items():
        recorder.lies[offset] = lambda _, word=word: word
    for times in (1, 2, 3):
        statistics = device.statistics()
        assert statistics.rx_bytes == times * 0xFFFFFFFFF
        assert statistics.rx_packets == times << 31
        assert statistics.tx_bytes == times * (4 + (2 << 32)) - times * 4
    device.close()


def test_threads_that_read_statistics_lose_nothing() -> None:
    import threading

    with Nic(ring=256, buffers=1024) as nic:
        stop = threading.Event()
        errors: list[BaseException] = []

        def read() -> None:
            try:
                while not stop.is_set():
                    nic.device.statistics()
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        for number in range(60):
            nic.wire.arrive(*[numbered(number)] * 5)
            nic.step()
            nic.receive()
        stop.set()
        for thread in threads:
            thread.join(30)
        assert errors == []
        assert nic.device.statistics().rx_packets == 300


def test_all_registers_can_be_read_by_their_names() -> None:
    with Nic() as nic:
        regs = nic.device.regs
        words = {
            repr(register): (register.offset, register.read(), register.row)
            for row in regs.sheet.rows
            for register in regs[row.name]
        }
        assert len(words) == sum(len(row.offsets) for row in regs.sheet.rows) > 1000
        offset, word, row = words["RXDCTL[0]"]
        assert (offset, row.decode(word)) == (0x1028, "ENABLE")
        offset, word, row = words["LINKS"]
        assert (offset, word, row.decode(word)) == (0x42A4, 0x70000000, "SPEED=0x3 UP")


# Closing


def test_close_quiesces_the_device(recorder: Recorder) -> None:
    pools = [Mempool(512), Mempool(512)]
    device = IxgbeDevice(recorder, pools, 64)
    mapped = {word for kind, _, word in recorder.log if kind == "map"}
    recorder.log.clear()
    device.close()
    log = [entry for entry in recorder.log if entry[0] != "read"]
    names = [name for _, name, _ in log]
    for queue in (0, 1):
        for name in (f"RXDCTL[{queue}]", f"TXDCTL[{queue}]"):
            assert next(word for _, what, word in log if what == name) & EN == 0
    assert next(word for _, what, word in log if what == "RXCTRL") & 1 == 0
    order = [
        names.index("RXCTRL"),
        names.index("RXDCTL[1]"),
        names.index("CTRL"),  # GIO_DIS: master disable
        names.index("config 0x4"),
        [kind for kind, _, _ in log].index("unmap"),
    ]
    assert order == sorted(order)
    assert ("write", "CTRL", 4) in log
    assert recorder.log[-1][0] == "unmap"
    assert {word for kind, _, word in log if kind == "unmap"} == mapped
    assert recorder.model.config_read(4, 2) & 4 == 0
    assert recorder.closed == 1


def test_a_second_close_does_nothing(recorder: Recorder) -> None:
    pool = Mempool(512)
    device = IxgbeDevice(recorder, [pool], 64)
    device.close()
    log = list(recorder.log)
    device.close()
    assert recorder.log == log
    assert recorder.closed == 1
    assert pool.available == 512


def test_leaving_the_with_closes(recorder: Recorder) -> None:
    pool = Mempool(512)
    with pytest.raises(ZeroDivisionError), IxgbeDevice(recorder, [pool], 64):
        _ = 1 / 0
    assert recorder.closed == 1
    assert pool.available == 512


def test_close_gives_back_what_is_in_flight() -> None:
    nic = Nic(buffers=512)
    nic.wire.up = False
    nic.step()
    assert nic.device.tx[0].send([numbered(i) for i in range(40)]) == 40
    nic.wire.arrive(*map(numbered, range(30)))
    nic.step()
    assert nic.device.flush(0) == 40
    nic.device.close()
    assert nic.pools[0].available == 512
    assert len(set(nic.pools[0].take(512).tolist())) == 512


@pytest.mark.parametrize("what", ["receive", "send"])
def test_a_queue_of_a_closed_device_does_not_crash(what: str) -> None:
    """Its rings are gone. In a notebook that must be an error, or nothing, but no crash."""
    code = f"""
from rig import Nic, numbered
from ixy.errors import IxyError
nic = Nic()
queue = nic.device.{"rx" if what == "receive" else "tx"}[0]
nic.device.close()
try:
    {"queue.receive()" if what == "receive" else "queue.send([numbered(1)] * 3)"}
except (IxyError, ValueError) as error:
    pass
print("alive")
"""
    result = run_python(code)
    assert result.stdout == "alive\n", f"exit status {result.returncode}: {result.stderr[-300:]}"


def test_flush_waits_and_says_what_is_left() -> None:
    with Nic() as nic:
        assert nic.device.flush(0) == 0
        nic.device.tx[0].send([numbered(i) for i in range(10)])
        assert nic.device.flush(0.01) == 10
        nic.model.step(4)
        assert nic.device.flush(0) == 6
        nic.step()
        assert nic.device.flush(0) == 0


def test_a_fault_is_raised_by_statistics_and_close_still_works() -> None:
    nic = Nic()
    nic.function.dma_unmap(nic.pools[0].memory)
    nic.wire.arrive(numbered(1))
    nic.step()
    with pytest.raises(IxyError, match=r"^nic: DMA fault: .* 60 bytes"):
        nic.device.statistics()
    nic.function.dma_map(nic.pools[0].memory)
    nic.device.close()
    assert nic.pools[0].available == 512
