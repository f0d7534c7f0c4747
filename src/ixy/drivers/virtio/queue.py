"""The hot path of both kinds of rings: receive, refill, transmit, reclaim.

The device has `held` places of a ring, from the position `oldest` on; positions count upwards, and
a position's place is its remainder. Each place has a buffer, and an id under which the device knows
it: at first the place's own number, and so it stays as long as the device uses buffers in the order
in which it got them. One that does not swaps ids between places.

A device may lie. Nothing that it says is an address or an index before it was compared with what we
know, and a queue whose device lied does nothing more: `failed` says how, `culprit` with what.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import from_dtype
from numba.extending import overload

from ixy.compiled import DEBUG, compiled, inner
from ixy.device import pool_of
from ixy.memory import pool as memory
from ixy.memory.ordered import array_at, lock, store_release, unlock
from ixy.memory.pool import BUF_SIZE, free_batch, free_stack, lengths, packet_address
from ixy.system import write_file, write_file_at

# Addresses: of descriptors, of what the driver writes, of what the device writes (2.6), of the
# pool, of where the device finds each buffer (u8, by buffer number), of the buffer (u4) and of the
# id (u2) of each place; of the notification register, 0 if it is none that can be stored to, and of
# `notice`, which is written to a file then. Positions; `seen`: up to where a split ring's device is
# known to be. Packets and their bytes, packets that were not delivered, notifications sent.
_WIDE = (
    "ring", "driver", "device", "pool", "addresses", "bufs", "ids",
    "doorbell", "notice_at", "notice", "oldest", "seen", "packets", "octets", "damaged", "notified",
)  # fmt: skip
# `size` places, of which the device has `held`; bytes of the header, descriptors between it and the
# packet (0: they share one), what every descriptor has for a flag, who we are to the pool
# (IXY_DEBUG=1); what was negotiated; how many buffers of a packet that spans some are to come; how
# many a receive ring gets at once: the device is elsewhere in the ring then.
_NARROW = (
    "lock", "size", "held", "header", "apart", "flags", "taker", "shuffled", "failed", "culprit",
    "in_order", "mergeable", "broken", "chunk",
)  # fmt: skip
COMMON = [(name, "u8") for name in _WIDE] + [("position", "i8"), ("file", "i4")]
COMMON += [(name, "u4") for name in _NARROW]

HEADER_SPACE = 12  # bytes before the packet
Header = np.dtype([("flags_to_size", "u4"), ("rest", "u8")])  # of a packet to send: all 0
Span = np.dtype([("buffers", "u2")])  # the last two bytes of the header of one received
Half = np.dtype([("value", "u2")])
NOTHING = -1  # what `used` says of a place that the device has not used

LIES = (
    "",
    "used id {} is not in flight",
    "a used buffer of {} bytes: longer than it is, or shorter than a header",
    "{} buffers used at once: more than it has",
    "a packet in {} buffers",
    "closed",
)
NOT_IN_FLIGHT, BAD_LENGTH, TOO_MANY, BAD_SPAN, CLOSED = range(1, len(LIES))

# What differs between split and packed rings, by the record type of the queue
USED: dict[np.dtype[Any], Callable[..., int]] = {}
OFFER: dict[np.dtype[Any], Callable[..., None]] = {}
PUBLISH: dict[np.dtype[Any], Callable[..., bool]] = {}


def used(queue: Any, *place: Any) -> int:
    """What the device says of a position, given it and the ring's mask: id << 32 | length, or
    NOTHING.
    """
    return USED[queue.dtype](queue, *place)


def offer(queue: Any, *buffer: Any) -> None:
    """Describes a buffer: position, mask and id, where the device finds it and its header, and
    their bytes. From the last position to the first: before that, none is available.
    """
    OFFER[queue.dtype](queue, *buffer)


def publish(queue: Any) -> bool:
    """Makes what was offered available; returns whether the device wants to be notified."""
    return PUBLISH[queue.dtype](queue)


def _chosen_from(table):
    def choose(queue, *rest):
        function = {from_dtype(dtype): function for dtype, function in table.items()}[queue]
        return lambda queue, *rest: function(queue, *rest)

    return choose


overload(used)(_chosen_from(USED))
overload(offer)(_chosen_from(OFFER))
overload(publish)(_chosen_from(PUBLISH))


@inner
def fail(queue, lie, culprit):
    """The device has lied: nothing more is done with the queue."""
    queue.failed = lie
    queue.culprit = culprit
    return False


@inner
def make_available(queue, count):
    """Lets the device have `count` more places, and wakes it if it sleeps."""
    queue.held += np.uint32(count)
    if publish(queue):
        notify(queue)


@compiled
def notify(queue):
    """Wakes the device (4.1.5.2)."""
    if queue.doorbell:
        store_release(array_at(queue.doorbell, 1, Half)[0], "value", queue.notice)
    elif queue.position < 0:
        write_file(queue.file, queue.notice_at, 8)
    else:
        write_file_at(queue.file, queue.notice_at, 2, queue.position)
    queue.notified += np.uint64(1)


@inner
def is_in_flight(queue, position, end, number):
    """Whether the device has, from a position to the end, a place of this id: it and its buffer are
    swapped with the first one's.
    """
    mask = np.int64(queue.size) - 1
    ids = array_at(queue.ids, queue.size, np.uint16)
    bufs = array_at(queue.bufs, queue.size, np.uint32)
    place = position & mask
    for other in range(position + 1, end):
        there = other & mask
        if ids[there] == number:
            ids[there], ids[place] = ids[place], ids[there]
            bufs[there], bufs[place] = bufs[place], bufs[there]
            queue.shuffled = 1
            return True
    return fail(queue, NOT_IN_FLIGHT, number)


@compiled
def rx_batch(queue, bufs):
    """Takes up to len(bufs) packets off the ring, refills it; returns how many."""
    if queue.failed:
        return 0
    lock(queue)
    received = take(queue, bufs)
    while queue.held + queue.chunk <= queue.size and not queue.failed:
        if not refill(queue):
            break
    unlock(queue)
    return received


@inner
def take(queue, bufs):
    """Takes packets off the ring."""
    pool, header = pool_of(queue), np.int64(queue.header)
    ids = array_at(queue.ids, queue.size, np.uint16)
    slots = array_at(queue.bufs, queue.size, np.uint32)
    length = lengths(pool)
    mask, first = np.int64(queue.size) - 1, np.int64(queue.oldest)
    end = first + np.int64(queue.held)
    received, octets, position, mergeable = 0, 0, first, queue.mergeable
    while received < len(bufs) and position < end:
        said = used(queue, position, mask)
        if said == NOTHING:
            break
        place = np.uint64(position & mask)  # a signed one is tested for its sign at each use
        if said >> 32 != ids[place] and not is_in_flight(queue, position, end, said >> 32):
            break
        size, buf = (said & 0xFFFFFFFF) - header, slots[place]
        bufs[np.uint64(received)] = buf
        plain = 0 < size <= BUF_SIZE and not mergeable
        if plain or is_whole(queue, pool, buf, size):
            length[buf] = size
            octets += size
            received += 1
        elif queue.failed:
            break
        else:
            free_batch(pool, bufs[received : received + 1])
        position += 1
    queue.oldest = position
    queue.held -= np.uint32(position - first)
    queue.packets += np.uint64(received)
    queue.octets += np.uint64(octets)
    return received


@inner
def is_whole(queue, pool, buf, size):
    """Whether a buffer with `size` bytes behind the header is a packet to deliver; what is not is
    counted, and its bytes do not matter.
    """
    if size < 0 or size > BUF_SIZE:
        return fail(queue, BAD_LENGTH, size + np.int64(queue.header))
    if queue.broken:
        queue.broken -= np.uint32(1)
        return False
    buffers = 1
    if queue.mergeable:
        span = array_at(packet_address(pool, buf) - np.uint64(2), 1, Span)[0]
        buffers = np.int64(span.buffers)
        if buffers == 0 or buffers > queue.size:
            return fail(queue, BAD_SPAN, buffers)
        queue.broken = buffers - 1
    good = buffers == 1 and size > 0
    queue.damaged += np.uint64(not good)
    return good


@inner
def refill(queue):
    """Puts empty buffers into the ring; returns how many the pool had."""
    pool, header = pool_of(queue), np.uint64(queue.header)
    ids = array_at(queue.ids, queue.size, np.uint16)
    slots = array_at(queue.bufs, queue.size, np.uint32)
    addresses = array_at(queue.addresses, pool.first + pool.count, np.uint64)
    mask = np.int64(queue.size) - 1
    first = np.int64(queue.oldest) + np.int64(queue.held)
    lock(pool)
    stack = free_stack(pool)
    top = np.int64(pool.top)
    count = min(top, np.int64(queue.chunk))
    for i in range(count - 1, -1, -1):
        new, place = stack[np.uint64(top - 1 - i)], np.uint64(first + i & mask)
        if DEBUG:
            memory.takers(pool)[new] = queue.taker
        slots[place] = new
        offer(queue, first + i, mask, ids[place], addresses[new] - header, BUF_SIZE + header)
    pool.top = top - count
    unlock(pool)
    if count:
        make_available(queue, count)
    return count


@compiled
def tx_batch(queue, bufs):
    """Puts packets on the ring, returns how many fitted. Buffers of packets already sent go back to
    the pool when half of the ring is waiting, or when there are no packets to send.
    """
    if queue.failed or (len(bufs) == 0 and queue.held == 0):
        return 0
    lock(queue)
    if len(bufs) == 0 or queue.held + len(bufs) > queue.size // 2:
        reclaim(queue)
    room = min(len(bufs), np.int64(queue.size) - np.int64(queue.held))
    if queue.failed:
        room = 0
    if room:
        put(queue, bufs[:room])
    unlock(queue)
    return room


@inner
def put(queue, bufs):
    """Puts packets on a ring that has room for them."""
    pool, header = pool_of(queue), np.uint64(queue.header)
    ids = array_at(queue.ids, queue.size, np.uint16)
    slots = array_at(queue.bufs, queue.size, np.uint32)
    addresses = array_at(queue.addresses, pool.first + pool.count, np.uint64)
    length = lengths(pool)
    mask = np.int64(queue.size) - 1
    first = np.int64(queue.oldest) + np.int64(queue.held)
    octets = 0
    if DEBUG:  # raises what is misused: not with the lock
        unlock(queue)
        for buf in bufs:
            memory.hand_over(pool, buf, queue.taker)
        lock(queue)
    for i in range(len(bufs) - 1, -1, -1):
        buf, place = bufs[np.uint64(i)], np.uint64(first + i & mask)
        size = np.uint64(length[buf])
        octets += np.int64(size)
        slots[place] = buf
        clear_header(packet_address(pool, buf))
        offer(queue, first + i, mask, ids[place], addresses[buf] - header, size + header)
    queue.packets += np.uint64(len(bufs))
    queue.octets += np.uint64(octets)
    make_available(queue, len(bufs))


@inner
def clear_header(address):
    """Before a packet at `address`: nothing is asked of the device (5.1.6.2). Mostly it stands
    there already: what is only read, the device's core need not fetch again.
    """
    header = array_at(address - np.uint64(HEADER_SPACE), 1, Header)[0]
    if header.flags_to_size or header.rest:
        header.flags_to_size = 0
        header.rest = 0


@inner
def reclaim(queue):
    """Gives the pool back the buffers of packets that have been sent."""
    ids = array_at(queue.ids, queue.size, np.uint16)
    bufs = array_at(queue.bufs, queue.size, np.uint32)
    mask, first = np.int64(queue.size) - 1, np.int64(queue.oldest)
    position, end = first, first + np.int64(queue.held)
    while position < end:
        said = used(queue, position, mask)
        if said == NOTHING:
            break
        number, step = said >> 32, 1
        if queue.in_order:  # the last one of many may stand for all (2.7.14, 2.8.8)
            step += number - position & mask
            if number > mask or position + step > end:
                fail(queue, NOT_IN_FLIGHT, number)
                break
        elif number != ids[position & mask] and not is_in_flight(queue, position, end, number):
            break
        position += step
    count, place = position - first, first & mask
    straight = min(count, mask + 1 - place)
    queue.oldest = position
    queue.held -= np.uint32(count)
    if DEBUG:  # raises what is misused: not with the lock
        unlock(queue)
    free_batch(pool_of(queue), bufs[place : place + straight])
    free_batch(pool_of(queue), bufs[: count - straight])
    if DEBUG:
        lock(queue)
