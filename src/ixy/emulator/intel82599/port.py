"""The port: the record that the 82599's model and its data path share, under its lock.

Every address that a descriptor names is translated through the table of what the driver has mapped
for DMA: anything else is a fault, recorded as an IOMMU would.
"""

import numpy as np

from ixy.compiled import call, compiled, inner
from ixy.datasheets import intel82599_device as sheet
from ixy.emulator.intel82599.messages import VECTORS
from ixy.memory.ordered import array_at

Mapping = np.dtype(
    [("iova", "u8"), ("size", "u8"), ("address", "u8")]
)  # memory that the driver mapped
Context = np.dtype(  # a transmit context descriptor (7.2.3.2.3)
    [
        ("lengths", "u4"),  # IP 8:0, MAC 15:9; VLAN tag 31:16
        ("seed", "u4"),
        ("kind", "u4"),  # type of transport 12:11, IPv4 10
        ("sizes", "u4"),  # transport header 15:8, segment 31:16
    ]
)
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
        ("untag", "u8"),  # RXDCTL.VME: VLAN tags are stripped
        ("legacy", "u8"),  # SRRCTL.DESCTYPE is 0: write-backs have the legacy format
        ("contexts", Context, 2),  # of transmission
        ("segmented", "i8"),  # bytes that have been sent of the payload at the head
        ("cause", "u8"),  # the interrupt cause that it raises (IVAR): a bit, or 0
    ]
)
Posted = np.dtype(  # the write-back of a receive descriptor
    [("descriptor", "u8"), ("first", "u8"), ("done", "u8")]
)
POSTED = 64
Offload = np.dtype(  # what `send_offloaded` is asked to do, and whether it has
    [("queue", "u8"), ("command", "i8"), ("options", "i8"), ("total", "i8"), ("sent", "u8")]
)
# Counters. Those of each direction are in the same order: all, good, octets, broadcast, multicast,
# then six by size.
RX_COUNTS, TX_COUNTS = 0, 11
ALL, GOOD, OCTETS, BROADCAST, MULTICAST, BY_SIZE = range(6)
RXMPC, RUC, ROC, QPRC, QBRC, QPRDC, XEC = range(22, 29)
COUNTERS = 29

Port = np.dtype(
    [
        ("lock", "u4"),
        ("link", "u4"),
        ("link_awaited", "u8"),  # it comes after `link_time`, and frames not before it
        ("wire", "u8"),  # its record
        ("mappings", "u8"),  # the DMA table
        ("mapped", "i8"),  # entries of it
        ("ask", "u8"),  # whom to call for more entries before an address is unknown; 0: nobody
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
        ("tag_type", "i8"),  # VLNCTRL.VET
        ("tag_filter", "u8"),  # VLNCTRL.VFE: tagged frames must be in `vfta`
        ("canonical", "i8"),  # VLNCTRL.CFI, the bit that a tag must have; -1 without CFIEN
        ("double_received", "u8"),  # CTRL_EXT.EXTENDED_VLAN: an outer tag comes first
        ("double_sent", "u8"),  # DMATXCTL.GDV
        ("outer_type", "i8"),  # EXVET
        ("tag_type_sent", "i8"),  # DMATXCTL.VT
        ("tcp_flags", "u8", 3),  # DTXTCPFLG: what the first, middle and last segments keep
        ("hash_reported", "u8"),  # RXCSUM.PCSD
        ("fragment_sums", "u8"),  # RXCSUM.IPPCSE
        ("loopback", "u8"),  # HLREG0.LPBK: the record of a wire from transmitter to receiver, or 0
        ("stations", "i8"),  # receive addresses that are valid
        ("held", "u8"),  # the frame at the wire's end has been counted, and waits for descriptors
        ("rss", "u8"),  # MRQC: what is hashed, 0 without RSS
        ("toeplitz", "u8"),  # table of the hash: u4[36][256]
        ("crc", "u8"),  # table of the CRC, u4[256]; behind it room for a frame
        ("ranges", "u8"),  # registers that are written behind the model's back: see `watch`
        ("watched", "i8"),  # how many ranges
        ("crc32c", "u8"),  # table of SCTP's CRC, u4[256]
        ("faults", "u8"),  # DMA faults so far, and the first one
        ("fault_address", "u8"),
        ("fault_size", "i8"),
        ("wrong_length", "i8"),  # planted faults: bits added to the length of what is received,
        ("wrong_address", "u8"),  # what is added to its address, and
        ("reported", "u8"),  # the command's bit that asks for a write-back, or 0 for none at all
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
        ("vfta", "u4", 128),
        ("counts", "u8", COUNTERS),
        ("posted", Posted, POSTED),  # not yet written
        ("to_post", "i8"),  # how many
        ("clock_base", "i8"),  # the system time at `clock_origin` (ns); then it grows by
        ("clock_origin", "i8"),
        ("clock_step", "i8"),  # so much every
        ("clock_period", "i8"),  # so many clocks; 0: not at all
        ("stamp_sent", "u8"),  # TSYNCTXCTL.EN: packets whose descriptor asks for it are stamped,
        ("sent_stamped", "u8"),  # if the stamp before has been read,
        ("sent_stamp", "i8"),
        ("stamp_type", "i8"),  # TSYNCRXCTL.EN: the EtherType of packets that are; -1: none
        ("stamp_message", "i8"),  # the PTP message; -1: all events
        ("came_stamped", "u8"),
        ("came_stamp", "i8"),
        ("came_sequence", "u8"),  # of the message
        ("here", "u8"),  # this record's own address
        ("offloader", "u8"),  # the entry point of `send_offloaded`, 0 until it is compiled,
        ("offload_wanted", "u8"),  # which a frame waits for
        ("offload", Offload),
        ("rx", Queue, sheet.QUEUES),
        ("tx", Queue, sheet.QUEUES),
    ],
    align=True,
)


@compiled
def translate(port, iova, size):
    """Where the driver's memory at a device address is; 0, and a recorded fault, if it mapped no
    such memory.
    """
    place = look_up(port, iova, size)
    if place == 0 and port.ask:
        call(port.ask, iova)
        place = look_up(port, iova, size)
    if place == 0:
        if port.faults == 0:
            port.fault_address = iova
            port.fault_size = size
        port.faults += np.uint64(1)
    return place


@inner
def look_up(port, iova, size):
    """Where memory at a device address is; 0 if it is not in the table."""
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
    return np.uint64(0)


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
