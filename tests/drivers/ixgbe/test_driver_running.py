"""Set-up, statistics and closing of the ixgbe driver, also on functions that lie."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ixy.drivers.ixgbe.driver import IxgbeDevice
from ixy.emulator.intel82599.model import Intel82599
from ixy.errors import IxyError
from ixy.memory.dma import DmaMemory
from ixy.memory.pool import Mempool
from recorder import Recorder
from rig import BROADCAST, MAC, OTHER, Bench, Nic, ethernet, numbered, of_length, run_python, tagged

# The order of the datasheet, 4.6.3 to 4.6.8

EN = 1 << 25


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
