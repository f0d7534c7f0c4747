"""The rings: descriptors by their bytes, no buffer twice and none lost, and devices that lie."""

import ctypes
import struct
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ixy.compiled import compiled
from ixy.datasheets.intel82599 import RxDescriptor, TxDescriptor
from ixy.device import Batch, rx_batch, tx_batch
from ixy.drivers.intel import rings
from ixy.emulator.wire.loopback import Loopback
from ixy.errors import IxyError
from ixy.memory.pool import Mempool
from rig import Bench, Nic, numbered, of_length


@compiled
def _receive(queue, bufs):
    return rx_batch(queue[0], bufs)


@compiled
def _send(queue, bufs):
    return tx_batch(queue[0], bufs)


@compiled
def _forward(rx, tx, bufs):
    """As an app would: what was received and what of it was sent."""
    received = rx_batch(rx[0], bufs)
    return received, tx_batch(tx[0], bufs[:received])


def descriptor(record: np.ndarray, slot: int) -> bytes:
    """A slot's 16 bytes."""
    return ctypes.string_at(int(record[0]["ring"]) + 16 * slot, 16)


def write_back(record: np.ndarray, slot: int, status: int, length: int, vlan: int = 0) -> None:
    """What a device writes: info and hash 0, then status, length and VLAN tag."""
    data = struct.pack("<QIHH", 0, status, length, vlan)
    ctypes.memmove(int(record[0]["ring"]) + 16 * slot, data, 16)


DD, EOP, RXE = 1, 2, 1 << 29


# Descriptors as the driver writes them


def test_a_transmit_descriptor_as_the_driver_writes_it() -> None:
    with Nic() as nic:
        frame = of_length(100)
        assert nic.device.tx[0].send([frame]) == 1
        record, pool = nic.device.tx[0].record, nic.pools[0]
        buf = np.ctypeslib.as_array(
            ctypes.cast(int(record[0]["bufs"]), ctypes.POINTER(ctypes.c_uint32)), (64,)
        )[0]
        data = descriptor(record, 0)
        where = int.from_bytes(data[:8], "little")
        # length 100, DTYP data, EOP | IFCS | RS | DEXT; PAYLEN 100 from bit 14
        assert data[8:] == bytes.fromhex("6400302b 00001900")
        mappings = nic.model._mappings[: int(nic.model.port[0]["mapped"])]
        inside = [m for m in mappings if m["iova"] <= where < m["iova"] + m["size"]]
        assert len(inside) == 1
        host = int(inside[0]["address"]) + where - int(inside[0]["iova"])
        assert host == pool.memory.address + (int(buf) - pool.first) * 2112 + 64
        assert ctypes.string_at(host, 100) == frame
        assert nic.model.read(0x6018) == 1  # TDT
        nic.step()
        assert descriptor(record, 0)[12:] == b"\1\0\0\0"


def test_receive_descriptors_as_the_driver_writes_them() -> None:
    with Nic() as nic:
        record = nic.device.rx[0].record
        fresh = [descriptor(record, slot) for slot in range(64)]
        buffers = [int.from_bytes(data[:8], "little") for data in fresh]
        assert len(set(buffers)) == 64
        assert all(data[8:] == bytes(8) for data in fresh)
        assert nic.pass_in(numbered(1)) == [numbered(1)]
        again = descriptor(record, 0)
        assert again[8:] == bytes(8)  # DD is cleared
        assert again[:8] not in {data[:8] for data in fresh}  # an empty buffer in its place


def test_the_tail_is_one_behind_on_purpose() -> None:
    with Nic() as nic:
        assert nic.model.read(0x1018) == 63  # RDT
        for count, tail in ((1, 0), (2, 2), (61, 63), (1, 0)):
            assert len(nic.pass_in(*[numbered(0)] * count)) == count
            assert nic.model.read(0x1018) == tail


def test_one_doorbell_a_batch() -> None:
    with Nic() as nic:
        nic.device.tx[0].send([numbered(i) for i in range(20)])
        assert (nic.model.read(0x6018), nic.model.read(0x6010)) == (20, 0)
        nic.step()
        assert nic.wire.sent() == [numbered(i) for i in range(20)]


def test_an_idle_ring_gives_nothing_and_leaves_the_tail() -> None:
    with Nic() as nic:
        for _ in range(3):
            assert nic.receive() == []
        assert nic.model.read(0x1018) == 63
        assert int(nic.pools[0].record[0]["lock"]) == 0


@pytest.mark.parametrize("length", [60, 61, 1514, 1518])
def test_lengths_of_received_packets(length: int) -> None:
    with Nic() as nic:
        nic.model.write(0x4240, 0x00010407)
        nic.model.write(0x4268, 2000 << 16)
        assert nic.pass_in(of_length(length)) == [of_length(length)]


def test_a_full_transmit_ring_takes_the_first_ones() -> None:
    with Nic() as nic:
        frames = [numbered(i) for i in range(100)]
        assert nic.device.tx[0].send(frames) == 63  # one slot stays free
        assert nic.device.tx[0].send(frames) == 0
        nic.step()
        assert nic.wire.sent() == frames[:63]
        assert nic.device.tx[0].send(frames) == 63 - 31  # given back in blocks of 32


def test_buffers_come_back_in_blocks_of_32() -> None:
    with Nic() as nic:
        pool = nic.pools[0]
        start = pool.available
        nic.pass_out(*map(numbered, range(31)))
        nic.device.tx[0].send([])
        assert pool.available == start - 31
        nic.pass_out(numbered(31))
        nic.device.tx[0].send([])
        assert pool.available == start


# Any order of calls, any batch size, small pools


class RingMachine(RuleBasedStateMachine):
    """Frames with numbers through a port, in and out, against lists of what must be where."""

    def __init__(self) -> None:
        super().__init__()
        self.nic: Nic | None = None

    @precondition(lambda self: self.nic is None)
    @rule(ring=st.sampled_from([64, 128, 256]), extra=st.integers(64, 200))
    def open(self, ring: int, extra: int) -> None:
        self.nic = Nic(Bench(patient=True), ring=ring, pools=[Mempool(ring + extra)])
        self.ring, self.pool = ring, self.nic.pools[0]
        self.number = 0
        self.arriving: list[int] = []  # on the wire or in the receive ring, in order
        self.held: list[tuple[int, int]] = []  # ours: buffer, number
        self.leaving: list[int] = []  # handed over to be sent, in order

    def bufs(self, count: int) -> np.ndarray:
        return np.zeros(count, np.uint32)

    @precondition(lambda self: self.nic is not None)
    @rule(count=st.integers(1, 80))
    def arrive(self, count: int) -> None:
        numbers = list(range(self.number, self.number + count))
        assert self.nic.wire.arrive(*map(numbered, numbers)) == count
        self.number += count
        self.arriving += numbers

    @precondition(lambda self: self.nic is not None)
    @rule(burst=st.integers(1, 80))
    def run(self, burst: int) -> None:
        self.nic.model.step(burst)

    @precondition(lambda self: self.nic is not None)
    @rule(count=st.integers(0, 80))
    def receive(self, count: int) -> None:
        bufs, free = self.bufs(count), self.pool.available
        got = int(_receive(self.nic.device.rx[0].record, bufs))
        assert got <= min(count, free, len(self.arriving))
        assert self.pool.available == free - got
        for buf in bufs[:got]:
            number = self.arriving.pop(0)
            assert bytes(self.pool.view(buf)) == numbered(number)
            self.held.append((int(buf), number))

    @precondition(lambda self: self.nic is not None)
    @rule(count=st.integers(0, 80))
    def send(self, count: int) -> None:
        chosen = self.held[:count]
        bufs = np.array([buf for buf, _ in chosen], np.uint32)
        sent = int(_send(self.nic.device.tx[0].record, bufs))
        assert 0 <= sent <= len(chosen)
        self.leaving += [number for _, number in chosen[:sent]]
        self.held = self.held[sent:]

    @precondition(lambda self: self.nic is not None)
    @rule(count=st.integers(0, 80))
    def drop(self, count: int) -> None:
        """Frees the newest."""
        gone = self.held[len(self.held) - min(count, len(self.held)) :]
        self.held = self.held[: len(self.held) - len(gone)]
        self.pool.give(np.array([buf for buf, _ in gone], np.uint32))

    @precondition(lambda self: self.nic is not None)
    @rule(count=st.integers(0, 80))
    def take(self, count: int) -> None:
        """Another user of the pool: it may become empty."""
        bufs = self.pool.take(count)
        for buf in bufs:
            self.pool.fill(buf, numbered(self.number))
            self.held.append((int(buf), self.number))
            self.number += 1

    @precondition(lambda self: self.nic is not None)
    @rule()
    def look_at_the_wire(self) -> None:
        for frame in self.nic.wire.sent():
            assert frame == numbered(self.leaving.pop(0))

    @invariant()
    def every_buffer_is_in_one_place(self) -> None:
        if self.nic is None:
            return
        held = [buf for buf, _ in self.held]
        slots = []
        for queue, size in ((self.nic.device.rx[0], None), (self.nic.device.tx[0], 1)):
            record = queue.record[0]
            pointer = ctypes.cast(int(record["bufs"]), ctypes.POINTER(ctypes.c_uint32))
            if size is None:
                slots += pointer[: self.ring]
            else:
                clean, index = int(record["clean"]), int(record["index"])
                count = (index - clean) % self.ring
                slots += [pointer[(clean + i) % self.ring] for i in range(count)]
        stack = np.ctypeslib.as_array(
            ctypes.cast(int(self.pool.record[0]["stack"]), ctypes.POINTER(ctypes.c_uint32)),
            (self.pool.count,),
        )[: self.pool.available].tolist()
        places = Counter(held) + Counter(slots) + Counter(stack)
        assert max(places.values()) == 1, "a buffer is in two places"
        assert len(places) == self.pool.count, "a buffer is lost"

    def teardown(self) -> None:
        if self.nic is None:
            return
        for _ in range(200):  # all that was handed over goes out, all that came can be received
            self.run(80)
            self.look_at_the_wire()
            self.receive(80)
            self.drop(len(self.held))
            self.send(0)
            if not self.leaving and not self.arriving:
                break
        assert self.leaving == self.arriving == []
        self.nic.device.close()
        assert self.pool.available == self.pool.count
        self.pool.close()


TestRings = RingMachine.TestCase
TestRings.settings = settings(deadline=None, max_examples=40, stateful_step_count=40)


def test_with_an_empty_pool_packets_wait() -> None:
    with Nic(Bench(patient=True), buffers=128) as nic:
        others = nic.pools[0].take(128)
        assert nic.pools[0].available == 0
        nic.wire.arrive(*map(numbered, range(100)))
        nic.step(4)
        assert nic.receive() == []
        nic.pools[0].give(others[:3])
        assert nic.receive() == [numbered(0), numbered(1), numbered(2)]
        nic.pools[0].give(others[3:])
        got: list[bytes] = []
        while batch := nic.receive(7):
            got += batch
            nic.step()
        assert got == [numbered(i) for i in range(3, 100)]


@given(st.lists(st.integers(1, 64), min_size=1, max_size=20), st.integers(0, 40))
@settings(deadline=None, max_examples=20)
def test_forwarding_keeps_order_and_buffers(batches: list[int], spare: int) -> None:
    with Nic(Loopback(), ring=128, buffers=128 + 64 + 64 + spare) as nic:
        frames = [numbered(i) for i in range(40)]
        assert nic.device.tx[0].send(frames) == 40
        for size in batches * 3:
            nic.step()
            bufs = np.zeros(size, np.uint32)
            received, sent = _forward(nic.device.rx[0].record, nic.device.tx[0].record, bufs)
            assert sent == received  # 40 packets: the ring always has room
        for _ in range(5):
            nic.step()
        got = nic.receive()
        assert sorted(got) == sorted(frames)
        first = frames.index(got[0])
        assert got == frames[first:] + frames[:first]  # rotated, never reordered


# Completions that lie


@pytest.fixture
def lying():
    """A port whose device is switched off: what it completes is written by the test."""
    with Nic(buffers=256) as nic:
        nic.model.write(0x3000, 0)
        yield nic


BROKEN = {
    "RXE": [(DD | EOP | RXE, 60)],
    "empty": [(DD | EOP, 0)],
    "longer than a buffer": [(DD | EOP, 2049)],
    "much longer": [(DD | EOP, 0xFFFF)],
    "two parts": [(DD, 2048), (DD | EOP, 100)],
    "three parts": [(DD, 2048), (DD, 2048), (DD | EOP, 100)],
    "parts with an error": [(DD, 2048), (DD | EOP | RXE, 2048)],
}


@pytest.mark.parametrize("which", BROKEN)
@pytest.mark.parametrize("start", [0, 10, 62])
def test_a_broken_packet_is_dropped_and_counted(lying: Nic, which: str, start: int) -> None:
    record, pool = lying.device.rx[0].record, lying.pools[0]
    for slot in range(start):
        write_back(record, slot, DD | EOP, 60)
    assert len(lying.receive()) == start
    before = pool.available
    parts = [(DD | EOP, 61), *BROKEN[which], (DD | EOP, 62), (DD | EOP, 63)]
    for i, (status, length) in enumerate(parts):
        write_back(record, (start + i) % 64, status, length)
    assert [len(packet) for packet in lying.receive()] == [61, 62, 63]
    assert pool.available == before
    assert lying.device.statistics().dropped["rx_damaged"] == 1  # a packet, however many its parts
    assert lying.receive() == []
    assert lying.model.read(0x1018) == (start + len(parts) - 1) % 64


@pytest.mark.parametrize("cut", [1, 2])
def test_a_broken_packet_whose_end_comes_later(lying: Nic, cut: int) -> None:
    record = lying.device.rx[0].record
    parts = [(DD, 2048), (DD, 2048), (DD | EOP, 100), (DD | EOP, 70)]
    for slot, (status, length) in enumerate(parts[:cut]):
        write_back(record, slot, status, length)
    assert lying.receive() == []
    assert lying.receive() == []
    for slot, (status, length) in enumerate(parts[cut:], cut):
        write_back(record, slot, status, length)
    assert [len(packet) for packet in lying.receive()] == [70]
    assert lying.device.statistics().dropped["rx_damaged"] == 1


def test_broken_packets_are_given_back_with_an_empty_pool(lying: Nic) -> None:
    record, pool = lying.device.rx[0].record, lying.pools[0]
    others = pool.take(256)
    for slot in range(4):
        write_back(record, slot, DD, 2048)
    lying.receive()
    pool.give(others)
    write_back(record, 4, DD | EOP, 2048)
    write_back(record, 5, DD | EOP, 64)
    assert [len(packet) for packet in lying.receive()] == [64]


def test_a_ring_full_of_broken_packets_does_not_hang(lying: Nic) -> None:
    record = lying.device.rx[0].record
    for slot in range(64):
        write_back(record, slot, DD, 2048)
    for _ in range(3):
        assert lying.receive() == []
    assert descriptor(record, 5)[8:] == bytes(8)
    assert lying.device.statistics().dropped["rx_damaged"] == 0  # its end has not come yet
    write_back(record, 0, DD | EOP, 100)
    assert lying.receive() == []
    assert lying.device.statistics().dropped["rx_damaged"] == 1


def test_a_slot_that_was_broken_gets_its_own_buffer_again(lying: Nic) -> None:
    record = lying.device.rx[0].record
    before = descriptor(record, 0)
    write_back(record, 0, DD | EOP | RXE, 60)
    lying.receive()
    assert descriptor(record, 0) == before


@pytest.mark.parametrize("vlan", [1, 7, 0x8000, 0xFFFF])
def test_a_vlan_tag_in_the_descriptor_is_no_part_of_the_length(lying: Nic, vlan: int) -> None:
    """Bits 63:48. We never ask for stripping, but no device may make us read beyond a buffer."""
    write_back(lying.device.rx[0].record, 0, DD | EOP, 60, vlan)
    assert [len(packet) for packet in lying.receive()] in ([60], [])


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 0xFFFF)), max_size=63))
@settings(deadline=None, max_examples=40)
def test_no_completion_leads_beyond_a_buffer(completions: list[tuple[int, int]]) -> None:
    with Nic(buffers=256) as nic:
        nic.model.write(0x3000, 0)
        for slot, (status, length) in enumerate(completions):
            write_back(nic.device.rx[0].record, slot, status, length)
        whole = []  # by the rule: complete, undamaged, shorter than a buffer, and all before done
        broken = False
        for status, length in completions:
            if not status & DD:
                break
            good = status & EOP and not status & RXE and 0 < length < 2048
            if good and not broken:
                whole.append(length)
            broken = not status & EOP
        assert [len(packet) for packet in nic.receive()] == whole


def test_more_packets_than_asked_for_stay_on_the_ring() -> None:
    with Nic() as nic:
        nic.wire.arrive(*map(numbered, range(30)))
        nic.step()
        for begin in range(0, 30, 10):
            assert nic.receive(10) == [numbered(i) for i in range(begin, begin + 10)]
        assert nic.receive(10) == []


# The plain Python way


def test_batches_in_python() -> None:
    with Nic() as nic:
        nic.wire.arrive(*map(numbered, range(5)))
        nic.step()
        batch = nic.device.rx[0].receive(32)
        views = list(batch)
        assert [bytes(view) for view in views] == [numbered(i) for i in range(5)]
        views[0][14:16] = b"\xab\xcd"
        assert nic.device.tx[0].send(batch) == 5
        assert len(batch) == 0
        with pytest.raises(ValueError, match="released"):
            bytes(views[1])
        nic.step()
        sent = nic.wire.sent()
        assert sent[0][14:16] == b"\xab\xcd"
        assert sent[1:] == [numbered(i) for i in range(1, 5)]
        batch.free()


def test_what_was_not_sent_stays_in_the_batch() -> None:
    with Nic() as nic:
        bufs = nic.pools[0].take(70)
        for i, buf in enumerate(bufs):
            nic.pools[0].fill(buf, numbered(i))
        batch = Batch(nic.pools[0], bufs)
        assert nic.device.tx[0].send(batch) == 63
        assert [bytes(view) for view in batch] == [numbered(i) for i in range(63, 70)]
        batch.free()


def test_packets_of_another_pool_are_refused() -> None:
    with Nic() as nic:
        pool = Mempool(8)
        with Batch(pool, pool.take(2)) as batch, pytest.raises(IxyError, match="another pool"):
            nic.device.tx[0].send(batch)
        assert pool.available == 8


@pytest.mark.parametrize("length", [0, 13, 2049, 70000])
def test_frames_of_impossible_length_are_refused(length: int) -> None:
    with Nic() as nic:
        before = nic.pools[0].available
        with pytest.raises(IxyError, match=f"a frame of {length} bytes: give it 14 to"):
            nic.device.tx[0].send([numbered(1), bytes(length)])
        assert nic.pools[0].available == before
        assert nic.model.read(0x6018) == 0


def test_with_an_empty_pool_fewer_frames_are_sent() -> None:
    with Nic(buffers=128) as nic:
        others = nic.pools[0].take(60)
        assert nic.device.tx[0].send([numbered(i) for i in range(20)]) == 4
        nic.pools[0].give(others)


def test_records_are_what_the_datasheet_says() -> None:
    assert RxDescriptor.itemsize == TxDescriptor.itemsize == 16
    assert rings.COMMAND == 0x2B300000
    assert rings.GOOD_MASK & 0xFFFFFFFF == DD | EOP | RXE
