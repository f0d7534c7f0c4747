"""Packed rings (2.8): one ring of descriptors, which both sides write.

A descriptor is available, or has been used, by two flags, whose meaning turns with each lap of the
ring. Its length, id and flags are one word, read and written at once.
"""

import numpy as np

from ixy.compiled import inner
from ixy.datasheets import virtio as sheet
from ixy.device import HOT_PATHS
from ixy.drivers.virtio.queue import COMMON, NOTHING, OFFER, PUBLISH, USED, rx_batch, tx_batch
from ixy.memory.ordered import array_at, exchange, load_acquire, store_release

RxQueue = np.dtype([*COMMON, ("packed_rx", "u1")], align=True)
TxQueue = np.dtype([*COMMON, ("packed_tx", "u1")], align=True)
DESCRIPTOR = sheet.PackedDescriptor
ID, FLAGS = 32, 48  # where they begin in a descriptor's word
DONE = sheet.PACKED_USED << FLAGS
BOTH = sheet.PACKED_AVAIL << FLAGS | DONE


@inner
def turn(position, mask):
    """The two flags of a used descriptor, in the lap in which a position is."""
    return np.uint64(0 if position & (mask + 1) else BOTH)


@inner
def used(queue, position, mask):
    """See `queue.used`."""
    ring = array_at(queue.ring, mask + 1, DESCRIPTOR)
    word = load_acquire(ring[np.uint64(position & mask)], "word")
    if word & np.uint64(BOTH) != turn(position, mask):
        return NOTHING
    return np.int64(word & np.uint64((1 << FLAGS) - 1))


@inner
def offer(queue, position, mask, number, address, length):
    """See `queue.offer`."""
    descriptor = array_at(queue.ring, mask + 1, DESCRIPTOR)[np.uint64(position & mask)]
    descriptor.address = address
    flags = np.uint64(queue.flags) << np.uint64(FLAGS) | turn(position, mask) ^ np.uint64(DONE)
    word = np.uint64(number) << np.uint64(ID) | np.uint64(length) | flags
    store_release(descriptor, "word", word)


@inner
def publish(queue):
    """See `queue.publish`. The first descriptor has told the device; but its flags must not be read
    before that is done (2.8.21.3): any exchange orders them.
    """
    exchange(queue, "seen", 0)
    theirs = array_at(queue.device, 1, sheet.EventSuppression)[0]
    return load_acquire(theirs, "flags") != sheet.EVENTS_DISABLE


for table, function in ((USED, used), (OFFER, offer), (PUBLISH, publish)):
    table |= {RxQueue: function, TxQueue: function}
HOT_PATHS |= {RxQueue: rx_batch, TxQueue: tx_batch}
