"""The 82599's data path: frames from the wire to descriptors and back (7.1, 7.2).

A port is a record that the model (control path) and these compiled functions share, under the
port's lock. Every address that a descriptor names is translated through the table of what the
driver has mapped for DMA: anything else is a fault, recorded as an IOMMU would, and stops the
queue.
"""

import numpy as np

from ixy.compiled import JIT, call, compiled, inner
from ixy.datasheets import intel82599_device as sheet
from ixy.emulator.intel82599.classify import classify
from ixy.emulator.intel82599.messages import VECTORS, deliver_messages, raise_causes
from ixy.emulator.wire.base import WireRecord
from ixy.emulator.wire.frames import (
    LONGEST,
    SHORTEST,
    commit,
    drop,
    drop_all,
    is_full,
    peek,
    reserve,
)
from ixy.memory.ordered import (
    Word,
    array_at,
    copy_bytes,
    load_acquire,
    lock,
    store_release,
    unlock,
)
from ixy.system import back_off, nap, now

Mapping = np.dtype(
    [("iova", "u8"), ("size", "u8"), ("address", "u8")]
)  # memory that the driver mapped
Queue = np.dtype(
    [
        ("ring", "u8"),  # the descriptors, here; 0 while the queue is off
        ("size", "i8"),  # descriptors
        ("head", "i8"),
        ("tail", "i8"),  # as last read from its register
        ("head_register", "u8"),  # addresses of RDH and RDT, or TDH and TDT
        ("tail_register", "u8"),
        ("buffer", "i8"),  # bytes of a receive buffer (SRRCTL)
        ("drop", "u8"),  # SRRCTL.DROP_EN
        ("cause", "u8"),  # the interrupt cause that it raises (IVAR): a bit, or 0
    ]
)
# Counters. Those of each direction are in the same order: all, good, octets, broadcast, multicast,
# then six by size.
RX_COUNTS, TX_COUNTS = 0, 11
ALL, GOOD, OCTETS, BROADCAST, MULTICAST, BY_SIZE = range(6)
RXMPC, RUC, ROC, QPRC, QBRC, QPRDC = range(22, 28)
COUNTERS = 28

Port = np.dtype(
    [
        ("lock", "u4"),
        ("link", "u4"),
        ("wire", "u8"),  # its record
        ("mappings", "u8"),  # the DMA table
        ("mapped", "i8"),  # entries of it
        ("receiving", "u8"),  # RXCTRL.RXEN
        ("transmitting", "u8"),  # DMATXCTL.TE
        ("master", "u8"),  # PCI bus master enable, and not CTRL.GIO_DIS
        ("pad", "u8"),  # HLREG0.TXPADEN
        ("strip", "u8"),  # the CRC is stripped
        ("unicast", "u8"),  # FCTRL.UPE, MPE, BAM
        ("multicast", "u8"),
        ("broadcast", "u8"),
        ("hashed_groups", "u8"),  # MCSTCTRL.MFE
        ("group_shift", "u8"),  # of the address bits that MCSTCTRL.MO picks
        ("longest", "i8"),  # frame with CRC, without VLAN tag
        ("stations", "i8"),  # receive addresses that are valid
        ("held", "u8"),  # the frame at the wire's end has been counted, and waits for descriptors
        ("rss", "u8"),  # MRQC: what is hashed, 0 without RSS
        ("toeplitz", "u8"),  # table of the hash: u4[36][256]
        ("crc", "u8"),  # table of the CRC, u4[256]; behind it room for a frame
        ("faults", "u8"),  # DMA faults so far, and the first one
        ("fault_address", "u8"),
        ("fault_size", "i8"),
        ("raised", "u8"),  # interrupt causes of this round; the rest: see `messages`
        ("causes", "u8"),
        ("other", "u8"),
        ("enabled", "u8"),
        ("other_enabled", "u8"),
        ("pending", "u8"),
        ("single", "u8"),
        ("other_vector", "u8"),
        ("auto_clear", "u8"),
        ("auto_mask", "u8"),
        ("other_auto_mask", "u8"),
        ("interval", "i8", VECTORS),
        ("due", "i8", VECTORS),
        ("eventfd", "i8", VECTORS),
        ("one", "u8"),  # the address of a u8 of 1, which is what a write adds to an eventfd
        ("tx_active", "i8"),  # transmit queues that are on
        ("tx_queues", "u1", sheet.QUEUES),  # their numbers
        ("reta", "u1", 128),
        ("station", "u8", 128),  # their addresses
        ("groups", "u4", 128),  # MTA
        ("counts", "u8", COUNTERS),
        ("rx", Queue, sheet.QUEUES),
        ("tx", Queue, sheet.QUEUES),
    ],
    align=True,
)
RX_MISS = np.uint64(sheet.EICR.RX_MISS.mask)
LEAST_SENT = 14  # bytes: what has no Ethernet header is no frame
BURST = 64  # frames per round and direction: long enough to be fast, short enough for low latency


@compiled
def run(ports, until, burst):
    """Runs ports (their addresses, u8) until a time in ns, or until a wire needs service."""
    idle = 0
    while now() < until:
        handled = 0
        for address in ports:
            port = array_at(address, 1, Port)[0]
            handled += step(port, burst)
            if not JIT:
                nap(1)  # or nobody who waits for the port's lock would be interpreted in time
            if array_at(port.wire, 1, WireRecord)[0].service:
                return
        idle = 0 if handled else idle + 1
        if idle:
            back_off(idle)


@compiled
def step(port, burst):
    """One round of a port: up to `burst` frames per queue and direction. Returns how many there
    were.
    """
    lock(port)
    wire = array_at(port.wire, 1, WireRecord)[0]
    handled = 0
    if port.link and port.transmitting and port.master:
        for i in range(port.tx_active):
            handled += transmit(port, wire, port.tx[port.tx_queues[i]], burst)
    call(wire.pump, port.wire)
    if port.receiving and port.master:
        handled += receive(port, wire, burst)
    elif not wire.patient and is_full(wire.rx):
        wire.lost += np.uint64(drop_all(wire.rx))  # nobody listens: the other end must not wait
    if port.raised:
        raise_causes(port, port.raised, np.uint64(0))
        port.raised = 0
    if port.pending:
        deliver_messages(port)
    unlock(port)
    return handled


@compiled
def translate(port, iova, size):
    """Where the driver's memory at a device address is; 0, and a recorded fault, if it mapped no
    such memory.
    """
    mappings = array_at(port.mappings, port.mapped, Mapping)
    size = np.uint64(size)
    for i in range(port.mapped):
        mapping = mappings[i]
        if (
            mapping.iova <= iova
            and size <= mapping.size
            and iova - mapping.iova <= mapping.size - size
        ):
            return mapping.address + (iova - mapping.iova)
    if port.faults == 0:
        port.fault_address = iova
        port.fault_size = size
    port.faults += np.uint64(1)
    return np.uint64(0)


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
        info, rss, status = classify(port, frame, length)
        # what RSS does not hash goes to queue 0, whatever the table says (7.1.2.8)
        queue = port.rx[port.reta[rss & 127] if info & 15 else 0]
        if queue.ring and enough_descriptors(queue, length if port.strip else length + 4):
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
    tag = 4 if data[12] == 0x81 and data[13] == 0x00 else 0  # a VLAN tag may come on top
    if length + 4 > port.longest + tag:
        port.counts[ROC] += np.uint64(1)
        return False
    if not wanted(port, data):
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
def count(port, base, data, length):
    """Counts a good frame, its CRC included in octets and size (8.2.3.23)."""
    counts = port.counts
    one = np.uint64(1)
    counts[base + GOOD] += one
    counts[base + OCTETS] += np.uint64(length + 4)
    if data[0] & 1:
        all_ones = data[0] & data[1] & data[2] & data[3] & data[4] & data[5]
        counts[base + (BROADCAST if all_ones == 0xFF else MULTICAST)] += one
    size = length + 4
    by_size = 0
    if size > 64:
        by_size = 1 + (size > 127) + (size > 255) + (size > 511) + (size > 1023)
    counts[base + BY_SIZE + by_size] += one


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
        frame, length = with_crc(port, frame, length)
    ring = array_at(queue.ring, queue.size, sheet.RxDescriptor)
    head = queue.head
    done = 0
    while done < length:
        descriptor = ring[np.uint64(head)]  # a signed index would be tested for its sign
        part = min(length - done, queue.buffer)
        target = translate(port, descriptor.buffer, part)
        if target == 0:
            queue.ring = 0
            return
        copy_bytes(target, frame + np.uint64(done), part)
        done += part
        last = sheet.RX_EOP | status if done == length else 0
        descriptor.info = info
        descriptor.rss = rss
        store_release(descriptor, "done", sheet.RX_DD | last | part << 32)
        head = head + 1 if head + 1 < queue.size else 0
    queue.head = head
    store_release(array_at(queue.head_register, 1, Word)[0], "value", head)
    port.counts[QPRC] += np.uint64(1)
    port.counts[QBRC] += np.uint64(length)
    port.raised |= queue.cause


@inner
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


@inner
def transmit(port, wire, queue, burst):
    """Frames of one queue to the wire (7.2)."""
    tail = np.int64(load_acquire(array_at(queue.tail_register, 1, Word)[0], "value"))
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
