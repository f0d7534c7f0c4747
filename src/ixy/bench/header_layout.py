"""Our driver once more, with each packet's metadata in a header in front of its data.

That is how C ixy and DPDK have it. Nothing else differs from `ixy.drivers.intel.rings`: what the
two rows of `bench driver` differ by is the layout. Buffers lie 2048 bytes apart, so that headers
and data fall into four of the 64 sets of a first-level cache.
"""

import numpy as np

from ixy.bench.nic import TOUCHED, Job
from ixy.compiled import compiled
from ixy.datasheets.intel82599 import RX_DD, TX_DD, TX_PAYLEN_SHIFT, RxDescriptor, TxDescriptor
from ixy.drivers.intel.rings import CLEAN_BATCH, COMMAND, GOOD, GOOD_MASK, RxQueue, TxQueue
from ixy.memory.ordered import Word, array_at, load_acquire, lock, store_release, unlock

Packet = np.dtype(
    [
        ("address", "u8"),  # where the device finds the data
        ("pool", "u8"),
        ("index", "u4"),
        ("length", "u4"),
        ("headroom", "u1", 40),
        ("bytes", "u1", 2048 - 64),
    ],
    align=True,
)
HEADER = 64  # bytes in front of the data
HeaderPool = np.dtype(
    [("packets", "u8"), ("stack", "u8"), ("top", "u4"), ("lock", "u4"), ("count", "u4")], align=True
)


@compiled
def packets_of(pool):
    """The packets, indexed by buffer number."""
    return array_at(pool.packets, pool.count, Packet)


@compiled
def rx_batch(queue, bufs):
    """Takes up to len(bufs) packets off the ring."""
    ring = array_at(queue.ring, queue.mask + 1, RxDescriptor)
    index = np.int64(queue.index)
    if not load_acquire(ring[index], "done") & RX_DD:
        return 0
    pool = array_at(queue.pool, 1, HeaderPool)[0]
    lock(pool)
    slots = array_at(queue.bufs, queue.mask + 1, np.uint32)
    packets = packets_of(pool)
    stack = array_at(pool.stack, pool.count, np.uint32)
    mask = np.int64(queue.mask)
    top = np.uint64(pool.top)
    received = 0
    limit = min(len(bufs), np.int64(top))
    while received < limit:
        descriptor = ring[index]
        done = load_acquire(descriptor, "done")
        if done & GOOD_MASK != GOOD:
            break
        buf = slots[index]
        packets[buf].length = done >> 32
        bufs[received] = buf
        received += 1
        top -= np.uint64(1)
        new = stack[top]
        slots[index] = new
        descriptor.buffer = packets[new].address
        descriptor.header = 0
        index = (index + 1) & mask
    pool.top = top
    unlock(pool)
    queue.index = index
    store_release(array_at(queue.doorbell, 1, Word)[0], "value", (index - 1) & queue.mask)
    return received


@compiled
def tx_batch(queue, bufs):
    """Puts packets on the ring, returns how many fitted."""
    reclaim(queue)
    ring = array_at(queue.ring, queue.mask + 1, TxDescriptor)
    slots = array_at(queue.bufs, queue.mask + 1, np.uint32)
    packets = packets_of(array_at(queue.pool, 1, HeaderPool)[0])
    mask = np.int64(queue.mask)
    index = np.int64(queue.index)
    room = min(len(bufs), (np.int64(queue.clean) - index - 1) & mask)
    for i in range(room):
        buf = bufs[i]
        packet = packets[buf]
        slots[index] = buf
        descriptor = ring[index]
        descriptor.buffer = packet.address
        descriptor.command = COMMAND | packet.length
        descriptor.offload = packet.length << TX_PAYLEN_SHIFT
        index = (index + 1) & mask
    queue.index = index
    store_release(array_at(queue.doorbell, 1, Word)[0], "value", index)
    return room


@compiled
def reclaim(queue):
    """Gives the buffers of sent packets back, each to the pool that its header names."""
    ring = array_at(queue.ring, queue.mask + 1, TxDescriptor)
    slots = array_at(queue.bufs, queue.mask + 1, np.uint32)
    clean = np.int64(queue.clean)
    while (np.int64(queue.index) - clean) & queue.mask >= CLEAN_BATCH:
        if not load_acquire(ring[clean + CLEAN_BATCH - 1], "status") & TX_DD:
            break
        free_batch(array_at(queue.pool, 1, HeaderPool)[0], slots[clean : clean + CLEAN_BATCH])
        clean = (clean + CLEAN_BATCH) & queue.mask
        queue.clean = clean


@compiled
def free_batch(pool, bufs):
    """Gives buffers back."""
    lock(pool)
    stack = array_at(pool.stack, pool.count, np.uint32)
    packets = packets_of(pool)
    top = np.int64(pool.top)
    for buf in bufs:
        stack[top] = packets[buf].index
        top += 1
    pool.top = top
    unlock(pool)


def step(address):
    """Forwards a batch."""
    job = array_at(address, 1, Job)[0]
    rx = array_at(job.rx, 1, RxQueue)[0]
    tx = array_at(job.tx, 1, TxQueue)[0]
    bufs = array_at(job.bufs, job.batch, np.uint32)
    received = rx_batch(rx, bufs)
    pool = array_at(rx.pool, 1, HeaderPool)[0]
    packets = packets_of(pool)
    if job.writes:
        for buf in bufs[:received]:
            packets[buf].bytes[TOUCHED] += 1
    else:
        seen = job.seen
        for buf in bufs[:received]:
            seen += packets[buf].bytes[TOUCHED]
        job.seen = seen
    sent = tx_batch(tx, bufs[:received])
    if sent < received:
        free_batch(pool, bufs[sent:received])
