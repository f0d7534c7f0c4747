"""The rest of the 82599's datasheet: what a device must have although our driver does not use it.

This module has all names of `intel82599`, and WHOLE is the sheet with the registers of both.
"""

from ixy.datasheets.intel82599 import *  # noqa: F403
from ixy.datasheets.intel82599 import INTEL82599
from ixy.datasheets.registers import Fields, bit, bits


class EICR(Fields):
    """RTXQ: queues, or the first 16 MSI-X vectors. Packets missed, link status changed."""

    RTXQ, RX_MISS, LSC, TCP_TIMER = bits(0, 15), bit(17), bit(20), bit(30)


class GPIE(Fields):
    """A vector per cause instead of one for all; reading EICR clears no queue's cause; a cause that
    software sets is not throttled; EIAM masks when a message goes out, not when EICR is read.
    """

    MULTIPLE_MSIX, OCD, EIMEN, EIAME = bit(4), bit(5), bit(6), bit(30)


class EITR(Fields):
    """INTERVAL between messages in 2.048 us; what is left of it, unless CNT_WDIS is written."""

    INTERVAL, COUNTER, CNT_WDIS = bits(3, 11), bits(21, 27), bit(31)


class IVAR_MISC(Fields):
    """The vector of the TCP timer, and that of all other causes that are no queue's."""

    TCP, TCP_VALID, OTHER, OTHER_VALID = bits(0, 6), bit(7), bits(8, 14), bit(15)


class EERD(Fields):
    """Write START and the address of a word, wait for DONE."""

    START, DONE, ADDR, DATA = bit(0), bit(1), bits(2, 15), bits(16, 31)


class SWSM(Fields):
    """Reading sets SMBI: who reads it as 0 has the semaphore."""

    SMBI, SWESMBI = bit(0), bit(1)


class MCSTCTRL(Fields):
    """MO: which 12 bits of a group address index the table, if MFE is set."""

    MO, MFE = bits(0, 1), bit(2)


WHOLE = INTEL82599.with_rows(
    """
    EICS        0x00808 WO - 8.2.3.5.2 Extended Interrupt Cause Set
    EIMS        0x00880 W1S - 8.2.3.5.3 Extended Interrupt Mask Set
    EIAC        0x00810 RW - 8.2.3.5.5 Extended Interrupt Auto Clear
    EIAM        0x00890 RW - 8.2.3.5.6 Extended Interrupt Auto Mask Enable
    EICS_EX     0x00A90+4*2 WO - 8.2.3.5.7 Extended Interrupt Cause Set, MSI-X vectors 0-63
    EIMS_EX     0x00AA0+4*2 W1S - 8.2.3.5.8 Extended Interrupt Mask Set, MSI-X vectors 0-63
    EIMC_EX     0x00AB0+4*2 WO - 8.2.3.5.9 Extended Interrupt Mask Clear, MSI-X vectors 0-63
    EIAM_EX     0x00AD0+4*2 RW - 8.2.3.5.10 Extended Interrupt Auto Mask, MSI-X vectors 0-63
    EITRSEL     0x00894 RW - 8.2.3.5.11 MSI-X to EITR Select
    EITR        0x00820+4*24,0x12300+4*104 RW - 8.2.3.5.12 Extended Interrupt Throttle
    IVAR        0x00900+4*64 RW - 8.2.3.5.16 Interrupt Vector Allocation: bytes rx, tx, rx, tx
    IVAR_MISC   0x00A00 RW - 8.2.3.5.17 Miscellaneous Interrupt Vector Allocation
    GPIE        0x00898 RW - 8.2.3.5.18 General Purpose Interrupt Enable
    RDH         0x01010+40*64,0x0D010+40*64 RO - 8.2.3.8.4 Receive Descriptor Head
    MCSTCTRL    0x05090 RW - 8.2.3.7.3 Multicast Control
    MTA         0x05200+4*128 RW - 8.2.3.7.7 Multicast Table Array
    TDH         0x06010+40*128 RO - 8.2.3.9.8 Transmit Descriptor Head
    PRC         0x0405C+4*6 RC - 8.2.3.23.18 Packets Received by Size: 64, to 127, ...
    BPRC        0x04078 RC - 8.2.3.23.24 Broadcast Packets Received Count
    MPRC        0x0407C RC - 8.2.3.23.25 Multicast Packets Received Count
    GPRC        0x04074 RC - 8.2.3.23.26 Good Packets Received Count
    GORCL       0x04088 RC - 8.2.3.23.27 Good Octets Received Count Low
    GORCH       0x0408C RC - 8.2.3.23.28 Good Octets Received Count High
    TPR         0x040D0 RC - 8.2.3.23.59 Total Packets Received
    TPT         0x040D4 RC - 8.2.3.23.60 Total Packets Transmitted
    PTC         0x040D8+4*6 RC - 8.2.3.23.61 Packets Transmitted by Size: 64, to 127, ...
    MPTC        0x040F0 RC - 8.2.3.23.67 Multicast Packets Transmitted Count
    BPTC        0x040F4 RC - 8.2.3.23.68 Broadcast Packets Transmitted Count
    EERD        0x10014 RW - 8.2.3.2.2 EEPROM Read
    SWSM        0x10140 RW - 8.2.3.4.9 Software Semaphore
    FWSM        0x10148 RO - 8.2.3.4.10 Firmware Semaphore
    SW_FW_SYNC  0x10160 RW - 8.2.3.4.11 Software-Firmware Synchronization
    """,
    globals(),
)

# Of a receive descriptor's status: VLAN tag seen, not sent to one station (7.1.6.2)
RX_VP, RX_PIF = 1 << 3, 1 << 7
TX_DTYP = 15 << 20  # a transmit descriptor's type

# Packet types of a receive descriptor's info word, bits 15:4, here in place (7.1.6.2)
PTYPE_IPV4, PTYPE_IPV4_OPTIONS, PTYPE_IPV6 = 1 << 4, 1 << 5, 1 << 6
PTYPE_TCP, PTYPE_UDP, PTYPE_SCTP = 1 << 8, 1 << 9, 1 << 10
# RSS types of bits 3:0: what was hashed (7.1.6.2)
RSS_TCP_IPV4, RSS_IPV4, RSS_TCP_IPV6, RSS_IPV6, RSS_UDP_IPV4, RSS_UDP_IPV6 = 1, 2, 3, 5, 7, 8
