"""The rest of the 82599's datasheet: what a device must have although our driver does not use it.

This module has all names of `intel82599`, and WHOLE is the sheet with the registers of both.
"""

from ixy.datasheets.intel82599 import *  # noqa: F403
from ixy.datasheets.intel82599 import INTEL82599
from ixy.datasheets.registers import Fields, bit, bits

REGISTER_SPACE = 128 * 1024  # bytes of BAR 0


class EICR(Fields):
    """RTXQ: queues, or the first 16 MSI-X vectors. Packets missed, link status changed."""

    RTXQ, RX_MISS, LSC, TCP_TIMER = bits(0, 15), bit(17), bit(20), bit(30)


class IVAR_MISC(Fields):
    """The vector of the TCP timer, and that of all other causes that are no queue's."""

    TCP, TCP_VALID, OTHER, OTHER_VALID = bits(0, 6), bit(7), bits(8, 14), bit(15)


class ESDP(Fields):
    """Software-defined pins: their state, and which of them are outputs."""

    DATA, OUTPUTS = bits(0, 7), bits(8, 15)


class I2CCTL(Fields):
    """The wires of the I2C bus: what is on them, and what we let go (1) or pull down (0)."""

    CLK_IN, CLK_OUT, DATA_IN, DATA_OUT = bit(0), bit(1), bit(2), bit(3)


# Fields of registers of which our driver uses others
SWFLSH = bit(26)  # TXDCTL: software flush
EXTENDED_VLAN = bit(26)  # CTRL_EXT: received frames have an outer VLAN tag
GDV, VT = bit(3), bits(16, 31)  # DMATXCTL: frames sent have one; EtherType of tags inserted


class EXVET(Fields):
    """EtherType of outer VLAN tags."""

    VET_EXT = bits(16, 31)


class VLNCTRL(Fields):
    """EtherType of VLAN tags; CFI, which a tag must have with CFIEN; VLAN filter."""

    VET, CFI, CFIEN, VFE = bits(0, 15), bit(28), bit(29), bit(30)


class RXCSUM(Fields):
    """Sums of IP fragments; PCSD: descriptors report the RSS hash in their place."""

    IPPCSE, PCSD = bit(12), bit(13)


class DTXTCPFLGL(Fields):
    """TCP flags that the first and the middle segments keep."""

    FIRST, MIDDLE = bits(0, 11), bits(16, 27)


class DTXTCPFLGH(Fields):
    """TCP flags that the last segment keeps."""

    LAST = bits(0, 11)


class EERD(Fields):
    """Write START and the address of a word, wait for DONE."""

    START, DONE, ADDR, DATA = bit(0), bit(1), bits(2, 15), bits(16, 31)


class SWSM(Fields):
    """Reading sets SMBI: who reads it as 0 has the semaphore."""

    SMBI, SWESMBI = bit(0), bit(1)


class SECTXCTRL(Fields):
    """Stops what is on its way to the MAC."""

    TX_DIS = bit(1)


class SECTXSTAT(Fields):
    """The block is empty."""

    RDY = bit(0)


class SECRXCTRL(Fields):
    """Stops what comes from the MAC."""

    RX_DIS = bit(1)


class SECRXSTAT(Fields):
    """The block is empty."""

    RDY = bit(0)


class ETQF(Fields):
    """An EtherType that is known. PTP: its packets are time stamped."""

    ETYPE = bits(0, 15)
    PTP, FILTER_EN = bit(30), bit(31)


class TSYNCRXCTL(Fields):
    """VALID: a time stamp is there, and stays until its high half is read."""

    VALID, TYPE, EN = bit(0), bits(1, 3), bit(4)


class TSYNCTXCTL(Fields):
    """The same for packets that are sent."""

    VALID, EN = bit(0), bit(4)


class RXMTRL(Fields):
    """Which messages of PTP version 2 are stamped."""

    MSGT = bits(8, 15)


class RXSATRH(Fields):
    """What tells of which message a time stamp is."""

    SEQUENCE = bits(16, 31)


class TIMINCA(Fields):
    """VALUE is added to the system time every PERIOD clocks; none: it stands still."""

    VALUE, PERIOD = bits(0, 23), bits(24, 31)


class FDIRCTRL(Fields):
    """The memory of its filters is ready."""

    INIT_DONE = bit(3)


class FDIRCMD(Fields):
    """The command under way."""

    CMD = bits(0, 1)


class MSCA(Fields):
    """Writing COMMAND begins a cycle; it clears itself at its end."""

    COMMAND = bit(30)


class MSRWD(Fields):
    """What a cycle has read."""

    READ = bits(16, 31)


class MCSTCTRL(Fields):
    """MO: which 12 bits of a group address index the table, if MFE is set."""

    MO, MFE = bits(0, 1), bit(2)


WHOLE = INTEL82599.with_rows(
    """
    ESDP        0x00020 RW - 8.2.3.1.4 Extended SDP Control
    I2CCTL      0x00028 RW 0x0000000A 8.2.3.1.5 I2C Control
    LEDCTL      0x00200 RW - 8.2.3.1.6 LED Control
    EXVET       0x05078 RW 0x81000000 8.2.3.1.7 Extended VLAN EtherType

    EERD        0x10014 RW - 8.2.3.2.2 EEPROM Read
    FLA         0x1001C RW - 8.2.3.2.3 Flash Access
    EEMNGCTL    0x10110 RW - 8.2.3.2.4 Manageability EEPROM Control
    EEMNGDATA   0x10114 RW - 8.2.3.2.5 Manageability EEPROM Data
    FLMNGCTL    0x10118 RW - 8.2.3.2.6 Manageability Flash Control
    FLMNGDATA   0x1011C RW - 8.2.3.2.7 Manageability Flash Data
    FLOP        0x1013C RW - 8.2.3.2.8 Flash Opcode
    GRC         0x10200 RW - 8.2.3.2.9 General Receive Control

    PFCTOP      0x03008 RW 0x00018808 8.2.3.3.1 Priority Flow Control Type and Opcode
    FCTTV       0x03200+4*4 RW - 8.2.3.3.2 Flow Control Transmit Timer Value
    FCRTL       0x03220+4*8 RW - 8.2.3.3.3 Flow Control Receive Threshold Low
    FCRTH       0x03260+4*8 RW - 8.2.3.3.4 Flow Control Receive Threshold High
    FCRTV       0x032A0 RW - 8.2.3.3.5 Flow Control Refresh Threshold
    TFCS        0x0CE00 RO 0x000000FF 8.2.3.3.6 Transmit Flow Control Status
    FCCFG       0x03D00 RW - 8.2.3.3.7 Flow Control Configuration

    GCR         0x11000 RW - 8.2.3.4.1 PCIe Control
    GSCL_1      0x11010 RW - 8.2.3.4.2 PCIe Statistic Control 1
    GSCL_2      0x11014 RW - 8.2.3.4.3 PCIe Statistic Control 2
    GSCL_5      0x11030+4*4 RW - 8.2.3.4.4 PCIe Statistic Control 5 to 8
    GSCN        0x11020+4*4 RC - 8.2.3.4.5 PCIe Statistic Counters
    FACTPS      0x10150 RO - 8.2.3.4.6 Function Active and Power State
    PCIEPHYADR  0x11040 RW - 8.2.3.4.7 PCIe Analog Configuration
    PCIEPHYDAT  0x11044 RW - 8.2.3.4.8 PCIe PHY Data
    SWSM        0x10140 RW - 8.2.3.4.9 Software Semaphore
    FWSM        0x10148 RO 0x00008000 8.2.3.4.10 Firmware Semaphore: firmware is valid
    SW_FW_SYNC  0x10160 RW - 8.2.3.4.11 Software-Firmware Synchronization
    GCR_EXT     0x11050 RW - 8.2.3.4.12 PCIe Control Extended
    MREVID      0x11064 RO 0x00000101 8.2.3.4.13 Mirrored Revision
    PICAUSE     0x110B0 W1C - 8.2.3.4.14 PCIe Interrupt Cause
    PIENA       0x110B8 RW - 8.2.3.4.15 PCIe Interrupt Enable

    EICS        0x00808 WO - 8.2.3.5.2 Extended Interrupt Cause Set
    EIAM        0x00890 RW - 8.2.3.5.6 Extended Interrupt Auto Mask Enable
    EICS_EX     0x00A90+4*2 WO - 8.2.3.5.7 Extended Interrupt Cause Set, MSI-X vectors 0-63
    EIMS_EX     0x00AA0+4*2 W1S - 8.2.3.5.8 Extended Interrupt Mask Set, MSI-X vectors 0-63
    EIMC_EX     0x00AB0+4*2 WO - 8.2.3.5.9 Extended Interrupt Mask Clear, MSI-X vectors 0-63
    EIAM_EX     0x00AD0+4*2 RW - 8.2.3.5.10 Extended Interrupt Auto Mask, MSI-X vectors 0-63
    EITRSEL     0x00894 RW - 8.2.3.5.11 MSI-X to EITR Select
    L34TIMIR    0x0E800+4*128 RW - 8.2.3.5.13 Immediate Interrupt by Five-Tuple
    LLITHRESH   0x0EC90 RW - 8.2.3.5.14 Low Latency Interrupt Size Threshold
    IMIRVP      0x0EC60 RW - 8.2.3.5.15 Immediate Interrupt by VLAN Priority
    IVAR_MISC   0x00A00 RW - 8.2.3.5.17 Miscellaneous Interrupt Vector Allocation
    PBACL       0x110C0+4*8,~0x11068 W1C - 8.2.3.6.1 MSI-X Pending Bits Clear

    VLNCTRL     0x05088 RW 0x00008100 8.2.3.7.2 VLAN Control
    MCSTCTRL    0x05090 RW - 8.2.3.7.3 Multicast Control
    PSRTYPE     0x0EA00+4*64,~0x05480+4*16 RW - 8.2.3.7.4 Packet Split Receive Type
    RXCSUM      0x05000 RW - 8.2.3.7.5 Receive Checksum Control
    RFCTL       0x05008 RW - 8.2.3.7.6 Receive Filter Control
    MTA         0x05200+4*128 RW - 8.2.3.7.7 Multicast Table Array
    MPSAR       0x0A600+4*256 RW - 8.2.3.7.10 MAC Pool Select Array
    VFTA        0x0A000+4*128 RW - 8.2.3.7.11 VLAN Filter Table Array
    RQTC        0x0EC70 RW 0x44444444 8.2.3.7.13 RSS Queues per Traffic Class
    SAQF        0x0E000+4*128 RW - 8.2.3.7.16 Source Address Queue Filter
    DAQF        0x0E200+4*128 RW - 8.2.3.7.17 Destination Address Queue Filter
    SDPQF       0x0E400+4*128 RW - 8.2.3.7.18 Source and Destination Port Queue Filter
    FTQF        0x0E600+4*128 RW - 8.2.3.7.19 Five-Tuple Queue Filter
    SYNQF       0x0EC30 RW - 8.2.3.7.20 SYN Packet Queue Filter
    ETQF        0x05128+4*8 RW - 8.2.3.7.21 EtherType Queue Filter
    ETQS        0x0EC00+4*8 RW - 8.2.3.7.22 EtherType Queue Select
    RXFECCERR0  0x051B8 RW - 8.2.3.7.23 Receive Filter ECC Error Insertion

    RDH         0x01010+40*64,0x0D010+40*64 RO - 8.2.3.8.4 Receive Descriptor Head
    RXMEMWRAP   0x03190 RO 0x88888888 8.2.3.8.11 Receive Packet Buffers: all empty
    RSCDBU      0x03028 RW - 8.2.3.8.12 RSC Data Buffer Control
    RSCCTL      0x0102C+40*64,0x0D02C+40*64 RW - 8.2.3.8.13 RSC Control

    DTXTCPFLGL  0x04A88 RW 0x0F760FF6 8.2.3.9.3 DMA Tx TCP Flags Control Low
    DTXTCPFLGH  0x04A8C RW 0x00000F7F 8.2.3.9.4 DMA Tx TCP Flags Control High
    TDWBAL      0x06038+40*128 RW - 8.2.3.9.11 Tx Descriptor Completion Write Back Address Low
    TDWBAH      0x0603C+40*128 RW - 8.2.3.9.12 Tx Descriptor Completion Write Back Address High
    MNGTXMAP    0x0CD10 RW - 8.2.3.9.14 Manageability Transmit Traffic Class

    RTRPCS      0x02430 RW - 8.2.3.10.1 DCB Receive Packet Plane Control
    RTTPCS      0x0CD00 RW - 8.2.3.10.3 DCB Transmit Packet Plane Control
    RTRUP2TC    0x03020 RW - 8.2.3.10.4 DCB Receive User Priority to Traffic Class
    RTTUP2TC    0x0C800 RW - 8.2.3.10 DCB Transmit User Priority to Traffic Class
    RTRPT4C     0x02140+4*8 RW - 8.2.3.10 DCB Receive Packet Plane Configuration
    RTTDT2C     0x04910+4*8 RW - 8.2.3.10 DCB Transmit Descriptor Plane Configuration
    RTTPT2C     0x0CD20+4*8 RW - 8.2.3.10 DCB Transmit Packet Plane Configuration
    RTTDQSEL    0x04904 RW - 8.2.3.10.13 DCB Transmit Descriptor Plane Queue Select
    RTTDT1C     0x04908 RW - 8.2.3.10.14 DCB Transmit Descriptor Plane Queue Configuration
    RTTBCNRM    0x04980 RW - 8.2.3.10 DCB Transmit Rate Scheduler Memory Window
    RTTBCNRC    0x04984 RW - 8.2.3.10.16 DCB Transmit Rate Scheduler Configuration

    DCA_TXCTRL  0x0600C+40*128 RW 0x00002A00 8.2.3.11.2 Tx DCA Control
    DCA_ID      0x11070 RO - 8.2.3.11.3 DCA Requester ID
    DCA_CTRL    0x11074 RW - 8.2.3.11.4 DCA Control
    SECTXCTRL   0x08800 RW 0x00000001 8.2.3.12.1 Security Tx Control
    SECTXSTAT   0x08804 RO - 8.2.3.12.2 Security Tx Status
    SECTXBUFFAF 0x08808 RW 0x00000250 8.2.3.12.3 Security Tx Buffer Almost Full
    SECTXMINIFG 0x08810 RW 0x00000001 8.2.3.12.4 Security Tx Buffer Minimum IFG
    SECRXCTRL   0x08D00 RW 0x00000001 8.2.3.12.5 Security Rx Control
    SECRXSTAT   0x08D04 RO - 8.2.3.12.6 Security Rx Status

    TSYNCTXCTL  0x08C00 RW - 8.2.3.18 Tx Time Sync Control
    SYSTIML     0x08C0C RW - 8.2.3.18 System Time Low
    SYSTIMH     0x08C10 RW - 8.2.3.18 System Time High
    TIMINCA     0x08C14 RW - 8.2.3.18 Time Increment
    TIMADJL     0x08C18 RW - 8.2.3.18 Time Adjustment Low
    TIMADJH     0x08C1C RW - 8.2.3.18 Time Adjustment High
    TSYNCRXCTL  0x05188 RW - 8.2.3.18 Rx Time Sync Control
    RXMTRL      0x05120 RW - 8.2.3.18 Rx Time Stamped Messages
    RXSTMPL     0x051E8 RO - 8.2.3.18 Rx Time Stamp Low
    RXSTMPH     0x051A4 RO - 8.2.3.18 Rx Time Stamp High
    RXSATRL     0x051A0 RO - 8.2.3.18 Rx Time Stamp Attributes Low
    RXSATRH     0x051A8 RO - 8.2.3.18 Rx Time Stamp Attributes High
    TXSTMPL     0x08C04 RO - 8.2.3.18 Tx Time Stamp Low
    TXSTMPH     0x08C08 RO - 8.2.3.18 Tx Time Stamp High
    TCPTIMER    0x0004C RW - 8.2.3.19.1 TCP Timer
    FCPTRL      0x02410 RW - 8.2.3.20 FCoE Context Low
    FCPTRH      0x02414 RW - 8.2.3.20 FCoE Context High
    FCBUFF      0x02418 RW - 8.2.3.20 FCoE Buffer
    FCDMARW     0x02420 RW - 8.2.3.20 FCoE DMA Context
    FCRXCTRL    0x05100 RW - 8.2.3.20 FCoE Receive Control
    FCFLT       0x05108 RW - 8.2.3.20 FCoE Filter Context
    FCFLTRW     0x05110 RW - 8.2.3.20 FCoE Filter Access
    FCRECTL     0x0ED00 RW - 8.2.3.20 FCoE Redirection Control
    FCRETA      0x0ED10+4*8 RW - 8.2.3.20 FCoE Redirection Table

    FDIRCTRL    0x0EE00 RW - 8.2.3.21.1 Flow Director Control
    FDIRSIPV6   0x0EE0C+4*3 RW - 8.2.3.21.16 Flow Director Source IPv6
    FDIRIPSA    0x0EE18 RW - 8.2.3.21.17 Flow Director Source Address
    FDIRIPDA    0x0EE1C RW - 8.2.3.21.18 Flow Director Destination Address
    FDIRPORT    0x0EE20 RW - 8.2.3.21.19 Flow Director Ports
    FDIRVLAN    0x0EE24 RW - 8.2.3.21.20 Flow Director VLAN and Flexible Bytes
    FDIRHASH    0x0EE28 RW - 8.2.3.21.21 Flow Director Hash
    FDIRCMD     0x0EE2C RW - 8.2.3.21.22 Flow Director Command
    FDIRFREE    0x0EE38 RW - 8.2.3.21.10 Flow Director Free Filters
    FDIRDIP4M   0x0EE3C RW - 8.2.3.21.4 Flow Director Destination IPv4 Mask
    FDIRSIP4M   0x0EE40 RW - 8.2.3.21.5 Flow Director Source IPv4 Mask
    FDIRTCPM    0x0EE44 RW - 8.2.3.21.6 Flow Director TCP Mask
    FDIRUDPM    0x0EE48 RW - 8.2.3.21.7 Flow Director UDP Mask
    FDIRLEN     0x0EE4C RC - 8.2.3.21.11 Flow Director Longest List
    FDIRUSTAT   0x0EE50 RC - 8.2.3.21.12 Flow Director Usage
    FDIRFSTAT   0x0EE54 RC - 8.2.3.21.13 Flow Director Failed Usage
    FDIRMATCH   0x0EE58 RC - 8.2.3.21.14 Flow Director Matches
    FDIRMISS    0x0EE5C RC - 8.2.3.21.15 Flow Director Misses
    FDIRHKEY    0x0EE68 RW - 8.2.3.21.2 Flow Director Hash Key
    FDIRSKEY    0x0EE6C RW - 8.2.3.21.3 Flow Director Signature Key
    FDIRM       0x0EE70 RW - 8.2.3.21.9 Flow Director Other Masks
    FDIRIP6M    0x0EE74 RW - 8.2.3.21.8 Flow Director IPv6 Mask

    PCS1GCFIG   0x04200 RW - 8.2.3.22.1 PCS 1G Global Configuration
    PCS1GLCTL   0x04208 RW - 8.2.3.22.2 PCS 1G Link Control
    PCS1GLSTA   0x0420C RO - 8.2.3.22.3 PCS 1G Link Status
    PCS1GANA    0x04218 RW - 8.2.3.22.4 PCS 1G Auto-Negotiation Advanced
    PCS1GANLP   0x0421C RO - 8.2.3.22.5 PCS 1G Link Partner Ability
    PCS1GANNP   0x04220 RW - 8.2.3.22.6 PCS 1G Next Page
    PCS1GANLPNP 0x04224 RO - 8.2.3.22.7 PCS 1G Link Partner's Next Page
    HLREG1      0x04244 RC - 8.2.3.22.9 MAC Core Status 1
    PAP         0x04248 RW - 8.2.3.22.10 Pause and Pace
    MSCA        0x0425C RW - 8.2.3.22.11 MDI Single Command and Address
    MSRWD       0x04260 RW - 8.2.3.22.12 MDI Single Read and Write Data
    PCSS1       0x04288 RO - 8.2.3.22.14 XGXS Status 1
    PCSS2       0x0428C RO - 8.2.3.22.15 XGXS Status 2
    XPCSS       0x04290 RO - 8.2.3.22.16 10GBASE-X PCS Status
    MFLCN       0x04294 RW - 8.2.3.22.34 MAC Flow Control
    SERDESC     0x04298 RW - 8.2.3.22.17 SerDes Interface Control
    MACS        0x0429C RW - 8.2.3.22.18 FIFO Status and Control
    AUTOC2      0x042A8 RW 0x00020000 8.2.3.22.22 Auto-Negotiation Control 2: SFI
    ANLP1       0x042B0 RO 0x00010000 8.2.3.22.23 Link Partner's Control Word 1: not idle
    ANLP2       0x042B4 RO - 8.2.3.22.24 Link Partner's Control Word 2
    MMNGC       0x042D0 RO - 8.2.3.22.25 MAC Manageability Control
    ANLPNP1     0x042D4 RO - 8.2.3.22.26 Link Partner's Next Page 1
    ANLPNP2     0x042D8 RO - 8.2.3.22.27 Link Partner's Next Page 2
    KRPCSFC     0x042E0 RW - 8.2.3.22.28 KR PCS and FEC Control
    KRPCSS      0x042E4 RO - 8.2.3.22.29 KR PCS Status
    FECS1       0x042E8 RC - 8.2.3.22.30 FEC Status 1
    FECS2       0x042EC RC - 8.2.3.22.31 FEC Status 2
    CORECTL     0x14F00 RW - 8.2.3.22.32 Core Analog Configuration
    SMADARCTL   0x14F10 RW - 8.2.3.22.33 Core Common Configuration
    SGMIIC      0x04314 RW - 8.2.3.22.35 SGMII Control
    LINKS2      0x04324 RO - 8.2.3.22.21 Link Status 2

    ILLERRC     0x04004 RC - 8.2.3.23.2 Illegal Byte Error Count
    ERRBC       0x04008 RC - 8.2.3.23.3 Error Byte Count
    MLFC        0x04034 RC - 8.2.3.23.5 MAC Local Fault Count
    MRFC        0x04038 RC - 8.2.3.23.6 MAC Remote Fault Count
    RLEC        0x04040 RC - 8.2.3.23.7 Receive Length Error Count
    SSVPC       0x08780 RC - 8.2.3.23.8 Switch Security Violation Packet Count
    LXONTXC     0x03F60 RC - 8.2.3.23 Link XON Transmitted Count
    LXOFFTXC    0x03F68 RC - 8.2.3.23 Link XOFF Transmitted Count
    LXONRXCNT   0x041A4 RC - 8.2.3.23 Link XON Received Count
    LXOFFRXCNT  0x041A8 RC - 8.2.3.23 Link XOFF Received Count
    PXONTXC     0x03F00+4*8 RC - 8.2.3.23 Priority XON Transmitted Count
    PXOFFTXC    0x03F20+4*8 RC - 8.2.3.23 Priority XOFF Transmitted Count
    PXONRXCNT   0x04140+4*8 RC - 8.2.3.23 Priority XON Received Count
    PXOFFRXCNT  0x04160+4*8 RC - 8.2.3.23 Priority XOFF Received Count
    PXON2OFF    0x03240+4*8 RC - 8.2.3.23 Priority XON to XOFF Count
    PRC         0x0405C+4*6 RC - 8.2.3.23.18 Packets Received by Size: 64, to 127, ...
    BPRC        0x04078 RC - 8.2.3.23.24 Broadcast Packets Received Count
    MPRC        0x0407C RC - 8.2.3.23.25 Multicast Packets Received Count
    GPRC        0x04074 RC - 8.2.3.23.26 Good Packets Received Count
    GORCL       0x04088 RC - 8.2.3.23.27 Good Octets Received Count Low
    GORCH       0x0408C RC - 8.2.3.23.28 Good Octets Received Count High
    RXNFGPC     0x041B0 RC - 8.2.3.23.29 Good Received Non-Filtered Packet Count
    RXNFGBCL    0x041B4 RC - 8.2.3.23.30 Good Received Non-Filtered Byte Count Low
    RXNFGBCH    0x041B8 RC - 8.2.3.23.31 Good Received Non-Filtered Byte Count High
    RXDGPC      0x02F50 RC - 8.2.3.23.32 DMA Good Received Packet Count
    RXDGBCL     0x02F54 RC - 8.2.3.23.33 DMA Good Received Byte Count Low
    RXDGBCH     0x02F58 RC - 8.2.3.23.34 DMA Good Received Byte Count High
    RXDDPC      0x02F5C RC - 8.2.3.23.35 DMA Duplicated Good Received Packet Count
    RXLPBKPC    0x02F68 RC - 8.2.3.23.38 DMA Good Received Loopback Packet Count
    RXDLPBKPC   0x02F74 RC - 8.2.3.23.41 DMA Duplicated Good Received Loopback Packet Count
    TXDGPC      0x087A0 RC - 8.2.3.23.47 DMA Good Transmitted Packet Count
    TXDGBCL     0x087A4 RC - 8.2.3.23.48 DMA Good Transmitted Byte Count Low
    TXDGBCH     0x087A8 RC - 8.2.3.23.49 DMA Good Transmitted Byte Count High
    RFC         0x040A8 RC - 8.2.3.23.51 Receive Fragment Count
    RJC         0x040B0 RC - 8.2.3.23.53 Receive Jabber Count
    MNGPRC      0x040B4 RC - 8.2.3.23.54 Management Packets Received Count
    MNGPDC      0x040B8 RC - 8.2.3.23.55 Management Packets Dropped Count
    MNGPTC      0x0CF90 RC - 8.2.3.23.56 Management Packets Transmitted Count
    TORL        0x040C0 RC - 8.2.3.23.57 Total Octets Received Low
    TORH        0x040C4 RC - 8.2.3.23.58 Total Octets Received High
    TPR         0x040D0 RC - 8.2.3.23.59 Total Packets Received
    TPT         0x040D4 RC - 8.2.3.23.60 Total Packets Transmitted
    PTC         0x040D8+4*6 RC - 8.2.3.23.61 Packets Transmitted by Size: 64, to 127, ...
    MPTC        0x040F0 RC - 8.2.3.23.67 Multicast Packets Transmitted Count
    BPTC        0x040F4 RC - 8.2.3.23.68 Broadcast Packets Transmitted Count
    MSPDC       0x04010 RC - 8.2.3.23.69 MAC Short Packet Discard Count
    XEC         0x04120 RC - 8.2.3.23.70 Checksum Error Count
    RQSMR       0x02300+4*32 RW - 8.2.3.23.71 Receive Queue Statistic Mapping: a byte per queue
    RXDSTATCTRL 0x02F40 RW - 8.2.3.23.72 DMA Received Statistic Control
    TQSM        0x08600+4*32 RW - 8.2.3.23.73 Transmit Queue Statistic Mapping: a byte per queue
    QPTC        0x08680+4*16,~0x06030+40*16 RC - 8.2.3.23.78 Queue Packets Transmitted Count
    QBTC_L      0x08700+8*16 RC - 8.2.3.23.79 Queue Bytes Transmitted Count Low
    QBTC_H      0x08704+8*16 RC - 8.2.3.23.80 Queue Bytes Transmitted Count High
    FCCRC       0x05118 RC - 8.2.3.23.81 FCoE CRC Error Count
    FCOERPDC    0x0241C RC - 8.2.3.23 FCoE Packets Dropped Count
    FCLAST      0x02424 RC - 8.2.3.23 FCoE Last Error Count
    FCOEPRC     0x02428 RC - 8.2.3.23 FCoE Packets Received Count
    FCOEDWRC    0x0242C RC - 8.2.3.23 FCoE Double Words Received Count
    FCOEPTC     0x08784 RC - 8.2.3.23 FCoE Packets Transmitted Count
    FCOEDWTC    0x08788 RC - 8.2.3.23 FCoE Double Words Transmitted Count

    WUC         0x05800 RW - 8.2.3.24 Wake Up Control
    WUFC        0x05808 RW - 8.2.3.24 Wake Up Filter Control
    WUS         0x05810 W1C - 8.2.3.24 Wake Up Status
    IPAV        0x05838 RW - 8.2.3.24 IP Addresses Valid
    IP4AT       0x05840+8*4 RW - 8.2.3.24 IPv4 Address Table
    IP6AT       0x05880+4*4 RW - 8.2.3.24 IPv6 Address Table
    WUPL        0x05900 RO - 8.2.3.24 Wake Up Packet Length
    WUPM        0x05A00+4*32 RO - 8.2.3.24 Wake Up Packet Memory
    FHFT        0x09000+4*128,0x09800+4*64 RW - 8.2.3.24.9 Flexible Host Filter Table
    MAVTV       0x05010+4*8 RW - 8.2.3.25 Management VLAN Tags
    MFUTP       0x05030+4*8 RW - 8.2.3.25 Management Flexible UDP and TCP Ports
    MDEF_EXT    0x05160+4*8 RW - 8.2.3.25 Manageability Decision Filters Extension
    METF        0x05190+4*4 RW - 8.2.3.25 Management EtherType Filters
    MANC        0x05820 RW - 8.2.3.25 Management Control
    MFVAL       0x05824 RW - 8.2.3.25 Manageability Filters Valid
    MANC2H      0x05860 RW - 8.2.3.25 Management Control to Host
    MDEF        0x05890+4*8 RW - 8.2.3.25 Manageability Decision Filters
    MIPAF       0x058B0+4*16 RW - 8.2.3.25 Manageability IP Address Filter
    FTFT        0x09400+4*128 RW - 8.2.3.25 Flexible Total Cost of Ownership Filter Table
    HICR        0x15F00 RO - 8.2.3.26 Host Interface Control: not enabled

    PFVTCTL     0x051B0 RW - 8.2.3.27.1 PF Virtual Control
    PFMAILBOX   0x04B00+4*64 RW - 8.2.3.27 PF Mailbox
    PFMBICR     0x00710+4*4 W1C - 8.2.3.27 PF Mailbox Interrupt Causes
    PFMBIMR     0x00720+4*2 RW - 8.2.3.27 PF Mailbox Interrupt Masks
    PFVFLRE     0x00600 RO - 8.2.3.27 PF VF Level Reset Events
    PFVFLREC    0x00700+4*2 W1C - 8.2.3.27 PF VF Level Reset Events Clear
    PFVFRE      0x051E0+4*2 RW - 8.2.3.27.7 PF VF Receive Enable
    PFVFTE      0x08110+4*2 RW - 8.2.3.27.8 PF VF Transmit Enable
    PFQDE       0x02F04 RW - 8.2.3.27.9 PF Queue Drop Enable
    PFDTXGSWC   0x08220 RW - 8.2.3.27 PF DMA Tx Switch Control
    PFVMTXSW    0x05180+4*2 RW - 8.2.3.27 PF VM Tx Switch Loopback Enable
    PFVFSPOOF   0x08200+4*8 RW - 8.2.3.27 PF VF Anti-Spoof Control
    PFVMVIR     0x08000+4*64 RW - 8.2.3.27 PF VM Tag Insert
    PFVML2FLT   0x0F000+4*64 RW - 8.2.3.27.14 PF VM L2 Control
    PFVLVF      0x0F100+4*64 RW - 8.2.3.27.15 PF VM VLAN Pool Filter
    PFVLVFB     0x0F200+4*128 RW - 8.2.3.27.16 PF VM VLAN Pool Filter Bitmap
    PFUTA       0x0F400+4*128 RW - 8.2.3.27.17 PF Unicast Table Array
    PFMRCTL     0x0F600+4*4 RW - 8.2.3.27 PF Mirror Rule Control
    PFMRVLAN    0x0F610+4*8 RW - 8.2.3.27 PF Mirror Rule VLAN
    PFMRVM      0x0F630+4*8 RW - 8.2.3.27 PF Mirror Rule Pool
    """,
    globals(),
)

# What a register stores of what is written, where that is not all 32 bits
WRITABLE = {
    "FCRTL": 0x8007FFF0, "FCRTH": 0x8007FFF0, "FCRTV": 0xFFFF, "RAH": 0x8000FFFF,
    "RDBAL": 0xFFFFFF80, "RDLEN": 0xFFF80, "RDT": 0xFFFF,
    "TDBAL": 0xFFFFFF80, "TDLEN": 0xFFF80, "TDT": 0xFFFF,
}  # fmt: skip

# Of a receive descriptor's status: VLAN tag, checksums looked at (UDP's and any transport's, IP's),
# not sent to one station, outer VLAN tag, sum with a UDP checksum; and errors (7.1.6.2)
RX_VP, RX_UDPCS, RX_L4CS, RX_IPCS, RX_PIF = 1 << 3, 1 << 4, 1 << 5, 1 << 6, 1 << 7
RX_VEXT, RX_UDPV = 1 << 9, 1 << 10
RX_TCPE, RX_IPE = 1 << 30, 1 << 31
# Of a transmit descriptor's command: its type, VLAN tag inserted, segments made (7.2.3.2.4), and of
# a legacy one's, checksum inserted (7.2.3.2.1)
TX_STAMP = 1 << 19  # the packet's time is taken (IEEE 1588)
TX_DTYP, TX_CONTEXT, TX_VLE, TX_TSE = 15 << 20, 2 << 20, 1 << 30, 1 << 31
TX_IC = 1 << 26
# And of its options: IP's and the transport's checksum inserted
TX_IXSM, TX_TXSM = 1 << 8, 1 << 9
# Of a context's type word: IPv4, and the transport (7.2.3.2.3)
TUCMD_IPV4, L4T = 1 << 10, 3 << 11
L4T_UDP, L4T_TCP, L4T_SCTP = 0 << 11, 1 << 11, 2 << 11
LONGEST_SENT = 15872  # bytes of a frame or segment, 15.5 KiB (7.2.1.1)

# Packet types of a receive descriptor's info word, bits 15:4, here in place (7.1.6.2)
PTYPE_IPV4, PTYPE_IPV4_OPTIONS, PTYPE_IPV6, PTYPE_IPV6_EXTENSIONS = 1 << 4, 1 << 5, 1 << 6, 1 << 7
PTYPE_TCP, PTYPE_UDP, PTYPE_SCTP = 1 << 8, 1 << 9, 1 << 10
# RSS types of bits 3:0: what was hashed (7.1.6.2)
RSS_TCP_IPV4, RSS_IPV4, RSS_TCP_IPV6, RSS_IPV6, RSS_UDP_IPV4, RSS_UDP_IPV6 = 1, 2, 3, 5, 7, 8
RX_STAMP = 1 << 16  # of a received packet's status: its time has been taken
PTP = 0x88F7  # the EtherType of IEEE 1588 over Ethernet
CLOCKS, CLOCK_NS = 5, 32  # the system time's clock at 10 Gbit/s: 156.25 MHz
