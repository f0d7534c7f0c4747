"""The 82599 receives: frames from the wire to descriptors and their buffers (7.1)."""

import numpy as np

from ixy.compiled import apart, compiled, inner
from ixy.datasheets import intel82599_device as sheet
from ixy.emulator.intel82599.checksum import read16
from ixy.emulator.intel82599.classify import classify, tag_at
from ixy.emulator.intel82599.messages import raise_causes
from ixy.emulator.intel82599.port import (
    ALL,
    POSTED,
    QBRC,
    QPRC,
    QPRDC,
    ROC,
    RUC,
    RX_COUNTS,
    RXMPC,
    XEC,
    count,
    translate,
)
from ixy.emulator.intel82599.timestamps import stamp_received
from ixy.emulator.intel82599.verify import fragment, verify
from ixy.emulator.wire.frames import SHORTEST, drop, is_full, peek
from ixy.memory.ordered import Word, array_at, copy_bytes, load_acquire, store_release

DESCRIPTOR = np.uint64(sheet.RxDescriptor.itemsize)
BYTE = np.uint64(0xFF)
RX_MISS = np.uint64(sheet.EICR.RX_MISS.mask)


@inner
def receive(port, wire, burst):
    """Frames from the wire: filter, choose a queue, write to memory (7.1.1, 7.1.2)."""
    handled = 0
    while handled < burst:
        frame, length = peek(wire.rx)
        if length == 0:
            break
        if not port.held and not admit(port, frame, length):
            drop(wire.rx, length)
            handled += 1
            continue
        info, rss, status, ip, transport, protocol = classify(port, frame, length)
        # what RSS does not hash goes to queue 0, whatever the table says (7.1.2.8)
        queue = port.rx[port.reta[rss & 127] if info & 15 else 0]
        added = (0 if port.strip else 4) - (4 if status & sheet.RX_VP and queue.untag else 0)
        if queue.ring and enough_descriptors(queue, length + added):
            if info:
                status |= verify(port, frame, length, info, ip, transport, protocol)
                if status & (sheet.RX_IPE | sheet.RX_TCPE):
                    port.counts[XEC] += np.uint64(1)
            if port.stamp_type >= 0:
                status |= apart(stamp_received, (port, frame, length))
            if not port.hash_reported:
                rss, valid = fragment(port, frame, length, info, ip, transport)
                status |= valid
            deliver(port, queue, frame, length, info, rss, status)
        elif queue.ring == 0 or queue.drop:
            port.counts[QPRDC] += np.uint64(1)
        elif not wire.patient and is_full(wire.rx):
            # the packet buffer is full (7.1.9 with DROP_EN clear)
            port.counts[RXMPC] += np.uint64(1)
            raise_causes(port, np.uint64(0), RX_MISS)
        else:
            port.held = 1  # waits in the packet buffer, and all others behind it
            break
        port.held = 0
        drop(wire.rx, length)
        handled += 1
    write_back(port)
    return handled


@inner
def admit(port, frame, length):
    """Counts a frame and decides whether it is received: length, then address (8.2.3.22.13,
    7.1.1.1).
    """
    port.counts[RX_COUNTS + ALL] += np.uint64(1)
    if length < SHORTEST:
        port.counts[RUC] += np.uint64(1)
        return False
    data = array_at(frame, length, np.uint8)
    if length + 4 > port.longest and length + 4 > port.longest + allowance(port, data):
        port.counts[ROC] += np.uint64(1)
        return False
    if not wanted(port, data) or (port.tag_filter and not is_member(port, data)):
        return False
    count(port, RX_COUNTS, data, length)
    return True


@inner
def wanted(port, data):
    """The address filter of 7.1.1.1."""
    if not data[0] & 1:
        if port.unicast:
            return True
    elif port.multicast:
        return True
    address = np.uint64(0)
    for i in range(6):
        address |= np.uint64(data[i]) << np.uint64(8 * i)
    if address == np.uint64(0xFFFFFFFFFFFF):
        return port.broadcast != 0
    for i in range(port.stations):
        if port.station[i] == address:
            return True
    if data[0] & 1 and port.hashed_groups:
        bits = np.int64(address >> port.group_shift) & 0xFFF
        return (port.groups[bits >> 5] >> (bits & 31)) & 1 != 0
    return False


@inner
def allowance(port, data):
    """The bytes by which VLAN tags let a frame be longer (8.2.3.22.13)."""
    if port.double_received:
        return 8
    return 4 if tag_at(port, data) else 0


@inner
def is_member(port, data):
    """The VLAN filter of 7.1.1.2: frames without a tag pass."""
    tag = tag_at(port, data)
    if tag == 0:
        return True
    word = read16(data, tag + 2)
    if port.canonical >= 0 and word >> 12 & 1 != port.canonical:
        return False
    return (port.vfta[word >> 5 & 127] >> (word & 31)) & 1 != 0


@inner
def enough_descriptors(queue, length):
    """Whether a receive queue has descriptors for so many bytes. A tail beyond the ring
    offers none.
    """
    needed = 1 if length <= queue.buffer else (length + queue.buffer - 1) // queue.buffer
    free = queue.tail - queue.head
    if (free if free >= 0 else free + queue.size) < needed:
        queue.tail = load_acquire(array_at(queue.tail_register, 1, Word)[0], "value")
        free = queue.tail - queue.head
    return queue.tail < queue.size and (free if free >= 0 else free + queue.size) >= needed


@inner
def deliver(port, queue, frame, length, info, rss, status):
    """Writes a frame to the buffers of as many descriptors as it takes, and writes these back
    (7.1.6.2).
    """
    if not port.strip:
        frame, length = apart(with_crc, (port, frame, length))
    posted = length  # counts include the tag
    tag = np.uint64(0)
    if status & sheet.RX_VP and queue.untag:
        tag = apart(without_tag, (port, frame, length))
        frame += np.uint64(4)
        length -= 4
    ring = array_at(queue.ring, queue.size, sheet.RxDescriptor)
    head = queue.head
    done = 0
    while done < length:
        descriptor = ring[np.uint64(head)]  # a signed index would be tested for its sign
        part = min(length - done, queue.buffer)
        target = translate(port, descriptor.buffer + port.wrong_address, part)
        if target == 0:
            queue.ring = 0
            return
        copy_bytes(target, frame + np.uint64(done), part)
        done += part
        last = np.uint64(0)
        if done == length:
            last = np.uint64(sheet.RX_EOP | status) | tag << np.uint64(48)
        word = np.uint64(sheet.RX_DD | (part | port.wrong_length) << 32) | last
        place = queue.ring + np.uint64(head) * DESCRIPTOR
        if queue.legacy:
            post(port, place, descriptor.buffer, legacy_form(word))
        else:
            post(port, place, np.uint64(info) | np.uint64(rss) << np.uint64(32), word)
        head = head + 1 if head + 1 < queue.size else 0
    queue.head = head
    store_release(array_at(queue.head_register, 1, Word)[0], "value", head)
    port.counts[QPRC] += np.uint64(1)
    port.counts[QBRC] += np.uint64(posted)
    port.raised |= queue.cause


@inner
def legacy_form(word):
    """Length, status, errors and tag of an advanced write-back, as a legacy one has them (7.1.5);
    it reports no checksum.
    """
    status, errors = word & BYTE, word >> np.uint64(24) & BYTE
    rest = word >> np.uint64(32) & np.uint64(0xFFFF) | word & np.uint64(0xFFFF << 48)
    return rest | status << np.uint64(32) | errors << np.uint64(40)


@inner
def post(port, descriptor, first, done):
    """Remembers a descriptor's two words for `write_back`."""
    if port.to_post == POSTED:
        write_back(port)
    entry = port.posted[np.uint64(port.to_post)]
    entry.descriptor = descriptor
    entry.first = first
    entry.done = done
    port.to_post += 1


@inner
def write_back(port):
    """Writes descriptors back, a burst at once as hardware does (7.1.8): a driver that polls on
    another core takes a whole cache line of them, not the same line again for each.
    """
    for i in range(port.to_post):
        entry = port.posted[np.uint64(i)]
        descriptor = array_at(entry.descriptor, 1, sheet.RxDescriptor)[0]
        descriptor.buffer = entry.first
        store_release(descriptor, "done", entry.done)
    port.to_post = 0


@compiled
def without_tag(port, frame, length):
    """Moves what is in front of a frame's VLAN tag over it; returns the tag (7.4.2)."""
    data = array_at(frame, length, np.uint8)
    at = tag_at(port, data)
    tag = np.uint64(read16(data, at + 2))
    for i in range(at):
        data[at + 3 - i] = data[at - 1 - i]
    return tag


@compiled
def with_crc(port, frame, length):
    """A copy of a frame with its CRC behind it (IEEE 802.3, 3.2.9)."""
    table = array_at(port.crc, 256, np.uint32)
    copy = port.crc + np.uint64(1024)
    copy_bytes(copy, frame, length)
    data = array_at(copy, length + 4, np.uint8)
    crc = np.uint32(0xFFFFFFFF)
    for i in range(length):
        crc = table[(crc ^ data[i]) & 0xFF] ^ crc >> np.uint32(8)
    for i in range(4):
        data[length + i] = (~crc >> np.uint32(8 * i)) & 0xFF
    return copy, length + 4
