"""What split and packed queues have in common: the record, notification, order, mistrust.

The device works through a ring from `oldest` on and has `held` of its descriptors. Each place of
the ring has a buffer and an id under which the device knows it: at first the place's own number,
and so it stays as long as the device uses buffers in the order in which it got them. One that does
not swaps ids between places.

A device may lie. Nothing that it says is an address or an index before it was compared with what we
know, and a queue whose device lied does nothing more: `failed` says how, `culprit` with what.
"""

import numpy as np

from ixy.compiled import compiled
from ixy.memory.ordered import array_at, store_release
from ixy.memory.pool import BUF_SIZE, HEADROOM, free_batch, packet_address
from ixy.system import write_file, write_file_at

# Addresses: of descriptors, of what the driver writes, of what the device writes (2.6), of the
# pool, of where the device finds each buffer (u8, by buffer number), of the buffer (u4) and of the
# id (u2) of each place; of the notification register, 0 if it is none that can be stored to, and of
# `notice`, which is written to a file then.
COMMON = [(name, "u8") for name in ("ring", "driver", "device", "pool", "addresses", "bufs", "ids")]
COMMON += [(name, "u8") for name in ("doorbell", "notice_at", "notice")]
COMMON += [("position", "i8"), ("file", "i4")]
# Packets and their bytes, packets that were not delivered, notifications sent
COMMON += [(name, "u8") for name in ("packets", "octets", "damaged", "notified")]
# `size` places (the ring has `entries` descriptors), of which the device has `held` from `oldest`
# on; bytes of the header, descriptors between it and the packet (0: they share one), and who we
# are to the pool (IXY_DEBUG=1)
COMMON += [(name, "u4") for name in ("lock", "size", "entries", "oldest", "held")]
COMMON += [(name, "u4") for name in ("header", "apart", "taker", "shuffled", "failed", "culprit")]
# What was negotiated; how many buffers of a packet that spans some are still to come
COMMON += [(name, "u4") for name in ("in_order", "mergeable", "broken")]

REFILL = 32  # buffers that a receive ring gets at once: the device is elsewhere in the ring then
HEADER_SPACE = 12  # bytes before the packet
Header = np.dtype([("flags_to_size", "u4"), ("rest", "u8")])  # of a packet to send: all 0
Buffers = np.dtype([("count", "u2")])  # the last two bytes of the header of one received
Half = np.dtype([("value", "u2")])

LIES = (
    "",
    "used id {} is not in flight",
    "a used buffer of {} bytes: longer than it is, or shorter than a header",
    "{} buffers used at once: more than it has",
    "a packet in {} buffers",
    "closed",
)
NOT_IN_FLIGHT, BAD_LENGTH, TOO_MANY, BAD_SPAN, CLOSED = range(1, len(LIES))


@compiled
def fail(queue, lie, culprit):
    """The device has lied: nothing more is done with the queue."""
    queue.failed = lie
    queue.culprit = culprit
    return False


@compiled
def notify(queue):
    """Tells the device that the queue has something for it (4.1.5.2)."""
    if queue.doorbell:
        store_release(array_at(queue.doorbell, 1, Half)[0], "value", queue.notice)
    elif queue.position < 0:
        write_file(queue.file, queue.notice_at, 8)
    else:
        write_file_at(queue.file, queue.notice_at, 2, queue.position)
    queue.notified += np.uint64(1)


@compiled
def reorder(queue, place, held, used):
    """Makes `used` the id of a place that has another: the one that it belongs to, of the `held`
    places from here on, gets this one's. Returns whether there is one.
    """
    ids = array_at(queue.ids, queue.size, np.uint16)
    bufs = array_at(queue.bufs, queue.size, np.uint32)
    for step in range(1, held):
        other = place + step
        if other >= queue.size:
            other -= np.int64(queue.size)
        if ids[other] == used:
            ids[other], ids[place] = ids[place], ids[other]
            bufs[other], bufs[place] = bufs[place], bufs[other]
            queue.shuffled = 1
            return True
    return fail(queue, NOT_IN_FLIGHT, used)


@compiled
def is_whole(queue, pool, buf, length):
    """Whether a buffer of `length` bytes, with its header, is a packet to deliver; what is not is
    counted, and its bytes do not matter.
    """
    size = length - np.int64(queue.header)
    if size < 0 or size > BUF_SIZE:
        return fail(queue, BAD_LENGTH, length)
    if queue.broken:
        queue.broken -= np.uint32(1)
        return False
    count = 1
    if queue.mergeable:
        count = np.int64(array_at(packet_address(pool, buf) - np.uint64(2), 1, Buffers)[0].count)
        if count == 0 or count > queue.size:
            return fail(queue, BAD_SPAN, count)
        queue.broken = count - 1
    good = count == 1 and size > 0
    queue.damaged += np.uint64(not good)
    return good


@compiled
def clear_header(address):
    """Before a packet at `address`: nothing is asked of the device (5.1.6.2). Mostly it stands
    there already: what is only read, the device's core need not fetch again.
    """
    header = array_at(address - np.uint64(HEADER_SPACE), 1, Header)[0]
    if header.flags_to_size or header.rest:
        header.flags_to_size = 0
        header.rest = 0


@compiled
def give_back(queue, pool, place, count):
    """Frees the buffers of `count` places from `place` on, which may be around the end."""
    bufs = array_at(queue.bufs, queue.size, np.uint32)
    straight = min(count, np.int64(queue.size) - place)
    if straight:
        free_batch(pool, bufs[place : place + straight])
    if count > straight:
        free_batch(pool, bufs[: count - straight])


assert HEADER_SPACE <= HEADROOM
