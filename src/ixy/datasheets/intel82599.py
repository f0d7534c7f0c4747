"""The Intel 82599 10 GbE controller's datasheet (revision 3.3), as far as the driver uses it.

X540 and X550 keep these registers at these places. `intel82599_device` has the rest.
"""

from ixy.datasheets.registers import Datasheet, Fields, bit, bits, union

VENDOR, NAMES = 0x8086, "82599, X540 or X550"
MODELS = {  # PCI device ids of the families that share this programming interface, by name
    "82599": 0x10FB, "82599-kx4": 0x10F7, "82599-kr": 0x1517, "82599-t3": 0x151C,
    "82599-backplane": 0x10F8, "82599-en-sfp": 0x1557,
    "x540": 0x1528, "x540-t1": 0x1560, "x550": 0x1563, "x550-t1": 0x15D1,
    "x550em-kx4": 0x15AA, "x550em-kr": 0x15AB, "x550em-sfp": 0x15AC, "x550em-10g-t": 0x15AD,
    "x550em-1g-t": 0x15AE,
}  # fmt: skip
MAX_ITR = 511 * 2.048  # us between interrupts (8.2.3.5.12)
QUEUE_CAUSES = 16  # queues that have a bit of their own in EICR (8.2.3.5.1)
QUEUES = 64  # queue pairs used here; the device has 128
RSS_QUEUES = 16  # a redirection table entry has 4 bits (8.2.3.7.15)
TX_THRESHOLDS = {"PTHRESH": 36, "HTHRESH": 8, "WTHRESH": 1}  # more would wait for EITR: 7.2.3.5


class CTRL(Fields):
    """GIO_DIS ends requests on PCI Express (5.2.5.3.2); RST and LNK_RST clear themselves."""

    GIO_DIS, LNK_RST, RST = bit(2), bit(3), bit(26)


class STATUS(Fields):
    """GIO: requests on PCI Express are enabled, or still outstanding."""

    LAN_ID, GIO = bits(2, 3), bit(19)


class CTRL_EXT(Fields):
    """No snoop, no relaxed ordering; a driver is here."""

    NS_DIS, RO_DIS, DRV_LOAD = bit(16), bit(17), bit(28)


class EEC(Fields):
    """The EEPROM's pins, present, automatic read done, 16-bit addresses, log2 of words / 64."""

    SK, CS, DI, DO, REQ, GNT = bit(0), bit(1), bit(2), bit(3), bit(6), bit(7)
    PRES, ARD, ADDR_SIZE, SIZE = bit(8), bit(9), bit(10), bits(11, 14)


class GPIE(Fields):
    """A vector per cause instead of one for all; reading EICR clears no queue's cause; a cause that
    software sets is not throttled; EIAM masks when a message goes out, not when EICR is read.
    """

    MULTIPLE_MSIX, OCD, EIMEN, EIAME = bit(4), bit(5), bit(6), bit(30)


class EITR(Fields):
    """INTERVAL between messages in 2.048 us; what is left of it, unless CNT_WDIS is written."""

    INTERVAL, COUNTER, CNT_WDIS = bits(3, 11), bits(21, 27), bit(31)


class IVAR(Fields):
    """The MSI-X vectors of two receive queues; each with a bit that says it is valid."""

    RX0, RX0_VALID, RX1, RX1_VALID = bits(0, 6), bit(7), bits(16, 22), bit(23)


class RDRXCTL(Fields):
    """DMAIDONE: DMA initialization done. Software writes RSCFRSTSIZE 0, RSCACKC 1, FCOE_WRFIX 1."""

    CRCSTRIP, DMAIDONE, RSCFRSTSIZE = bit(1), bit(3), bits(17, 21)
    RSCACKC, FCOE_WRFIX = bit(25), bit(26)


class RXCTRL(Fields):
    """Receive enable."""

    RXEN = bit(0)


class RXDCTL(Fields):
    """ENABLE reads back as set once the queue runs. VME strips VLAN tags."""

    ENABLE, VME = bit(25), bit(30)


class SRRCTL(Fields):
    """BSIZEPACKET in KiB; DESCTYPE 1: advanced, one buffer; DROP_EN: no descriptor, no packet."""

    BSIZEPACKET, BSIZEHEADER, DESCTYPE, DROP_EN = bits(0, 4), bits(8, 13), bits(25, 27), bit(28)


class DCA_RXCTRL(Fields):
    """Bit 12 has no name: reserved, set by a reset, must be cleared."""

    BIT12 = bit(12)


class RXPBSIZE(Fields):
    """In KiB."""

    SIZE = bits(10, 19)


class TXPBSIZE(Fields):
    """In KiB."""

    SIZE = bits(10, 19)


class TXPBTHRESH(Fields):
    """In KiB."""

    THRESH = bits(0, 9)


class HLREG0(Fields):
    """CRC appended, CRC stripped, jumbo frames, short frames padded, loopback."""

    TXCRCEN, RXCRCSTRP, JUMBOEN, TXPADEN, LPBK = bit(0), bit(1), bit(2), bit(10), bit(15)


class MAXFRS(Fields):
    """With CRC. Heeded with HLREG0.JUMBOEN; without it the limit is 1518."""

    MFS = bits(16, 31)


class AUTOC(Fields):
    """Link mode 3: 10 Gbit/s serial."""

    AN_RESTART, LMS = bit(12), bits(13, 15)


class LINKS(Fields):
    """Speed 1: 100 Mbit/s, 2: 1 Gbit/s, 3: 10 Gbit/s."""

    SPEED, UP = bits(28, 29), bit(30)


class RTTDCS(Fields):
    """Arbiter disable."""

    ARBDIS = bit(6)


class DMATXCTL(Fields):
    """Transmit enable."""

    TE = bit(0)


class FCTRL(Fields):
    """Store bad packets; accept all multicast, all unicast, broadcast."""

    SBP, MPE, UPE, BAM = bit(1), bit(8), bit(9), bit(10)


class RAH(Fields):
    """Bytes 4 and 5 of an address; address valid."""

    HIGH, AV = bits(0, 15), bit(31)


class MRQC(Fields):
    """MRQE 1: RSS. The others: what is hashed."""

    MRQE, TCP_IPV4, IPV4, IPV6 = bits(0, 3), bit(16), bit(17), bit(20)
    TCP_IPV6, UDP_IPV4, UDP_IPV6 = bit(21), bit(22), bit(23)


class TXDCTL(Fields):
    """Prefetch below PTHRESH descriptors on the chip if HTHRESH wait; write back in WTHRESHs."""

    PTHRESH, HTHRESH, WTHRESH, ENABLE = bits(0, 6), bits(8, 14), bits(16, 22), bit(25)


INTEL82599 = Datasheet(
    """
    CTRL        0x00000,~0x00004 RW - 8.2.3.1.1 Device Control
    STATUS      0x00008 RO 0x00080000 8.2.3.1.2 Device Status
    CTRL_EXT    0x00018 RW - 8.2.3.1.3 Extended Device Control
    EICR        0x00800 W1C - 8.2.3.5.1 Extended Interrupt Cause
    EIMS        0x00880 W1S - 8.2.3.5.3 Extended Interrupt Mask Set
    EIMC        0x00888 WO - 8.2.3.5.4 Extended Interrupt Mask Clear
    EIAC        0x00810 RW - 8.2.3.5.5 Extended Interrupt Auto Clear
    EITR        0x00820+4*24,0x12300+4*104 RW - 8.2.3.5.12 Extended Interrupt Throttle
    IVAR        0x00900+4*64 RW - 8.2.3.5.16 Interrupt Vector Allocation: bytes rx, tx, rx, tx
    GPIE        0x00898 RW - 8.2.3.5.18 General Purpose Interrupt Enable
    RDBAL       0x01000+40*64,0x0D000+40*64 RW - 8.2.3.8.1 Receive Descriptor Base Address Low
    RDBAH       0x01004+40*64,0x0D004+40*64 RW - 8.2.3.8.2 Receive Descriptor Base Address High
    RDLEN       0x01008+40*64,0x0D008+40*64 RW - 8.2.3.8.3 Receive Descriptor Length
    RDT         0x01018+40*64,0x0D018+40*64 RW - 8.2.3.8.5 Receive Descriptor Tail
    RXDCTL      0x01028+40*64,0x0D028+40*64 RW - 8.2.3.8.6 Receive Descriptor Control
    SRRCTL      0x01014+40*64,0x0D014+40*64,~0x02100+4*16 RW 0x402 8.2.3.8.7 Split Receive Control
    RDRXCTL     0x02F00 RW 0x00100008 8.2.3.8.8 Receive DMA Control
    RXPBSIZE    0x03C00+4*8 RW 0x00080000 8.2.3.8.9 Receive Packet Buffer Size
    RXCTRL      0x03000 RW - 8.2.3.8.10 Receive Control
    DCA_RXCTRL  0x0100C+40*64,0x0D00C+40*64,~0x02200+4*16 RW 0xB200 8.2.3.11.1 Rx DCA Control
    FCTRL       0x05080 RW - 8.2.3.7.1 Filter Control
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
    AUTOC       0x042A0 RW 0xC09C6084 8.2.3.22.19 Auto-Negotiation Control
    LINKS       0x042A4 RO - 8.2.3.22.20 Link Status
    CRCERRS     0x04000 RC - 8.2.3.23.1 CRC Error Count
    RXMPC       0x03FA0+4*8 RC - 8.2.3.23.4 Receive Missed Packets Count
    GPTC        0x04080 RC - 8.2.3.23.44 Good Packets Transmitted Count
    GOTCL       0x04090 RC - 8.2.3.23.45 Good Octets Transmitted Count Low
    GOTCH       0x04094 RC - 8.2.3.23.46 Good Octets Transmitted Count High
    RUC         0x040A4 RC - 8.2.3.23.50 Receive Undersize Count
    ROC         0x040AC RC - 8.2.3.23.52 Receive Oversize Count
    QPRC        0x01030+40*16 RC - 8.2.3.23.74 Queue Packets Received Count
    QPRDC       0x01430+40*16 RC - 8.2.3.23.75 Queue Packets Received Drop Count
    QBRC_L      0x01034+40*16 RC - 8.2.3.23.76 Queue Bytes Received Count Low
    QBRC_H      0x01038+40*16 RC - 8.2.3.23.77 Queue Bytes Received Count High
    EEC         0x10010 RW 0x00001010 8.2.3.2.1 EEPROM/Flash Control
    """,
    globals(),
)

# A descriptor is 16 bytes that driver and device write in turns, each in a format of its own:
# unions.

# Read format: buffer, header. Write-back format: info (RSS type 3:0, packet type 15:4), rss, and
# `done`: status and errors 31:0, length 47:32, VLAN tag 63:48 (7.1.6.1, 7.1.6.2).
RxDescriptor = union(
    16, buffer=(0, "u8"), header=(8, "u8"), info=(0, "u4"), rss=(4, "u4"), done=(8, "u8")
)
# Read format: buffer, command, offload. Write-back format: status (7.2.3.2.4).
TxDescriptor = union(16, buffer=(0, "u8"), command=(8, "u4"), offload=(12, "u4"), status=(12, "u4"))

RX_DD, RX_EOP = 1 << 0, 1 << 1  # descriptor done, end of packet
RX_RXE = 1 << 29  # a damaged packet, delivered only with FCTRL.SBP
TX_DD = 1 << 0
TX_EOP, TX_IFCS, TX_RS, TX_DEXT = 1 << 24, 1 << 25, 1 << 27, 1 << 29
TX_DATA, TX_PAYLEN_SHIFT = 3 << 20, 14
