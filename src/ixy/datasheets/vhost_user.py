"""The vhost-user protocol, as QEMU's interface specification "Vhost-user Protocol" has it.

A front end (who has memory and a driver) and a back end (who moves the packets) exchange messages
over a Unix socket: request, flags and size, then the payload, little-endian. Descriptors travel
beside them.
"""

import struct
from enum import IntEnum, IntFlag


class Request(IntEnum):
    """What a message of the front end asks for."""

    GET_FEATURES = 1
    SET_FEATURES = 2
    SET_OWNER = 3
    SET_MEM_TABLE = 5
    SET_VRING_NUM = 8
    SET_VRING_ADDR = 9
    SET_VRING_BASE = 10
    GET_VRING_BASE = 11
    SET_VRING_KICK = 12
    SET_VRING_CALL = 13
    GET_PROTOCOL_FEATURES = 15
    SET_PROTOCOL_FEATURES = 16
    GET_QUEUE_NUM = 17
    SET_VRING_ENABLE = 18


class Protocol(IntFlag):
    """Features of the protocol itself."""

    MQ = 1 << 0
    REPLY_ACK = 1 << 3


HEADER = struct.Struct("<III")  # request, flags, size of the payload
# Flags: of what we send, and with NEED_REPLY if it is to be answered; of an answer, bits 2:0
VERSION, NEED_REPLY, REPLY, KIND = 0b0001, 0b1000, 0b101, 0b111
NUMBER = struct.Struct("<Q")
RING_STATE = struct.Struct("<II")  # index, number
# index, flags; addresses, in the front end's own space, of descriptors, of what the device writes,
# of what the driver writes, of a log
RING_ADDRESS = struct.Struct("<II4Q")
MEMORY = struct.Struct("<II")  # count, padding
# guest physical address, size, address in the front end's own space, offset in the file
REGION = struct.Struct("<4Q")
MAX_REGIONS = 8
PACKED_BASE = 0x8000_8000  # of a packed ring at its start: both wrap counters are 1
LONGEST = 4096  # bytes of a payload: far more than any has
