"""The 82599 transmits: frames from descriptors and their buffers to the wire (7.2)."""

import numpy as np

from ixy.compiled import apart, call, compiled, inner
from ixy.datasheets import intel82599_device as sheet
from ixy.emulator.intel82599.checksum import store_checksum, word_sum
from ixy.emulator.intel82599.offload import (
    edit_segment,
    insert_checksums,
    insert_tag,
    is_segmentable,
    lengths,
)
from ixy.emulator.intel82599.port import ALL, TX_COUNTS, Context, Port, count, translate
from ixy.emulator.intel82599.timestamps import stamp_sent
from ixy.emulator.wire.base import WireRecord
from ixy.emulator.wire.frames import SHORTEST, commit, reserve
from ixy.memory.ordered import Word, array_at, copy_bytes, load_acquire, store_release

LEAST_SENT = 14  # bytes: what has no Ethernet header is no frame
TURN = 64  # segments in a row


@inner
def transmit(port, wire, queue, burst):
    """Frames of one queue to the wire (7.2)."""
    tail = np.int64(load_acquire(array_at(queue.tail_register, 1, Word)[0], "value"))
    head = np.int64(load_acquire(array_at(queue.head_register, 1, Word)[0], "value"))
    if head < queue.size:
        queue.head = head  # a driver that rewinds a ring by a plain store is known by this alone
    sent = 0
    while queue.head != tail and tail < queue.size and sent < burst:
        segmented = queue.segmented
        head = send(port, wire, queue, tail)
        if head == queue.head:
            sent += queue.segmented != segmented
            break
        queue.head = head
        sent += 1
    if sent:
        port.raised |= queue.cause
        store_release(array_at(queue.head_register, 1, Word)[0], "value", queue.head)
    return sent


@inner
def send(port, wire, queue, tail):
    """Sends the frame that begins at the head, or takes over a context; returns the next one's
    descriptor, or the same if it must wait.
    """
    ring = array_at(queue.ring, queue.size, sheet.TxDescriptor)
    first = np.int64(ring[np.uint64(queue.head)].command)
    options = np.int64(ring[np.uint64(queue.head)].offload)
    command = first
    end = queue.head
    total = command & 0xFFFF
    is_legacy = not command & sheet.TX_DEXT
    while not command & sheet.TX_EOP and (is_legacy or command & sheet.TX_DTYP == sheet.TX_DATA):
        end = end + 1 if end + 1 < queue.size else 0
        if end == tail:
            return queue.head  # the rest of the frame has not been handed over yet
        command = np.int64(ring[np.uint64(end)].command)
        total += command & 0xFFFF
    after = end + 1 if end + 1 < queue.size else 0
    if is_legacy:
        if not apart(send_legacy, (port, wire, queue, first, options, total)):
            return queue.head
    elif command & (sheet.TX_DEXT | sheet.TX_DTYP) == sheet.TX_DEXT | sheet.TX_DATA:
        changes = first & (sheet.TX_VLE | sheet.TX_TSE) | options & (sheet.TX_IXSM | sheet.TX_TXSM)
        if changes:
            if not offload(port, first, options, total):
                return queue.head
        elif not send_as_it_is(port, wire, queue, first, total):
            return queue.head
    elif first & (sheet.TX_DEXT | sheet.TX_DTYP) == sheet.TX_DEXT | sheet.TX_CONTEXT:
        slot = array_at(queue.ring, queue.size, Context)[np.uint64(queue.head)]
        queue.contexts[np.int64(slot.sizes) >> 4 & 1] = slot
    write_back(port, queue, ring, after)
    return after


@inner
def send_as_it_is(port, wire, queue, command, total):
    """Sends a frame; returns False if it must wait. One that has no Ethernet header or is too long
    is not sent.
    """
    has_crc = not command & sheet.TX_IFCS  # the driver has put the CRC there itself
    total -= 4 if has_crc else 0
    if LEAST_SENT <= total <= sheet.LONGEST_SENT:
        size = max(total, SHORTEST) if port.pad and not has_crc else total
        target = reserve(wire.tx, size)
        if target == 0 or not gather(port, queue, target, 0, total):
            return False
        if command & sheet.TX_STAMP:
            apart(stamp_sent, (port,))
        hand_over(port, wire, target, total, size)
    return True


@compiled
def send_legacy(port, wire, queue, command, options, total):
    """Sends a frame of legacy descriptors, with the checksum and the tag for which its first one
    asks (7.2.3.2.1); returns False if it must wait. One that brings its own CRC has neither.
    """
    if not command & sheet.TX_IFCS or not command & (sheet.TX_IC | sheet.TX_VLE):
        return send_as_it_is(port, wire, queue, command & sheet.TX_IFCS, total)
    tag = 4 if command & sheet.TX_VLE else 0
    if not LEAST_SENT <= total <= sheet.LONGEST_SENT:
        return True
    target, size = take_in(port, wire, queue, total, tag)
    if target == 0:
        return False
    frame = target + np.uint64(tag)
    place, start = command >> 16 & 0xFF, options >> 8 & 0xFF  # CSO, CSS
    if command & sheet.TX_IC and start < total and place + 2 <= total:
        whole = word_sum(frame + np.uint64(start), total - start)
        store_checksum(frame + np.uint64(place), whole, np.uint64(0))
    if tag:
        insert_tag(port, target, total + tag, options >> 16)
    hand_over(port, wire, target, total + tag, size)
    return True


@inner
def take_in(port, wire, queue, total, tag):
    """Reads a frame of `total` bytes to the wire, behind room for a tag; returns where that is, 0
    if it must wait, and the size to which it is padded.
    """
    size = max(total + tag, SHORTEST) if port.pad else total + tag
    target = reserve(wire.tx, size)
    if target and not gather(port, queue, target + np.uint64(tag), 0, total):
        target = np.uint64(0)
    return target, size


@inner
def hand_over(port, wire, target, total, size):
    """Pads a frame, gives it to the wire and counts it."""
    data = array_at(target, size, np.uint8)
    for i in range(total, size):
        data[i] = 0
    commit(wire.tx, size)
    port.counts[TX_COUNTS + ALL] += np.uint64(1)
    count(port, TX_COUNTS, data, size)


@inner
def offload(port, command, options, total):
    """Calls `send_offloaded`. Returns False, too, until the model has had that compiled: it takes
    seconds, and many drivers never need it.
    """
    if port.offloader == 0:
        port.offload_wanted = 1
        return False
    port.offload.command = command
    port.offload.options = options
    port.offload.total = total
    call(port.offloader, port.here)
    return port.offload.sent != 0


def send_offloaded(address):
    """What the port at this address has in `offload`; not compiled with the rest of the path."""
    port = array_at(address, 1, Port)[0]
    wire = array_at(port.loopback if port.loopback else port.wire, 1, WireRecord)[0]
    asked = port.offload
    queue = port.tx[asked.queue]
    asked.sent = send_with_offloads(port, wire, queue, asked.command, asked.options, asked.total)


@inner
def send_with_offloads(port, wire, queue, command, options, total):
    """Sends a frame with a tag, checksums or segments of the device's making; returns False if it
    must wait. One whose context cannot be true is not sent, nor is one that brings its own CRC.
    """
    context = queue.contexts[options >> 4 & 1]
    tag = 4 if command & sheet.TX_VLE else 0
    if not command & sheet.TX_IFCS:
        return True
    if command & sheet.TX_TSE:
        return send_segments(port, wire, queue, context, options, total, tag)
    if not LEAST_SENT <= total <= sheet.LONGEST_SENT:
        return True
    target, size = take_in(port, wire, queue, total, tag)
    if target == 0:
        return False
    if insert_checksums(port, target + np.uint64(tag), total, context, options, 0):
        if tag:
            insert_tag(port, target, total + tag, np.int64(context.lengths) >> 16)
        hand_over(port, wire, target, total + tag, size)
    return True


@inner
def send_segments(port, wire, queue, context, options, total, tag):
    """Sends a frame as segments, each with the headers (7.2.4); returns False while there are more
    of them: `segmented` says how far it is. The headers are read anew for each segment.
    """
    payload = options >> sheet.TX_PAYLEN_SHIFT
    mac, ip, transport = lengths(context)
    headers = mac + ip + transport
    if not is_segmentable(context, total, payload) or queue.segmented >= payload:
        queue.segmented = 0
        return True
    for _ in range(TURN):
        done = queue.segmented
        part = min(np.int64(context.sizes) >> 16, payload - done)
        length = headers + part + tag
        size = max(length, SHORTEST) if port.pad else length
        target = reserve(wire.tx, size)
        if target == 0:
            return False
        frame = target + np.uint64(tag)
        if not gather(port, queue, frame, 0, headers):
            return False
        if not gather(port, queue, frame + np.uint64(headers), headers + done, part):
            return False
        edit_segment(port, frame, context, done, part, payload)
        # software has summed up the pseudo header without a length: that is the segment's
        insert_checksums(port, frame, headers + part, context, options, transport + part << 8)
        if tag:
            insert_tag(port, target, length, np.int64(context.lengths) >> 16)
        hand_over(port, wire, target, length, size)
        queue.segmented = done + part
        if queue.segmented == payload:
            queue.segmented = 0
            return True
    return False


@inner
def gather(port, queue, target, skip, size):
    """Reads `size` bytes of a frame, behind its first `skip`, from the buffers of its descriptors.
    After a DMA fault it stops the queue and returns False.
    """
    ring = array_at(queue.ring, queue.size, sheet.TxDescriptor)
    index = queue.head
    done = 0
    for _ in range(queue.size):  # more are none, even if the driver writes to them meanwhile
        descriptor = ring[np.uint64(index)]
        length = np.int64(descriptor.command) & 0xFFFF
        if skip < length:
            part = min(length - skip, size - done)
            source = translate(port, descriptor.buffer + np.uint64(skip), part)
            if source == 0:
                break
            copy_bytes(target + np.uint64(done), source, part)
            done += part
            if done == size:
                return True
        skip = max(skip - length, 0)
        index = index + 1 if index + 1 < queue.size else 0
    queue.size = 0
    return False


@inner
def write_back(port, queue, ring, after):
    """Marks the descriptors up to `after` as done, where the driver asked for it (7.2.3.5)."""
    index = queue.head
    while index != after:
        descriptor = ring[np.uint64(index)]
        if descriptor.command & port.reported:
            store_release(descriptor, "status", sheet.TX_DD)
        index = index + 1 if index + 1 < queue.size else 0
