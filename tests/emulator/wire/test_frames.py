"""The frame ring against a deque, across its end, and against who shares it and lies."""

import ctypes
import mmap
from collections import deque
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ixy.emulator.wire.frames import (
    HEADER,
    LONGEST,
    RESERVE,
    RING_BYTES,
    SIZE,
    SKIP,
    FrameRing,
    drop,
    is_empty,
    is_full,
    peek,
    put,
    record_size,
    reserve,
    rewind,
)
from ixy.memory.dma import DmaMemory
from ixy.memory.ordered import address_of
from rig import of_length, put_frame, run_python, take_frame


class Ring:
    """A frame ring with a stretch of canary bytes on either side."""

    BORDER = 4096

    def __init__(self) -> None:
        self.bytes = np.full(RING_BYTES + 2 * self.BORDER, 0xA5, np.uint8)
        self.address = address_of(self.bytes) + self.BORDER
        ctypes.memset(self.address, 0, RING_BYTES)
        self.record = self.bytes[self.BORDER :][:HEADER].view(FrameRing)

    def set(self, head: int, tail: int) -> None:
        self.record[0]["head"], self.record[0]["tail"] = head, tail

    @property
    def used(self) -> int:
        return int(self.record[0]["tail"]) - int(self.record[0]["head"])

    def write(self, position: int, data: bytes) -> None:
        """Data bytes, whatever they are."""
        begin = self.BORDER + HEADER + position
        self.bytes[begin : begin + len(data)] = np.frombuffer(data, np.uint8)

    def intact(self) -> bool:
        return bool(
            (self.bytes[: self.BORDER] == 0xA5).all() and (self.bytes[-self.BORDER :] == 0xA5).all()
        )


@pytest.fixture
def ring() -> Iterator[Ring]:
    ring = Ring()
    yield ring
    assert ring.intact()


def test_the_layout_of_a_record(ring: Ring) -> None:
    assert put_frame(ring.address, b"\1\2\3\4\5\6")
    assert put_frame(ring.address, b"\7" * 60)
    data = bytes(ring.bytes[ring.BORDER + HEADER :][:76])
    assert data == b"\6\0\0\0\1\2\3\4\5\6\0\0" + b"\x3c\0\0\0" + b"\7" * 60
    assert (int(ring.record[0]["head"]), int(ring.record[0]["tail"])) == (0, 76)
    assert int(record_size(60)) == 64  # a cache line


def test_head_and_tail_are_in_cache_lines_of_their_own() -> None:
    assert [FrameRing.fields[name][1] for name in ("head", "tail")] == [0, 64]
    assert (HEADER, RING_BYTES) == (128, 128 + 512 * 1024)


def test_an_empty_ring(ring: Ring) -> None:
    assert is_empty(ring.address)
    assert not is_full(ring.address)
    assert tuple(map(int, peek(ring.address))) == (0, 0)


def test_peek_leaves_the_frame_where_it_is(ring: Ring) -> None:
    put_frame(ring.address, of_length(100))
    assert tuple(map(int, peek(ring.address))) == tuple(map(int, peek(ring.address)))
    assert take_frame(ring.address) == of_length(100)
    assert is_empty(ring.address)


@pytest.mark.parametrize("length", [0, 1, 14, 59, 60, 61, 1514])
def test_put_pads_to_the_shortest_that_a_wire_carries(ring: Ring, length: int) -> None:
    ring.write(0, b"\xee" * 2000)
    frame = of_length(length)
    source = ctypes.create_string_buffer(frame, max(length, 1))
    assert put(ring.address, ctypes.addressof(source), length)
    assert take_frame(ring.address) == frame.ljust(60, b"\0")


operations = st.lists(
    st.one_of(st.integers(1, 1600), st.integers(1, LONGEST), st.just(0)), min_size=1, max_size=60
)


@given(st.integers(0, SIZE // 4), operations, st.integers(0, 3))
@settings(deadline=None, max_examples=60)
def test_the_ring_is_a_deque_of_bounded_size(start: int, steps: list[int], keep: int) -> None:
    """A positive number puts a frame of that length in, 0 takes all but `keep` out."""
    ring = Ring()
    ring.set(3 * SIZE + 4 * start, 3 * SIZE + 4 * start)
    twin: deque[bytes] = deque()
    for number, length in enumerate(steps):
        if length:
            frame = (number.to_bytes(2, "big") * (length // 2 + 1))[:length]
            before = ring.used
            taken = put_frame(ring.address, frame)
            if taken:
                twin.append(frame)
            else:  # only because there was no room, the rest up to the ring's end included
                assert SIZE - before < 2 * int(record_size(length))
        else:
            while len(twin) > keep:
                assert take_frame(ring.address) == twin.popleft()
        assert bool(is_empty(ring.address)) == (not twin) or ring.used > 0
        assert 0 <= ring.used <= SIZE
    while twin:
        assert take_frame(ring.address) == twin.popleft()
    assert take_frame(ring.address) is None
    assert is_empty(ring.address)
    assert ring.intact()


def test_a_ring_that_is_kept_full_wraps_for_ever(ring: Ring) -> None:
    twin: deque[bytes] = deque()
    total = 0
    for number in range(3000):
        frame = number.to_bytes(4, "big") * (15 + number * 37 % 360)
        while not put_frame(ring.address, frame):
            assert take_frame(ring.address) == twin.popleft()
        twin.append(frame)
        total += len(frame)
    assert total > 3 * SIZE
    assert [take_frame(ring.address) for _ in range(len(twin))] == list(twin)


def test_a_ring_that_is_not_full_takes_any_frame(ring: Ring) -> None:
    for start in range(0, SIZE, 4096):
        ring.set(start, start)
        while not is_full(ring.address):
            assert put_frame(ring.address, bytes(LONGEST))
        assert SIZE - ring.used < RESERVE


def test_rewind_only_when_empty(ring: Ring) -> None:
    put_frame(ring.address, of_length(60))
    rewind(ring.address)
    assert ring.used == 64
    assert take_frame(ring.address) == of_length(60)
    rewind(ring.address)
    assert (int(ring.record[0]["head"]), int(ring.record[0]["tail"])) == (0, 0)


# The other side lies: the ring may be another process's memory


words = st.one_of(
    st.integers(0, 2**64 - 1),
    st.integers(0, 4 * SIZE),
    st.sampled_from(
        [0, 1, SIZE - 1, SIZE - 2, SIZE - 3, SIZE - 4, SIZE, 2**63 - 4, 2**63, 2**64 - 1]
    ),
)
hostile_lengths = st.one_of(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, LONGEST, LONGEST + 1, SIZE, SKIP, SKIP - 1, 2**31, 2**31 - 1, SKIP - 7]),
)


@pytest.mark.filterwarnings("ignore:overflow")  # positions near 2**63 wrap, as in machine code
@given(words, words, hostile_lengths, hostile_lengths)
@settings(deadline=None, max_examples=300)
def test_peek_never_leads_outside(head: int, tail: int, length: int, second: int) -> None:
    ring = Ring()
    ring.set(head, tail)
    position = head % SIZE & ~3
    ring.write(position, length.to_bytes(4, "little"))
    ring.write(0 if position else 64, second.to_bytes(4, "little"))
    address, size = (int(value) for value in peek(ring.address))
    if size:
        assert ring.address + HEADER <= address
        assert address + size <= ring.address + RING_BYTES
        assert size <= LONGEST
        drop(ring.address, size)
    assert ring.intact()


@pytest.mark.filterwarnings("ignore:overflow")  # positions near 2**63 wrap, as in machine code
@given(words, words, st.integers(1, LONGEST))
@settings(deadline=None, max_examples=300)
def test_reserve_never_leads_outside(head: int, tail: int, length: int) -> None:
    ring = Ring()
    ring.set(head, tail)
    target = int(reserve(ring.address, length))
    if target:
        assert ring.address + HEADER <= target
        assert target + length <= ring.address + RING_BYTES
    assert ring.intact()


@pytest.mark.parametrize("length", [LONGEST + 1, SIZE, SKIP - 1, 2**31])
def test_after_a_lie_the_ring_goes_on(ring: Ring, length: int) -> None:
    put_frame(ring.address, of_length(60))
    ring.write(0, length.to_bytes(4, "little"))
    assert take_frame(ring.address) is None
    put_frame(ring.address, of_length(70))
    assert take_frame(ring.address) == of_length(70)


def test_a_frame_of_no_bytes_does_not_block_the_ring(ring: Ring) -> None:
    """Length 0 is what `peek` gives for no frame: such a record must not stay at the head."""
    put_frame(ring.address, of_length(60))
    put_frame(ring.address, of_length(70))
    ring.write(0, bytes(4))
    for _ in range(3):
        take_frame(ring.address)
    put_frame(ring.address, of_length(80))
    assert of_length(80) in [take_frame(ring.address) for _ in range(20)]


def test_not_even_the_length_is_read_from_behind_the_ring() -> None:
    """The ring ends at a page that is not there; its head says that a record begins just before."""
    code = f"""
import ctypes, mmap
from ixy.emulator.wire.frames import RING_BYTES, SIZE, FrameRing, peek, reserve
from ixy.memory.ordered import array_at
pages = -(-RING_BYTES // {mmap.PAGESIZE})
area = mmap.mmap(-1, (pages + 1) * {mmap.PAGESIZE})
base = ctypes.addressof(ctypes.c_char.from_buffer(area))
end = base + pages * {mmap.PAGESIZE}
assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(end), {mmap.PAGESIZE}, 0) == 0
ring = end - RING_BYTES
words = (ctypes.c_uint64 * 16).from_address(ring)
for unaligned in (1, 2, 3):
    words[0], words[8] = SIZE - unaligned, 2 * SIZE
    peek(ring)
    words[0] = words[8] = SIZE - unaligned
    reserve(ring, 60)
print("alive")
"""
    result = run_python(code)
    assert result.stdout == "alive\n", result.stderr[-300:]


def test_two_threads_pass_frames_through_a_ring() -> None:
    from threading import Thread

    memory = DmaMemory(RING_BYTES)
    count = 3000
    frames = [number.to_bytes(4, "big") * (15 + number % 300) for number in range(count)]
    got: list[bytes] = []

    def fill() -> None:
        for frame in frames:
            while not put_frame(memory.address, frame):
                pass

    def empty() -> None:
        while len(got) < count:
            frame = take_frame(memory.address)
            if frame is not None:
                got.append(frame)

    threads = [Thread(target=fill), Thread(target=empty)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert got == frames
    memory.close()
