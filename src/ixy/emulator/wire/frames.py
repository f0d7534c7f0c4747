"""A ring of frames in memory: what runs through a wire in one direction.

One side puts frames in, one takes them out, each in its own thread or process. A record is the
frame's length (u4), the frame without its CRC, and padding to a multiple of 4: a frame of 60 bytes
is one cache line. A record is never split; where the end is too near, a length of SKIP sends the
reader back to the start. Head and tail count bytes, ever upwards.
"""

import numpy as np

from ixy.compiled import compiled
from ixy.memory.dma import DmaMemory
from ixy.memory.ordered import array_at, copy_bytes, load_acquire, store_release

FrameRing = np.dtype(
    [
        ("head", "u8"),  # bytes taken out so far; a cache line of its own for each side
        ("_1", "u1", 56),
        ("tail", "u8"),  # bytes put in so far
        ("_2", "u1", 56),
    ],
    align=True,
)
HEADER = FrameRing.itemsize
SIZE = 512 * 1024  # bytes of data behind the header: as much as the 82599's receive packet buffer
RING_BYTES = HEADER + SIZE
SHORTEST = 60  # a shorter frame is padded on the wire (IEEE 802.3, 3.2.8)
LONGEST = 16 * 1024  # more than the 15.5 KiB that the 82599 takes
RESERVE = 2 * LONGEST  # room for any record, wherever the end is
SKIP = 0xFFFFFFFF

Length = np.dtype([("value", "u4")])


@compiled
def record_size(length):
    """The bytes that a frame takes in a ring."""
    return (np.int64(length) + 7) & ~3


@compiled
def data_at(address, position):
    """Where a ring's byte at `position` is."""
    return np.uint64(np.int64(address) + HEADER + (position & (SIZE - 1)))


@compiled
def reserve(address, length):
    """Makes room for a frame; returns the address to write it to, 0 if there is no room."""
    ring = array_at(address, 1, FrameRing)[0]
    tail = np.int64(ring.tail) & ~3
    free = SIZE - (tail - np.int64(load_acquire(ring, "head")))
    needed = record_size(length)
    to_end = SIZE - (tail & (SIZE - 1))
    if needed > to_end:
        if needed + to_end > free:
            return np.uint64(0)
        array_at(data_at(address, tail), 1, Length)[0].value = SKIP
        tail += to_end
        store_release(ring, "tail", tail)
    elif needed > free:
        return np.uint64(0)
    return np.uint64(data_at(address, tail) + np.uint64(4))


@compiled
def commit(address, length):
    """Puts in the frame that was written to where `reserve` said."""
    ring = array_at(address, 1, FrameRing)[0]
    tail = np.int64(ring.tail) & ~3
    array_at(data_at(address, tail), 1, Length)[0].value = length
    store_release(ring, "tail", tail + record_size(length))


@compiled
def place(address, index, length):
    """Prepares the index-th of many frames of one length, in a ring that is empty and rewound;
    returns the address to write it to.
    """
    target = data_at(address, np.int64(index) * record_size(length))
    array_at(target, 1, Length)[0].value = length
    return target + np.uint64(4)


@compiled
def commit_all(address, count, length):
    """Puts in the frames that were prepared by `place`."""
    ring = array_at(address, 1, FrameRing)[0]
    store_release(ring, "tail", np.int64(count) * record_size(length))


@compiled
def peek(address):
    """The oldest frame's address and length; (0, 0) if there is none."""
    ring = array_at(address, 1, FrameRing)[0]
    head = np.int64(ring.head) & ~3
    tail = np.int64(load_acquire(ring, "tail"))
    if head == tail:
        return np.uint64(0), np.int64(0)
    length = np.int64(array_at(data_at(address, head), 1, Length)[0].value)
    if length == SKIP:
        head += SIZE - (head & (SIZE - 1))
        store_release(ring, "head", head)
        if head == tail:
            return np.uint64(0), np.int64(0)
        length = np.int64(array_at(data_at(address, head), 1, Length)[0].value)
    # the ring may be shared with another process: believe nothing that leads outside it
    inside = 0 < length <= LONGEST and (head & (SIZE - 1)) + record_size(length) <= SIZE
    if not inside:
        store_release(ring, "head", tail)
        return np.uint64(0), np.int64(0)
    return np.uint64(data_at(address, head) + np.uint64(4)), length


@compiled
def drop(address, length):
    """Takes out the frame that `peek` showed."""
    ring = array_at(address, 1, FrameRing)[0]
    store_release(ring, "head", np.int64(ring.head) + record_size(length))


@compiled
def drop_all(address):
    """Takes out all frames; returns how many there were."""
    dropped = 0
    while True:
        _, length = peek(address)
        if length == 0:
            return dropped
        drop(address, length)
        dropped += 1


@compiled
def empty(address):
    """Takes out all frames, for who does not count them."""
    ring = array_at(address, 1, FrameRing)[0]
    store_release(ring, "head", np.int64(load_acquire(ring, "tail")) & ~3)


@compiled
def is_full(address):
    """Whether a frame of some length might not fit."""
    ring = array_at(address, 1, FrameRing)[0]
    used = np.int64(load_acquire(ring, "tail")) - np.int64(load_acquire(ring, "head"))
    return SIZE - used < RESERVE


@compiled
def is_empty(address):
    """Whether all frames have been taken out."""
    ring = array_at(address, 1, FrameRing)[0]
    return load_acquire(ring, "tail") == load_acquire(ring, "head")


def holds_frames(memory: DmaMemory, offset: int) -> bool:
    """Whether the ring there is not empty, for plain Python."""
    ring = np.frombuffer(memory.view(offset, HEADER), FrameRing)[0]
    return bool(ring["head"] != ring["tail"])


@compiled
def rewind(address):
    """Lets an empty ring begin anew, for who is both its ends: a short stretch of it then stays in
    the cache.
    """
    ring = array_at(address, 1, FrameRing)[0]
    if ring.head == ring.tail:
        ring.head = 0
        ring.tail = 0


@compiled
def put(address, source, length):
    """Copies a frame in, padded to the shortest that a wire carries; returns whether there was
    room.
    """
    padded = max(np.int64(length), SHORTEST)
    target = reserve(address, padded)
    if target == 0:
        return False
    copy_bytes(target, source, length)
    if padded > length:
        padding = array_at(target + np.uint64(length), padded - length, np.uint8)
        padding[:] = 0
    commit(address, padded)
    return True
