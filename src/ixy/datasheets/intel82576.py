"""The Intel 82576 gigabit controller's datasheet, as far as the driver uses it.

The I350 keeps these registers at these places. Descriptors are the 82599's, but for the errors that
a received packet reports. Sections are the datasheet's, to the chapter.
"""

from ixy.datasheets.registers import Datasheet, Fields, bit, bits

VENDOR, NAMES = 0x8086, "82576 or I350"
MODELS = {  # PCI device ids of the families that share this programming interface, by name
    "82576": 0x10C9, "82576-fiber": 0x10E6, "82576-serdes": 0x10E7, "82576-quad": 0x10E8,
    "82576-quad-et2": 0x1526, "i350": 0x1521, "i350-fiber": 0x1522, "i350-serdes": 0x1523,
    "i350-sgmii": 0x1524,
}  # fmt: skip
QUEUES = RSS_QUEUES = 8  # the 82576 has 16, the I350 8
TX_THRESHOLDS = {"PTHRESH": 8, "HTHRESH": 1, "WTHRESH": 1}


class CTRL(Fields):
    """GIO_DIS ends requests on PCI Express; SLU: set link up; RST clears itself."""

    FD, GIO_DIS, SLU, RST = bit(0), bit(2), bit(6), bit(26)


class STATUS(Fields):
    """Link up; speed 0: 10, 1: 100, 2 and 3: 1000 Mbit/s; requests on PCI Express."""

    LU, SPEED, GIO = bit(1), bits(6, 7), bit(19)


class MDIC(Fields):
    """A register of a PHY: OP 1 writes, 2 reads; READY when that is done."""

    DATA, REGISTER, PHY, OP, READY = bits(0, 15), bits(16, 20), bits(21, 25), bits(26, 27), bit(28)


class RCTL(Fields):
    """Receive enable; unicast and multicast promiscuous; broadcast; CRC stripped."""

    RXEN, UPE, MPE, LPE, BAM, SECRC = bit(1), bit(3), bit(4), bit(5), bit(15), bit(26)


class SRRCTL(Fields):
    """BSIZEPACKET in KiB; DESCTYPE 1: advanced, one buffer; DROP_EN: no descriptor, no packet."""

    BSIZEPACKET, BSIZEHEADER, DESCTYPE, DROP_EN = bits(0, 6), bits(8, 11), bits(25, 27), bit(31)


class RXDCTL(Fields):
    """ENABLE reads back as set once the queue runs."""

    PTHRESH, HTHRESH, WTHRESH, ENABLE = bits(0, 4), bits(8, 12), bits(16, 20), bit(25)


class RXCSUM(Fields):
    """PCSD: descriptors report the RSS hash in the place of the packet's checksum; checksums of IP,
    TCP and UDP.
    """

    IPOFLD, TUOFLD, PCSD = bit(8), bit(9), bit(13)


class RAH(Fields):
    """Bytes 4 and 5 of an address; address valid."""

    HIGH, AV = bits(0, 15), bit(31)


class MRQC(Fields):
    """MRQE 2: RSS. The others: what is hashed."""

    MRQE, TCP_IPV4, IPV4, IPV6 = bits(0, 2), bit(16), bit(17), bit(20)
    TCP_IPV6, UDP_IPV4, UDP_IPV6 = bit(21), bit(22), bit(23)


class TCTL(Fields):
    """Transmit enable; short frames padded."""

    EN, PSP = bit(1), bit(3)


class TXDCTL(Fields):
    """Prefetch below PTHRESH descriptors on the chip if HTHRESH wait; write back in WTHRESHs."""

    PTHRESH, HTHRESH, WTHRESH, ENABLE = bits(0, 4), bits(8, 12), bits(16, 20), bit(25)


INTEL82576 = Datasheet(
    """
    CTRL        0x00000 RW - 8.2 Device Control
    STATUS      0x00008 RO - 8.2 Device Status
    MDIC        0x00020 RW - 8.2 MDI Control
    IMC         0x0150C WO - 8.8 Interrupt Mask Clear
    EIMC        0x01528 WO - 8.8 Extended Interrupt Mask Clear
    EICR        0x01580 W1C - 8.8 Extended Interrupt Cause
    RCTL        0x00100 RW - 8.10 Receive Control
    RXCSUM      0x05000 RW - 8.10 Receive Checksum Control
    RAL         0x05400+8*16 RW - 8.10 Receive Address Low
    RAH         0x05404+8*16 RW - 8.10 Receive Address High
    MRQC        0x05818 RW - 8.10 Multiple Receive Queues Command
    RETA        0x05C00+4*32 RW - 8.10 Redirection Table
    RSSRK       0x05C80+4*10 RW - 8.10 RSS Random Key
    RDBAL       0x0C000+40*16 RW - 8.10 Receive Descriptor Base Address Low
    RDBAH       0x0C004+40*16 RW - 8.10 Receive Descriptor Base Address High
    RDLEN       0x0C008+40*16 RW - 8.10 Receive Descriptor Length
    SRRCTL      0x0C00C+40*16 RW - 8.10 Split and Replication Receive Control
    RDT         0x0C018+40*16 RW - 8.10 Receive Descriptor Tail
    RXDCTL      0x0C028+40*16 RW - 8.10 Receive Descriptor Control
    RQDPC       0x0C030+40*8 RC - 8.10 Receive Queue Drop Packet Count
    TCTL        0x00400 RW - 8.12 Transmit Control
    TDBAL       0x0E000+40*16 RW - 8.12 Transmit Descriptor Base Address Low
    TDBAH       0x0E004+40*16 RW - 8.12 Transmit Descriptor Base Address High
    TDLEN       0x0E008+40*16 RW - 8.12 Transmit Descriptor Length
    TDH         0x0E010+40*16 RO - 8.12 Transmit Descriptor Head
    TDT         0x0E018+40*16 RW - 8.12 Transmit Descriptor Tail
    TXDCTL      0x0E028+40*16 RW - 8.12 Transmit Descriptor Control
    CRCERRS     0x04000 RC - 8.18 CRC Error Count
    MPC         0x04010 RC - 8.18 Missed Packets Count
    GPRC        0x04074 RC - 8.18 Good Packets Received Count
    GPTC        0x04080 RC - 8.18 Good Packets Transmitted Count
    GORCL       0x04088 RC - 8.18 Good Octets Received Count Low
    GORCH       0x0408C RC - 8.18 Good Octets Received Count High
    GOTCL       0x04090 RC - 8.18 Good Octets Transmitted Count Low
    GOTCH       0x04094 RC - 8.18 Good Octets Transmitted Count High
    RUC         0x040A4 RC - 8.18 Receive Undersize Count
    ROC         0x040AC RC - 8.18 Receive Oversize Count
    """,
    globals(),
)
