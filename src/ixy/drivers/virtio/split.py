"""The hot path of split rings (2.7): a table of descriptors, a ring of those that are available,
and a ring of those that have been used, each written by one side only.

Indices count upwards, modulo 65536, and are the same in all three: the place of an index is its
remainder. Descriptors stay as they are but for the buffer's address, and so does the available
ring, unless the device does not keep the order.
"""

import numpy as np

from ixy.compiled import DEBUG, compiled
from ixy.datasheets import virtio as sheet
from ixy.device import HOT_PATHS, pool_of
from ixy.drivers.virtio.queue import (
    COMMON,
    REFILL,
    TOO_MANY,
    clear_header,
    fail,
    give_back,
    is_whole,
    notify,
    reorder,
)
from ixy.memory.ordered import array_at, exchange, load_acquire, lock, unlock
from ixy.memory.pool import free_batch, free_stack, hand_over, lengths, packet_address, takers

RxQueue = np.dtype([*COMMON, ("split_rx", "u1")], align=True)
TxQueue = np.dtype([*COMMON, ("split_tx", "u1")], align=True)
ENTRY = np.dtype([("id", "u2")])  # of the available ring
RINGS = 4  # bytes from where the available and the used ring begin to their first entries


@compiled
def used_by_device(queue):
    """How many buffers the device has used that we have not taken yet."""
    index = load_acquire(array_at(queue.device, 1, sheet.RingHead)[0], "index")
    return (np.int64(index) - np.int64(queue.oldest)) & 0xFFFF


@compiled
def make_available(queue, count):
    """Lets the device have `count` more places, and wakes it if it sleeps."""
    queue.held += np.uint32(count)
    ours = array_at(queue.driver, 1, sheet.RingHead)[0]
    # Not only a store: the device's flags must not be read before it is done (2.7.13.4.1)
    exchange(ours, "index", (np.int64(queue.oldest) + np.int64(queue.held)) & 0xFFFF)
    theirs = array_at(queue.device, 1, sheet.RingHead)[0]
    if not load_acquire(theirs, "flags") & sheet.NO_NOTIFY:
        notify(queue)


@compiled
def rx_batch(queue, bufs):
    """Takes up to len(bufs) packets off the ring, refills it; returns how many."""
    full = queue.held + REFILL > queue.size
    if queue.failed or (full and not used_by_device(queue)):
        return 0  # polling an idle ring takes no lock
    lock(queue)
    received = take(queue, bufs)
    while queue.held + REFILL <= queue.size and not queue.failed:
        if not refill(queue):
            break
    unlock(queue)
    return received


@compiled
def take(queue, bufs):
    """Takes packets off the ring."""
    used = used_by_device(queue)
    if used > queue.held:
        fail(queue, TOO_MANY, used)
        return 0
    pool = pool_of(queue)
    elements = array_at(queue.device + np.uint64(RINGS), queue.entries, sheet.Used)
    slots = array_at(queue.bufs, queue.size, np.uint32)
    ids = array_at(queue.ids, queue.size, np.uint16)
    length = lengths(pool)
    last, header = np.int64(queue.entries) - 1, np.int64(queue.header)
    first = np.int64(queue.oldest)
    received, octets, taken = 0, 0, 0
    while taken < used and received < len(bufs):
        element = elements[(first + taken) & last]
        place = (first + taken) & (np.int64(queue.size) - 1)
        used_id = load_acquire(element, "id")
        if used_id != ids[place] and not reorder(queue, place, queue.held - taken, used_id):
            break
        size = np.int64(load_acquire(element, "length"))
        buf = slots[place]
        bufs[received] = buf
        if is_whole(queue, pool, buf, size):
            length[buf] = size - header
            octets += size - header
            received += 1
        elif queue.failed:
            break
        else:
            free_batch(pool, bufs[received : received + 1])
        taken += 1
    queue.oldest = (first + taken) & 0xFFFF
    queue.held -= np.uint32(taken)
    queue.packets += np.uint64(received)
    queue.octets += np.uint64(octets)
    return received


@compiled
def refill(queue):
    """Puts empty buffers into the ring; returns how many the pool had."""
    pool = pool_of(queue)
    ring = array_at(queue.ring, queue.entries, sheet.Descriptor)
    slots = array_at(queue.bufs, queue.size, np.uint32)
    ids = array_at(queue.ids, queue.size, np.uint16)
    addresses = array_at(queue.addresses, pool.first + pool.count, np.uint64)
    header, apart = np.uint64(queue.header), np.int64(queue.apart)
    begin = np.int64(queue.oldest) + np.int64(queue.held)
    lock(pool)
    stack = free_stack(pool)
    top = np.int64(pool.top)
    count = min(top, REFILL)
    for i in range(count):
        place = (begin + i) & (np.int64(queue.size) - 1)
        new = stack[top - 1 - i]
        if DEBUG:
            takers(pool)[new] = queue.taker
        slots[place] = new
        descriptor = ring[ids[place]]
        descriptor.address = addresses[new] - header
        if apart:
            ring[ids[place] + apart].address = addresses[new]
        if queue.shuffled:
            say_available(queue, begin + i, ids[place])
    pool.top = top - count
    unlock(pool)
    if count:
        make_available(queue, count)
    return count


@compiled
def say_available(queue, index, number):
    """An entry of the available ring, where it is not what it was the last time."""
    entries = array_at(queue.driver + np.uint64(RINGS), queue.entries, ENTRY)
    entries[index & (np.int64(queue.entries) - 1)].id = number


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
    if room and not queue.failed:
        put(queue, bufs[:room])
    else:
        room = 0
    unlock(queue)
    return room


@compiled
def put(queue, bufs):
    """Puts packets on a ring that has room for them."""
    pool = pool_of(queue)
    ring = array_at(queue.ring, queue.entries, sheet.Descriptor)
    slots = array_at(queue.bufs, queue.size, np.uint32)
    ids = array_at(queue.ids, queue.size, np.uint16)
    addresses = array_at(queue.addresses, pool.first + pool.count, np.uint64)
    length = lengths(pool)
    header, apart = np.uint64(queue.header), np.int64(queue.apart)
    begin = np.int64(queue.oldest) + np.int64(queue.held)
    octets = 0
    for i in range(len(bufs)):
        buf = bufs[i]
        if DEBUG:
            hand_over(pool, buf, queue.taker)
        size = length[buf]
        octets += size
        place = (begin + i) & (np.int64(queue.size) - 1)
        slots[place] = buf
        clear_header(packet_address(pool, buf))
        descriptor = ring[ids[place]]
        descriptor.address = addresses[buf] - header
        if apart:
            descriptor = ring[ids[place] + apart]
            descriptor.address = addresses[buf]
            descriptor.length = size
        else:
            descriptor.length = size + np.uint32(header)
        if queue.shuffled:
            say_available(queue, begin + i, ids[place])
    queue.packets += np.uint64(len(bufs))
    queue.octets += np.uint64(octets)
    make_available(queue, len(bufs))


@compiled
def reclaim(queue):
    """Gives the pool back the buffers of packets that have been sent."""
    used = used_by_device(queue)
    if used > queue.held:
        fail(queue, TOO_MANY, used)
        return
    place = np.int64(queue.oldest) & (np.int64(queue.size) - 1)
    freed = used if queue.in_order else check_sent(queue, used)  # 2.7.14: not all have an element
    give_back(queue, pool_of(queue), place, freed)
    queue.oldest = (np.int64(queue.oldest) + freed) & 0xFFFF
    queue.held -= np.uint32(freed)


@compiled
def check_sent(queue, used):
    """How many of the next `used` elements are of packets that the device had."""
    elements = array_at(queue.device + np.uint64(RINGS), queue.entries, sheet.Used)
    ids = array_at(queue.ids, queue.size, np.uint16)
    last = np.int64(queue.entries) - 1
    for i in range(used):
        index = np.int64(queue.oldest) + i
        place = index & (np.int64(queue.size) - 1)
        used_id = load_acquire(elements[index & last], "id")
        if used_id != ids[place] and not reorder(queue, place, queue.held - i, used_id):
            return i
    return used


HOT_PATHS |= {RxQueue: rx_batch, TxQueue: tx_batch}
