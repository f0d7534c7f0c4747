"""The Intel 82599 10 GbE controller's datasheet (revision 3.3), as far as driver and emulator use
it.

X540 and X550 keep these registers at these places.
"""

import numpy as np

from ixy.datasheets.registers import Datasheet, Fields, bit, bits

VENDOR = 0x8086
MODELS = {  # PCI device ids of the families that share this programming interface, by name
    "82599": 0x10FB, "82599-kx4": 0x10F7, "82599-kr": 0x1517, "82599-t3": 0x151C,
    "82599-backplane": 0x10F8, "82599-en-sfp": 0x1557,
    "x540": 0x1528, "x540-t1": 0x1560, "x550": 0x1563, "x550-t1": 0x15D1,
    "x550em-kx4": 0x15AA, "x550em-kr": 0x15AB, "x550em-sfp": 0x15AC, "x550em-10g-t": 0x15AD,
    "x550em-1g-t": 0x15AE,
}  # fmt: skip
REGISTER_SPACE = 128 * 1024  # bytes of BAR 0
QUEUES = 64  # queue pairs used here; the device has 128
RSS_QUEUES = 16  # a redirection table entry has 4 bits (8.2.3.7.15)
RING_SIZES = range(
    64, 4097
)  # a power of two of descriptors; RDLEN and TDLEN are multiples of 128 bytes


class CTRL(Fields):
    """Device control."""

    GIO_DIS = bit(2)  # no more requests on PCI Express (5.2.5.3.2)
    LNK_RST = bit(3)
    RST = bit(26)


class STATUS(Fields):
    """Device status."""

    LAN_ID = bits(2, 3)
    GIO = bit(19)  # requests on PCI Express are enabled or still outstanding


class CTRL_EXT(Fields):
    """Extended device control."""

    NS_DIS = bit(16)  # no snoop
    RO_DIS = bit(17)  # relaxed ordering
    DRV_LOAD = bit(28)


class EEC(Fields):
    """EEPROM and flash control."""

    PRES = bit(8)
    ARD = bit(9)  # automatic read done
    SIZE = bits(11, 14)


class EERD(Fields):
    """EEPROM read: write START and the address, wait for DONE."""

    START = bit(0)
    DONE = bit(1)
    ADDR = bits(2, 15)
    DATA = bits(16, 31)


class SWSM(Fields):
    """Software semaphore."""

    SMBI = bit(0)  # reading sets it: who reads 0 has it
    SWESMBI = bit(1)


class RDRXCTL(Fields):
    """Receive DMA control."""

    CRCSTRIP = bit(1)
    DMAIDONE = bit(3)  # DMA initialization done
    RSCFRSTSIZE = bits(17, 21)  # software writes 0 here,
    RSCACKC = bit(25)  # and 1 to these two (4.6.7)
    FCOE_WRFIX = bit(26)


class RXCTRL(Fields):
    """Receive control."""

    RXEN = bit(0)


class RXDCTL(Fields):
    """Receive descriptor control; X540 and later also limit the packet's length here."""

    ENABLE = bit(25)  # reads back as set once the queue runs
    VME = bit(30)


class SRRCTL(Fields):
    """Split receive control."""

    BSIZEPACKET = bits(0, 4)  # KiB per packet buffer
    BSIZEHEADER = bits(8, 13)
    DESCTYPE = bits(25, 27)  # 1: advanced, one buffer
    DROP_EN = bit(28)  # packets without a descriptor are dropped at once


class DCA_RXCTRL(Fields):
    """Receive DCA control."""

    BIT12 = bit(12)  # reserved: set by a reset, must be cleared


class RXPBSIZE(Fields):
    """Receive packet buffer size."""

    SIZE = bits(10, 19)  # KiB


class TXPBSIZE(Fields):
    """Transmit packet buffer size."""

    SIZE = bits(10, 19)


class TXPBTHRESH(Fields):
    """Transmit packet buffer threshold."""

    THRESH = bits(0, 9)  # KiB


class HLREG0(Fields):
    """MAC core control."""

    TXCRCEN = bit(0)
    RXCRCSTRP = bit(1)
    JUMBOEN = bit(2)
    TXPADEN = bit(10)
    LPBK = bit(15)


class MAXFRS(Fields):
    """Maximum frame size, CRC included."""

    MFS = bits(16, 31)  # heeded with HLREG0.JUMBOEN; without it the limit is 1518


class AUTOC(Fields):
    """Auto-negotiation control."""

    AN_RESTART = bit(12)
    LMS = bits(13, 15)  # 3: 10 Gbit/s serial


class LINKS(Fields):
    """Link status."""

    SPEED = bits(28, 29)  # 1: 100 Mbit/s, 2: 1 Gbit/s, 3: 10 Gbit/s
    UP = bit(30)


class RTTDCS(Fields):
    """DCB transmit descriptor plane control."""

    ARBDIS = bit(6)


class DMATXCTL(Fields):
    """DMA transmit control."""

    TE = bit(0)


class FCTRL(Fields):
    """Filter control."""

    SBP = bit(1)  # store bad packets
    MPE = bit(8)  # accept all multicast
    UPE = bit(9)  # accept all unicast
    BAM = bit(10)  # accept broadcast


class MCSTCTRL(Fields):
    """Multicast control."""

    MO = bits(0, 1)  # which 12 bits of the address index the table
    MFE = bit(2)


class RAH(Fields):
    """Receive address, bytes 4 and 5."""

    HIGH = bits(0, 15)
    AV = bit(31)  # address valid


class MRQC(Fields):
    """Multiple receive queues command."""

    MRQE = bits(0, 3)  # 1: RSS
    TCP_IPV4 = bit(16)
    IPV4 = bit(17)
    IPV6 = bit(20)
    TCP_IPV6 = bit(21)
    UDP_IPV4 = bit(22)
    UDP_IPV6 = bit(23)


class TXDCTL(Fields):
    """Transmit descriptor control."""

    PTHRESH = bits(0, 6)  # prefetch below so many descriptors on the chip,
    HTHRESH = bits(8, 14)  # when so many are waiting in memory
    WTHRESH = bits(16, 22)  # write back so many at once
    ENABLE = bit(25)


INTEL82599 = Datasheet(
    """
    CTRL        0x00000,~0x00004 RW - 8.2.3.1.1 Device Control
    STATUS      0x00008 RO 0x00080000 8.2.3.1.2 Device Status
    CTRL_EXT    0x00018 RW - 8.2.3.1.3 Extended Device Control
    EICR        0x00800 RC - 8.2.3.5.1 Extended Interrupt Cause
    EICS        0x00808 WO - 8.2.3.5.2 Extended Interrupt Cause Set
    EIMS        0x00880 W1S - 8.2.3.5.3 Extended Interrupt Mask Set
    EIMC        0x00888 WO - 8.2.3.5.4 Extended Interrupt Mask Clear
    RDBAL       0x01000+40*64,0x0D000+40*64 RW - 8.2.3.8.1 Receive Descriptor Base Address Low
    RDBAH       0x01004+40*64,0x0D004+40*64 RW - 8.2.3.8.2 Receive Descriptor Base Address High
    RDLEN       0x01008+40*64,0x0D008+40*64 RW - 8.2.3.8.3 Receive Descriptor Length
    RDH         0x01010+40*64,0x0D010+40*64 RO - 8.2.3.8.4 Receive Descriptor Head
    RDT         0x01018+40*64,0x0D018+40*64 RW - 8.2.3.8.5 Receive Descriptor Tail
    RXDCTL      0x01028+40*64,0x0D028+40*64 RW - 8.2.3.8.6 Receive Descriptor Control
    SRRCTL      0x01014+40*64,0x0D014+40*64,~0x02100+4*16 RW 0x00000402 8.2.3.8.7 Split Receive Control
    RDRXCTL     0x02F00 RW 0x00100008 8.2.3.8.8 Receive DMA Control
    RXPBSIZE    0x03C00+4*8 RW 0x00080000 8.2.3.8.9 Receive Packet Buffer Size
    RXCTRL      0x03000 RW - 8.2.3.8.10 Receive Control
    DCA_RXCTRL  0x0100C+40*64,0x0D00C+40*64,~0x02200+4*16 RW 0x0000B200 8.2.3.11.1 Receive DCA Control
    FCTRL       0x05080 RW - 8.2.3.7.1 Filter Control
    MCSTCTRL    0x05090 RW - 8.2.3.7.3 Multicast Control
    MTA         0x05200+4*128 RW - 8.2.3.7.7 Multicast Table Array
    RAL         0x0A200+8*128,~0x05400+8*16 RW - 8.2.3.7.8 Receive Address Low
    RAH         0x0A204+8*128,~0x05404+8*16 RW - 8.2.3.7.9 Receive Address High
    MRQC        0x0EC80,~0x05818 RW - 8.2.3.7.12 Multiple Receive Queues Command
    RSSRK       0x0EB80+4*10,~0x05C80+4*10 RW - 8.2.3.7.14 RSS Random Key
    RETA        0x0EB00+4*32,~0x05C00+4*32 RW - 8.2.3.7.15 Redirection Table
    DTXMXSZRQ   0x08100 RW 0x00000010 8.2.3.9.1 DMA Tx Maximum Total Size Requests
    DMATXCTL    0x04A80 RW 0x81000000 8.2.3.9.2 DMA Tx Control
    TDBAL       0x06000+40*128 RW - 8.2.3.9.5 Transmit Descriptor Base Address Low
    TDBAH       0x06004+40*128 RW - 8.2.3.9.6 Transmit Descriptor Base Address High
    TDLEN       0x06008+40*128 RW - 8.2.3.9.7 Transmit Descriptor Length
    TDH         0x06010+40*128 RO - 8.2.3.9.8 Transmit Descriptor Head
    TDT         0x06018+40*128 RW - 8.2.3.9.9 Transmit Descriptor Tail
    TXDCTL      0x06028+40*128 RW - 8.2.3.9.10 Transmit Descriptor Control
    TXPBSIZE    0x0CC00+4*8 RW 0x00028000 8.2.3.9.13 Transmit Packet Buffer Size
    MTQC        0x08120 RW - 8.2.3.9.15 Multiple Transmit Queues Command
    TXPBTHRESH  0x04950+4*8 RW - 8.2.3.9.16 Transmit Packet Buffer Threshold
    RTTDCS      0x04900 RW 0x00C00000 8.2.3.10.2 DCB Transmit Descriptor Plane Control
    HLREG0      0x04240 RW 0x00010403 8.2.3.22.8 MAC Core Control 0
    MAXFRS      0x04268 RW 0x05EE0000 8.2.3.22.13 Maximum Frame Size
    AUTOC       0x042A0 RW 0x0000C09C 8.2.3.22.19 Auto-Negotiation Control
    LINKS       0x042A4 RO - 8.2.3.22.20 Link Status
    CRCERRS     0x04000 RC - 8.2.3.23.1 CRC Error Count
    RXMPC       0x03FA0+4*8 RC - 8.2.3.23.4 Receive Missed Packets Count
    PRC         0x0405C+4*6 RC - 8.2.3.23.18 Packets Received by Size: 64, to 127, ...
    BPRC        0x04078 RC - 8.2.3.23.24 Broadcast Packets Received Count
    MPRC        0x0407C RC - 8.2.3.23.25 Multicast Packets Received Count
    GPRC        0x04074 RC - 8.2.3.23.26 Good Packets Received Count
    GORCL       0x04088 RC - 8.2.3.23.27 Good Octets Received Count Low
    GORCH       0x0408C RC - 8.2.3.23.28 Good Octets Received Count High
    GPTC        0x04080 RC - 8.2.3.23.44 Good Packets Transmitted Count
    GOTCL       0x04090 RC - 8.2.3.23.45 Good Octets Transmitted Count Low
    GOTCH       0x04094 RC - 8.2.3.23.46 Good Octets Transmitted Count High
    RUC         0x040A4 RC - 8.2.3.23.50 Receive Undersize Count
    ROC         0x040AC RC - 8.2.3.23.52 Receive Oversize Count
    TPR         0x040D0 RC - 8.2.3.23.59 Total Packets Received
    TPT         0x040D4 RC - 8.2.3.23.60 Total Packets Transmitted
    PTC         0x040D8+4*6 RC - 8.2.3.23.61 Packets Transmitted by Size: 64, to 127, ...
    MPTC        0x040F0 RC - 8.2.3.23.67 Multicast Packets Transmitted Count
    BPTC        0x040F4 RC - 8.2.3.23.68 Broadcast Packets Transmitted Count
    QPRC        0x01030+40*16 RC - 8.2.3.23.74 Queue Packets Received Count
    QPRDC       0x01430+40*16 RC - 8.2.3.23.75 Queue Packets Received Drop Count
    QBRC_L      0x01034+40*16 RC - 8.2.3.23.76 Queue Bytes Received Count Low
    QBRC_H      0x01038+40*16 RC - 8.2.3.23.77 Queue Bytes Received Count High
    EEC         0x10010 RW 0x00001010 8.2.3.2.1 EEPROM/Flash Control
    EERD        0x10014 RW - 8.2.3.2.2 EEPROM Read
    SWSM        0x10140 RW - 8.2.3.4.9 Software Semaphore
    FWSM        0x10148 RO - 8.2.3.4.10 Firmware Semaphore
    SW_FW_SYNC  0x10160 RW - 8.2.3.4.11 Software-Firmware Synchronization
    """,
    [
        CTRL, STATUS, CTRL_EXT, EEC, EERD, SWSM, RDRXCTL, RXCTRL, RXDCTL, SRRCTL, DCA_RXCTRL,
        RXPBSIZE, TXPBSIZE, TXPBTHRESH, HLREG0, MAXFRS, AUTOC, LINKS, RTTDCS, DMATXCTL, FCTRL,
        MCSTCTRL, RAH, MRQC, TXDCTL,
    ],
)  # fmt: skip

# A descriptor is 16 bytes that driver and device write in turns, each in a format of its own: a
# union.

RxDescriptor = np.dtype(
    {
        # read format: buffer, header; write-back format: info (RSS type 3:0, packet type 15:4), rss
        # and `done`: status and errors 31:0, length 47:32, VLAN tag 63:48 (7.1.6.1, 7.1.6.2)
        "names": ["buffer", "header", "info", "rss", "done"],
        "formats": ["u8", "u8", "u4", "u4", "u8"],
        "offsets": [0, 8, 0, 4, 8],
        "itemsize": 16,
    }
)
TxDescriptor = np.dtype(
    {
        # read format: buffer, command, offload; write-back format: status (7.2.3.2.4)
        "names": ["buffer", "command", "offload", "status"],
        "formats": ["u8", "u4", "u4", "u4"],
        "offsets": [0, 8, 12, 12],
        "itemsize": 16,
    }
)

RX_DD, RX_EOP = 1 << 0, 1 << 1  # descriptor done, end of packet
RX_RXE = 1 << 29  # a damaged packet, delivered only with FCTRL.SBP
RX_PIF = 1 << 7  # not sent to one station
RX_VP = 1 << 3  # VLAN tag seen
TX_DD = 1 << 0
TX_EOP, TX_IFCS, TX_RS, TX_DEXT = 1 << 24, 1 << 25, 1 << 27, 1 << 29
TX_DATA, TX_CONTEXT, TX_DTYP = 3 << 20, 2 << 20, 15 << 20
TX_PAYLEN_SHIFT = 14

# Packet types of a receive descriptor's info word, bits 15:4, here in place (7.1.6.2)
PTYPE_IPV4, PTYPE_IPV4_OPTIONS, PTYPE_IPV6 = 1 << 4, 1 << 5, 1 << 6
PTYPE_TCP, PTYPE_UDP, PTYPE_SCTP = 1 << 8, 1 << 9, 1 << 10
# RSS types of bits 3:0: what was hashed (7.1.6.2)
RSS_TCP_IPV4, RSS_IPV4, RSS_TCP_IPV6, RSS_IPV6, RSS_UDP_IPV4, RSS_UDP_IPV6 = 1, 2, 3, 5, 7, 8
