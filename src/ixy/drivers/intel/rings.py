"""The hot path: receive and transmit rings of the 82599 (7.1.9, 7.2.3), which the 82576 has, too.

A ring is an array of 16-byte descriptors in memory. We write descriptors and move the tail; the
device works from the head to the tail and writes back to each descriptor that it is done. We look
only at memory: reading a register, such as the head, would cost a round trip over PCI Express.
"""

import numpy as np

from ixy.compiled import DEBUG, compiled
from ixy.datasheets import intel82599 as sheet
from ixy.device import HOT_PATHS, pool_of
from ixy.memory.ordered import Word, array_at, load_acquire, lock, store_release, unlock
from ixy.memory.pool import free_batch, free_stack, hand_over, lengths, takers

# Both queues begin alike: addresses of the descriptors, of the tail register (RDT, TDT), of the
# pool, of where the device finds each buffer (u8, by buffer number) and of the buffer in each slot
# (u4); the slot that is next, the number of slots - 1, and who we are to the pool (IXY_DEBUG=1).
COMMON = [(name, "u8") for name in ("ring", "doorbell", "pool", "addresses", "bufs")]
COMMON += [(name, "u4") for name in ("index", "mask", "taker")]
# `broken`: the last descriptor held part of a packet that is not delivered; `damaged` counts those.
# `twice`: the device writes back twice, as QEMU's igb does; it is done with a slot when it goes on
RxQueue = np.dtype([*COMMON, ("broken", "u4"), ("damaged", "u8"), ("twice", "u4")], align=True)
# `clean`: the oldest slot whose buffer has not gone back to the pool; `extra`: bits of each
# packet's command besides the usual ones, such as that for a time stamp (7.2.3.2.4)
TxQueue = np.dtype([*COMMON, ("clean", "u4"), ("extra", "u4")], align=True)

CLEAN_BATCH = 32  # buffers are given back so many at a time: one look at a descriptor instead of 32
COMMAND = sheet.TX_EOP | sheet.TX_IFCS | sheet.TX_RS | sheet.TX_DEXT | sheet.TX_DATA

# What the 64-bit `done` of a good packet looks like: done, complete, undamaged, shorter than a
# buffer (length is 47:32), and not empty
GOOD_MASK = sheet.RX_DD | sheet.RX_EOP | sheet.RX_RXE | 0xF800 << 32
GOOD, LENGTH = sheet.RX_DD | sheet.RX_EOP, 0xFFFF << 32


@compiled
def rx_batch(queue, bufs):
    """Takes up to len(bufs) packets off the ring and puts an empty buffer in the place of each;
    returns how many.
    """
    ring = array_at(queue.ring, queue.mask + 1, sheet.RxDescriptor)
    index = np.int64(queue.index)
    if not load_acquire(ring[index], "done") & sheet.RX_DD:
        return 0  # polling an idle ring takes no lock
    pool = pool_of(queue)
    lock(pool)
    slots = array_at(queue.bufs, queue.mask + 1, np.uint32)
    addresses = array_at(queue.addresses, pool.first + pool.count, np.uint64)
    length = lengths(pool)
    stack = free_stack(pool)
    mask = np.int64(queue.mask)  # once: the compiler would read it again after each store
    top = np.uint64(pool.top)  # unsigned: a signed index is tested for its sign at each use
    received = 0
    limit = min(len(bufs), np.int64(top))
    if queue.twice:  # the second time may have come after our refill of the slot before: once more
        ring[(index - 1) & mask].buffer = addresses[slots[(index - 1) & mask]]
        ring[(index - 1) & mask].header = 0
    if queue.broken:
        index = skip_broken(queue, ring, slots, addresses, index)
    while received < limit:
        descriptor = ring[index]
        done = load_acquire(descriptor, "done")
        if done & GOOD_MASK != GOOD or not done & LENGTH:
            if not done & sheet.RX_DD:
                break
            index = skip_broken(queue, ring, slots, addresses, index)
            continue
        buf = slots[index]
        length[buf] = (done >> 32) & 0xFFFF
        bufs[received] = buf
        received += 1
        # the packet is the caller's now: the device gets an empty buffer in its place
        top -= np.uint64(1)
        new = stack[top]
        if DEBUG:
            takers(pool)[new] = queue.taker
        slots[index] = new
        descriptor.buffer = addresses[new]
        descriptor.header = 0  # also clears DD
        index = (index + 1) & mask
    pool.top = top
    unlock(pool)
    if index != queue.index:
        queue.index = index
        # one behind on purpose: tail == head would mean an empty ring (7.1.9)
        doorbell = array_at(queue.doorbell, 1, Word)[0]
        store_release(doorbell, "value", (index - 1) & queue.mask)
    return received


@compiled
def skip_broken(queue, ring, slots, addresses, index):
    """Gives the device back what it filled with a packet that cannot be delivered; returns the next
    slot.

    That is one with errors (delivered only with FCTRL.SBP), one that is empty or longer than a
    buffer, or one that spans descriptors: then all its parts go, up to the one with EOP, in a later
    call if that part is still to come.
    """
    while True:
        descriptor = ring[index]
        done = load_acquire(descriptor, "done")
        if not done & sheet.RX_DD:
            return index
        descriptor.buffer = addresses[slots[index]]
        descriptor.header = 0
        index = (index + 1) & queue.mask
        queue.broken = (done & sheet.RX_EOP) == 0
        if not queue.broken:
            queue.damaged += 1
            return index


@compiled
def tx_batch(queue, bufs):
    """Puts packets on the ring, returns how many fitted. Buffers of packets already sent go back to
    the pool first.
    """
    reclaim(queue)
    if len(bufs) == 0:
        return 0
    ring = array_at(queue.ring, queue.mask + 1, sheet.TxDescriptor)
    slots = array_at(queue.bufs, queue.mask + 1, np.uint32)
    pool = pool_of(queue)
    addresses = array_at(queue.addresses, pool.first + pool.count, np.uint64)
    length = lengths(pool)
    mask = np.int64(queue.mask)
    index = np.int64(queue.index)
    # a full ring keeps one slot free: tail == head would mean an empty one
    room = min(len(bufs), (np.int64(queue.clean) - index - 1) & mask)
    for i in range(room):
        buf = bufs[i]
        if DEBUG:
            hand_over(pool, buf, queue.taker)
        size = length[buf]
        slots[index] = buf
        descriptor = ring[index]
        descriptor.buffer = addresses[buf]
        descriptor.command = COMMAND | queue.extra | size
        descriptor.offload = size << sheet.TX_PAYLEN_SHIFT
        index = (index + 1) & mask
    queue.index = index
    store_release(array_at(queue.doorbell, 1, Word)[0], "value", index)
    return room


@compiled
def reclaim(queue):
    """Gives the pool back, in batches of 32, the buffers of packets that have been sent."""
    ring = array_at(queue.ring, queue.mask + 1, sheet.TxDescriptor)
    slots = array_at(queue.bufs, queue.mask + 1, np.uint32)
    clean = np.int64(queue.clean)
    while (np.int64(queue.index) - clean) & queue.mask >= CLEAN_BATCH:
        if not load_acquire(ring[clean + CLEAN_BATCH - 1], "status") & sheet.TX_DD:
            break
        free_batch(pool_of(queue), slots[clean : clean + CLEAN_BATCH])
        clean = (clean + CLEAN_BATCH) & queue.mask
        queue.clean = clean


HOT_PATHS |= {RxQueue: rx_batch, TxQueue: tx_batch}
