"""The 82599 transmits: frames from descriptors and their buffers to the wire (7.2)."""

import numpy as np

from ixy.compiled import inner
from ixy.datasheets import intel82599_device as sheet
from ixy.emulator.intel82599.port import ALL, TX_COUNTS, count, translate
from ixy.emulator.wire.frames import LONGEST, SHORTEST, commit, reserve
from ixy.memory.ordered import Word, array_at, copy_bytes, load_acquire, store_release

LEAST_SENT = 14  # bytes: what has no Ethernet header is no frame


@inner
def transmit(port, wire, queue, burst):
    """Frames of one queue to the wire (7.2)."""
    tail = np.int64(load_acquire(array_at(queue.tail_register, 1, Word)[0], "value"))
    head = np.int64(load_acquire(array_at(queue.head_register, 1, Word)[0], "value"))
    if head < queue.size:
        queue.head = head  # a driver that rewinds a ring by a plain store is known by this alone
    sent = 0
    while queue.head != tail and tail < queue.size and sent < burst:
        head = send(port, wire, queue, tail)
        if head == queue.head:
            break
        queue.head = head
        sent += 1
    if sent:
        port.raised |= queue.cause
        store_release(array_at(queue.head_register, 1, Word)[0], "value", queue.head)
    return sent


@inner
def send(port, wire, queue, tail):
    """Sends the frame that begins at the head; returns the next one's descriptor, or the same if it
    must wait.
    """
    ring = array_at(queue.ring, queue.size, sheet.TxDescriptor)
    command = np.int64(ring[np.uint64(queue.head)].command)
    has_crc = not command & sheet.TX_IFCS  # the driver has put the CRC there itself
    end = queue.head
    total = command & 0xFFFF
    while not command & sheet.TX_EOP and command & sheet.TX_DTYP == sheet.TX_DATA:
        end = end + 1 if end + 1 < queue.size else 0
        if end == tail:
            return queue.head  # the rest of the frame has not been handed over yet
        command = np.int64(ring[np.uint64(end)].command)
        total += command & 0xFFFF
    after = end + 1 if end + 1 < queue.size else 0
    total -= 4 if has_crc else 0
    is_data = command & (sheet.TX_DEXT | sheet.TX_DTYP) == sheet.TX_DEXT | sheet.TX_DATA
    if is_data and LEAST_SENT <= total <= LONGEST:
        size = max(total, SHORTEST) if port.pad and not has_crc else total
        target = reserve(wire.tx, size)
        if target == 0:
            return queue.head
        if not gather(port, queue, ring, target, total):
            queue.size = 0  # a fault: the queue stops
            return queue.head
        data = array_at(target, size, np.uint8)
        for i in range(total, size):
            data[i] = 0
        commit(wire.tx, size)
        port.counts[TX_COUNTS + ALL] += np.uint64(1)
        count(port, TX_COUNTS, data, size)
    write_back(queue, ring, after)
    return after


@inner
def gather(port, queue, ring, target, total):
    """Reads a frame from the buffers of its descriptors; returns False after a DMA fault."""
    index = queue.head
    done = 0
    while done < total:
        descriptor = ring[np.uint64(index)]
        part = min(np.int64(descriptor.command) & 0xFFFF, total - done)
        source = translate(port, descriptor.buffer, part)
        if source == 0:
            return False
        copy_bytes(target + np.uint64(done), source, part)
        done += part
        index = index + 1 if index + 1 < queue.size else 0
    return True


@inner
def write_back(queue, ring, after):
    """Marks the descriptors up to `after` as done, where the driver asked for it (7.2.3.5)."""
    index = queue.head
    while index != after:
        descriptor = ring[np.uint64(index)]
        if descriptor.command & sheet.TX_RS:
            store_release(descriptor, "status", sheet.TX_DD)
        index = index + 1 if index + 1 < queue.size else 0
