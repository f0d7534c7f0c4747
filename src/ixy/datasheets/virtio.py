"""Virtio's network device, as its specification has it (OASIS, version 1.3; sections are its)."""

from enum import IntEnum, IntFlag

import numpy as np

from ixy.datasheets.registers import Datasheet, Fields, bit, bits

VENDOR, NAMES = 0x1AF4, "virtio network device"
# PCI device ids (4.1.2, 4.1.2.3): a transitional device has the interface of version 0.9.5, too
MODELS = {"virtio-net": 0x1041, "virtio-net-transitional": 0x1000}


class Feature(IntFlag):
    """Feature bits of a network device (5.1.3) and of any device (6)."""

    CSUM = 1 << 0  # the device completes checksums
    GUEST_CSUM = 1 << 1  # the driver takes packets without a complete one
    MAC = 1 << 5
    MRG_RXBUF = 1 << 15  # a packet may come in several buffers
    STATUS = 1 << 16
    CTRL_VQ = 1 << 17
    CTRL_RX = 1 << 18
    CTRL_VLAN = 1 << 19
    MQ = 1 << 22
    CTRL_MAC_ADDR = 1 << 23
    ANY_LAYOUT = 1 << 27  # header and packet may be in one descriptor
    PROTOCOL_FEATURES = 1 << 30  # of vhost-user: it has features of its own
    VERSION_1 = 1 << 32
    ACCESS_PLATFORM = 1 << 33  # an IOMMU translates addresses
    RING_PACKED = 1 << 34
    IN_ORDER = 1 << 35  # buffers are used in the order in which they were made available
    ORDER_PLATFORM = 1 << 36
    SPEED_DUPLEX = 1 << 63


class DEVICE_STATUS(Fields):
    """How far the driver is with a device (2.1)."""

    WHOLE = bits(0, 7)
    ACKNOWLEDGE = bit(0)
    DRIVER = bit(1)
    DRIVER_OK = bit(2)
    FEATURES_OK = bit(3)
    NEEDS_RESET = bit(6)
    FAILED = bit(7)


STATUS_FIELDS = {"DEVICE_STATUS": DEVICE_STATUS}
# The common configuration of a modern device; its place is told by a capability
MODERN = Datasheet(
    """
    DEVICE_FEATURE_SELECT  0x00         RW - 4.1.4.3  Which half of the device's features
    DEVICE_FEATURE         0x04         RO - 4.1.4.3  Those that it offers
    DRIVER_FEATURE_SELECT  0x08         RW - 4.1.4.3  Which half of the driver's features
    DRIVER_FEATURE         0x0C         RW - 4.1.4.3  Those that it accepts
    CONFIG_MSIX_VECTOR     0x10:2       RW - 4.1.4.3  Vector of configuration changes
    NUM_QUEUES             0x12:2       RO - 4.1.4.3  Queues that there may be
    DEVICE_STATUS          0x14:1       RW - 4.1.4.3  Device Status
    CONFIG_GENERATION      0x15:1       RO - 4.1.4.3  Changes with the configuration
    QUEUE_SELECT           0x16:2       RW - 4.1.4.3  The queue that the rest is about
    QUEUE_SIZE             0x18:2       RW - 4.1.4.3  Its descriptors
    QUEUE_MSIX_VECTOR      0x1A:2       RW - 4.1.4.3  Its vector
    QUEUE_ENABLE           0x1C:2       RW - 4.1.4.3  Whether it runs
    QUEUE_NOTIFY_OFF       0x1E:2       RO - 4.1.4.3  Where it is notified
    QUEUE_DESC             0x20+4*2     RW - 4.1.4.3  Address of its descriptors
    QUEUE_DRIVER           0x28+4*2     RW - 4.1.4.3  Address of what the driver writes
    QUEUE_DEVICE           0x30+4*2     RW - 4.1.4.3  Address of what the device writes
    """,
    STATUS_FIELDS,
)
# The registers of version 0.9.5: I/O ports, in BAR 0
LEGACY = Datasheet(
    """
    DEVICE_FEATURE         0x00         RO - 4.1.4.10 Those that it offers, the first 32
    DRIVER_FEATURE         0x04         RW - 4.1.4.10 Those that the driver accepts
    QUEUE_PFN              0x08         RW - 4.1.4.10 Address of the selected queue, in pages
    QUEUE_SIZE             0x0C:2       RO - 4.1.4.10 Its descriptors: all of them must be there
    QUEUE_SELECT           0x0E:2       RW - 4.1.4.10 The queue that this is about
    QUEUE_NOTIFY           0x10:2       RW - 4.1.4.10 Notifies the queue of this number
    DEVICE_STATUS          0x12:1       RW - 4.1.4.10 Device Status
    ISR_STATUS             0x13:1       RC - 4.1.4.10 Interrupt causes
    """,
    STATUS_FIELDS,
)
LEGACY_CONFIG = 0x14  # where the device's own configuration begins: MSI-X is not enabled
LEGACY_PAGE = 4096  # bytes: the unit of QUEUE_PFN, and where the used ring begins
NO_VECTOR = 0xFFFF

CAP_VENDOR = 0x09
# A capability that tells where a structure is (4.1.4): offsets in it
CAP_TYPE, CAP_BAR, CAP_OFFSET, CAP_MULTIPLIER = 3, 4, 8, 16
COMMON_CFG, NOTIFY_CFG, DEVICE_CFG = 1, 2, 4  # types

# A network device's configuration (5.1.4): offset and size of its fields
NET_MAC, NET_STATUS, NET_PAIRS, NET_SPEED = (0, 6), (6, 2), (8, 2), (12, 4)
LINK_UP = 1

# Every packet has a header in front (5.1.6): flags, GSO type, header length, GSO size, checksum
# start, checksum offset, and then, but in version 0.9.5, how many buffers it came in
HEADER, LEGACY_HEADER = 12, 10
NEEDS_CSUM = 1  # of the flags: from `start` on, the sum is still to be put at `offset` behind it

DESC_NEXT, DESC_WRITE = 1, 2  # descriptor flags: goes on in the next; for the device to write
# Split rings (2.7)
Descriptor = np.dtype([("address", "u8"), ("length", "u4"), ("flags", "u2"), ("next", "u2")])
RingHead = np.dtype([("flags", "u2"), ("index", "u2")])  # of the available and the used ring
Used = np.dtype([("id", "u4"), ("length", "u4")])
NO_INTERRUPT = NO_NOTIFY = 1  # flags in the available and in the used ring
# Packed rings (2.8): `word` is length 31:0, id 47:32 and flags 63:48, to be read and written as one
PackedDescriptor = np.dtype([("address", "u8"), ("word", "u8")])
PACKED_AVAIL, PACKED_USED = 1 << 7, 1 << 15  # flags: equal to, or unlike, the turn of the ring
EventSuppression = np.dtype([("descriptor", "u2"), ("flags", "u2")])
EVENTS_DISABLE = 1


class Control(IntEnum):
    """Commands of the control queue: class and command as one number (5.1.6.5)."""

    PROMISCUOUS = 0x0000
    ALL_MULTICAST = 0x0001
    MAC_TABLE_SET = 0x0100
    MAC_ADDR_SET = 0x0101
    VLAN_ADD = 0x0200
    VLAN_DEL = 0x0201
    PAIRS_SET = 0x0400


CONTROL_OK = 0
