"""Split rings (2.7): a table of descriptors, a ring of the available and one of the used ones, each
written by one side only.

Indices are positions modulo 65536. Descriptors stay as they are but for addresses and, when they
send, lengths; and so does the available ring, unless the device does not keep the order.
"""

import numpy as np

from ixy.compiled import inner
from ixy.datasheets import virtio as sheet
from ixy.device import HOT_PATHS
from ixy.drivers.virtio.queue import (
    COMMON,
    NOTHING,
    OFFER,
    PUBLISH,
    TOO_MANY,
    USED,
    fail,
    rx_batch,
    tx_batch,
)
from ixy.memory.ordered import array_at, exchange, load_acquire

RxQueue = np.dtype([*COMMON, ("split_rx", "u1")], align=True)
TxQueue = np.dtype([*COMMON, ("split_tx", "u1")], align=True)
ENTRY = np.dtype([("id", "u2")])  # of the available ring
RINGS = 4  # bytes from where the available and the used ring begin to their first entries


@inner
def used(queue, position, mask):
    """See `queue.used`. The used index is read only when all that it told of has been taken."""
    if position == np.int64(queue.seen):
        index = load_acquire(array_at(queue.device, 1, sheet.RingHead)[0], "index")
        more = np.int64(index) - position & 0xFFFF
        if more > np.int64(queue.oldest) + np.int64(queue.held) - position:
            fail(queue, TOO_MANY, more)
            return NOTHING
        if more == 0:
            return NOTHING
        queue.seen = position + more
    last = mask + np.int64(queue.apart)  # a packet may have two descriptors, but one element
    elements = array_at(queue.device + np.uint64(RINGS), last + 1, sheet.Used)
    element = elements[np.uint64(position & last)]
    number = min(np.int64(load_acquire(element, "id")), 0xFFFF)  # an id that there never is
    return number << 32 | np.int64(load_acquire(element, "length"))


@inner
def offer(queue, position, mask, number, address, length):
    """See `queue.offer`. What is only read, the device's core need not fetch again."""
    apart = np.int64(queue.apart)
    last = mask + apart
    ring = array_at(queue.ring, last + 1, sheet.Descriptor)
    if apart:
        ring[number].address = address
        address += np.uint64(queue.header)
        length -= np.uint64(queue.header)
    descriptor = ring[np.uint64(number + apart)]
    descriptor.address = address
    if descriptor.length != length:
        descriptor.length = length
    if queue.shuffled:
        available = array_at(queue.driver + np.uint64(RINGS), last + 1, ENTRY)
        available[position & last].id = number


@inner
def publish(queue):
    """See `queue.publish`."""
    index = np.int64(queue.oldest) + np.int64(queue.held) & 0xFFFF
    # Not only a store: the device's flags must not be read before it is done (2.7.13.4.1)
    exchange(array_at(queue.driver, 1, sheet.RingHead)[0], "index", index)
    theirs = array_at(queue.device, 1, sheet.RingHead)[0]
    return not load_acquire(theirs, "flags") & sheet.NO_NOTIFY


for table, function in ((USED, used), (OFFER, offer), (PUBLISH, publish)):
    table |= {RxQueue: function, TxQueue: function}
HOT_PATHS |= {RxQueue: rx_batch, TxQueue: tx_batch}
