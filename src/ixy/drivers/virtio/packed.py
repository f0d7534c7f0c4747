"""The hot path of packed rings (2.8): one ring of descriptors, which both sides write.

A descriptor is available, or has been used, by two flags, whose meaning turns with each lap of the
ring: `turn` is what they look like on a used descriptor of the lap in which `oldest` is. A
descriptor's length, id and flags are one word, read and written at once.
"""

import numpy as np

from ixy.compiled import DEBUG, compiled
from ixy.datasheets import virtio as sheet
from ixy.device import HOT_PATHS, pool_of
from ixy.drivers.virtio.queue import (
    COMMON,
    NOT_IN_FLIGHT,
    REFILL,
    clear_header,
    fail,
    give_back,
    is_whole,
    notify,
    reorder,
)
from ixy.memory.ordered import array_at, exchange, load_acquire, lock, unlock
from ixy.memory.pool import (
    BUF_SIZE,
    free_batch,
    free_stack,
    hand_over,
    lengths,
    packet_address,
    takers,
)

RxQueue = np.dtype([*COMMON, ("turn", "u8"), ("packed_rx", "u1")], align=True)
TxQueue = np.dtype([*COMMON, ("turn", "u8"), ("packed_tx", "u1")], align=True)
ID, FLAGS = 32, 48  # where they begin in a descriptor's word
AVAILABLE, USED = sheet.PACKED_AVAIL << FLAGS, sheet.PACKED_USED << FLAGS
BOTH = AVAILABLE | USED


@compiled
def turn_of(queue, place):
    """A place counted from the beginning of the lap in which `oldest` is: its number in the ring,
    and what a descriptor looks like there when it is available.
    """
    turn = np.uint64(queue.turn)
    if place >= queue.size:
        place -= np.int64(queue.size)
        turn ^= np.uint64(BOTH)
    return place, turn ^ np.uint64(USED)


@compiled
def make_available(queue, place, word, count):
    """Lets the device have `count` more descriptors, the first of which, at `place`, is told last;
    wakes the device if it sleeps.
    """
    queue.held += np.uint32(count)
    ring = array_at(queue.ring, queue.size, sheet.PackedDescriptor)
    # Not only a store: the device's flags must not be read before it is done (2.8.21.3)
    exchange(ring[place], "word", word)
    theirs = array_at(queue.device, 1, sheet.EventSuppression)[0]
    if load_acquire(theirs, "flags") != sheet.EVENTS_DISABLE:
        notify(queue)


@compiled
def advance(queue, place, turn, count):
    """So many places, all from the oldest one, are ours again; `place` and `turn` come next."""
    queue.oldest = place
    queue.turn = turn
    queue.held -= np.uint32(count)


@compiled
def rx_batch(queue, bufs):
    """Takes up to len(bufs) packets off the ring, refills it; returns how many."""
    ring = array_at(queue.ring, queue.size, sheet.PackedDescriptor)
    full = queue.held + REFILL > queue.size
    word = load_acquire(ring[queue.oldest], "word")
    if queue.failed or (full and word & np.uint64(BOTH) != queue.turn):
        return 0  # polling an idle ring takes no lock
    lock(queue)
    received = take(queue, ring, bufs)
    while queue.held + REFILL <= queue.size and not queue.failed:
        if not refill(queue, ring):
            break
    unlock(queue)
    return received


@compiled
def take(queue, ring, bufs):
    """Takes packets off the ring."""
    pool = pool_of(queue)
    slots = array_at(queue.bufs, queue.size, np.uint32)
    ids = array_at(queue.ids, queue.size, np.uint16)
    length = lengths(pool)
    entries, header = np.int64(queue.size), np.int64(queue.header)
    held = np.int64(queue.held)
    place, turn = np.int64(queue.oldest), np.uint64(queue.turn)
    received, octets, taken = 0, 0, 0
    while taken < held and received < len(bufs):
        word = load_acquire(ring[place], "word")
        if word & np.uint64(BOTH) != turn:
            break
        used_id = (word >> np.uint64(ID)) & np.uint64(0xFFFF)
        if used_id != ids[place] and not reorder(queue, place, held - taken, used_id):
            break
        size = np.int64(word & np.uint64(0xFFFFFFFF))
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
        place += 1
        if place == entries:
            place = 0
            turn ^= np.uint64(BOTH)
    advance(queue, place, turn, taken)
    queue.packets += np.uint64(received)
    queue.octets += np.uint64(octets)
    return received


@compiled
def refill(queue, ring):
    """Puts empty buffers into the ring; returns how many the pool had."""
    pool = pool_of(queue)
    slots = array_at(queue.bufs, queue.size, np.uint32)
    ids = array_at(queue.ids, queue.size, np.uint16)
    addresses = array_at(queue.addresses, pool.first + pool.count, np.uint64)
    entries, header = np.int64(queue.size), np.uint64(queue.header)
    first, turn = turn_of(queue, np.int64(queue.oldest) + np.int64(queue.held))
    constant = np.uint64(BUF_SIZE) + header | np.uint64(sheet.DESC_WRITE << FLAGS)
    first_word = np.uint64(ids[first]) << np.uint64(ID) | constant | turn
    lock(pool)
    stack = free_stack(pool)
    top = np.int64(pool.top)
    count = min(top, REFILL)
    place = first
    for i in range(count):
        new = stack[top - 1 - i]
        if DEBUG:
            takers(pool)[new] = queue.taker
        slots[place] = new
        ring[place].address = addresses[new] - header
        if i:
            ring[place].word = np.uint64(ids[place]) << np.uint64(ID) | constant | turn
        place += 1
        if place == entries:
            place = 0
            turn ^= np.uint64(BOTH)
    pool.top = top - count
    unlock(pool)
    if count:
        make_available(queue, first, first_word, count)
    return count


@compiled
def tx_batch(queue, bufs):
    """Puts packets on the ring, returns how many fitted. Buffers of packets already sent go back to
    the pool when half of the ring is waiting, or when there are no packets to send.
    """
    if queue.failed or (len(bufs) == 0 and queue.held == 0):
        return 0
    lock(queue)
    ring = array_at(queue.ring, queue.size, sheet.PackedDescriptor)
    if len(bufs) == 0 or queue.held + len(bufs) > queue.size // 2:
        reclaim(queue, ring)
    room = min(len(bufs), np.int64(queue.size) - np.int64(queue.held))
    if room and not queue.failed:
        put(queue, ring, bufs[:room])
    else:
        room = 0
    unlock(queue)
    return room


@compiled
def put(queue, ring, bufs):
    """Puts packets on a ring that has room for them."""
    pool = pool_of(queue)
    slots = array_at(queue.bufs, queue.size, np.uint32)
    ids = array_at(queue.ids, queue.size, np.uint16)
    addresses = array_at(queue.addresses, pool.first + pool.count, np.uint64)
    length = lengths(pool)
    entries, header = np.int64(queue.size), np.uint64(queue.header)
    first, turn = turn_of(queue, np.int64(queue.oldest) + np.int64(queue.held))
    place, octets, first_word = first, 0, np.uint64(0)
    for i in range(len(bufs)):
        buf = bufs[i]
        if DEBUG:
            hand_over(pool, buf, queue.taker)
        size = np.uint64(length[buf])
        octets += np.int64(size)
        slots[place] = buf
        clear_header(packet_address(pool, buf))
        ring[place].address = addresses[buf] - header
        word = np.uint64(ids[place]) << np.uint64(ID) | size + header | turn
        if i:
            ring[place].word = word
        else:
            first_word = word
        place += 1
        if place == entries:
            place = 0
            turn ^= np.uint64(BOTH)
    queue.packets += np.uint64(len(bufs))
    queue.octets += np.uint64(octets)
    make_available(queue, first, first_word, len(bufs))


@compiled
def reclaim(queue, ring):
    """Gives the pool back the buffers of packets that have been sent."""
    entries, held = np.int64(queue.size), np.int64(queue.held)
    begin, turn = np.int64(queue.oldest), np.uint64(queue.turn)
    ids = array_at(queue.ids, queue.size, np.uint16)
    place, freed = begin, 0
    while freed < held:
        word = load_acquire(ring[place], "word")
        if word & np.uint64(BOTH) != turn:
            break
        used_id = np.int64((word >> np.uint64(ID)) & np.uint64(0xFFFF))
        step = 1
        if used_id != ids[place]:
            if not queue.in_order:
                if not reorder(queue, place, held - freed, used_id):
                    break
            else:  # 2.8.8: the last one of a batch stands for all of it
                step = used_id - place + (1 if used_id > place else 1 + entries)
                if used_id >= entries or step > held - freed:
                    fail(queue, NOT_IN_FLIGHT, used_id)
                    break
        freed += step
        place += step
        if place >= entries:
            place -= entries
            turn ^= np.uint64(BOTH)
    give_back(queue, pool_of(queue), begin, freed)
    advance(queue, place, turn, freed)


HOT_PATHS |= {RxQueue: rx_batch, TxQueue: tx_batch}
