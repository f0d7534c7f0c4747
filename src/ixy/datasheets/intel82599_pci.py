"""The 82599's PCI configuration space (9.3): what it holds after a reset, and what can be written.

The capabilities are those of power management, MSI, MSI-X and PCI Express, at fixed places.
"""

from typing import NamedTuple

POWER_MANAGEMENT, MSI, MSIX, PCI_EXPRESS = 0x40, 0x50, 0x70, 0xA0
VECTORS = 64  # MSI-X
DEVICE_CONTROL = PCI_EXPRESS + 8
INITIATE_FLR = 1 << 15  # of device control: function level reset

# Bytes of the regions; the others are upper halves, or none
REGION_SIZES = {0: 128 * 1024, 2: 32, 4: 16 * 1024}


class Row(NamedTuple):
    """A register: its offset, size in bytes, value after a reset, and which bits can be written."""

    offset: int
    size: int
    reset: int
    writable: int


def _rows(table: str) -> list[Row]:
    lines = [line.split(None, 4) for line in table.splitlines() if line.strip()]
    return [Row(int(at, 16), int(size), int(reset, 16), int(mask, 16))
            for at, size, reset, mask, _ in lines]  # fmt: skip


CONFIGURATION = _rows("""
    00 2     8086     0000 Vendor (9.3.3)
    04 2     0000     0547 Command: I/O, memory, bus master, parity, SERR#, INTx disable
    06 2     0010     0000 Status: there are capabilities
    08 1       01       00 Revision
    09 3   020000   000000 Class: Ethernet
    0C 1       00       FF Cache line size
    10 4 0000000C FFFE0000 BAR 0: registers, 64 bits, prefetchable (9.3.6.1)
    14 4 00000000 FFFFFFFF Its upper half
    18 4 00000001 FFFFFFE0 BAR 2: the same registers over two I/O ports
    20 4 0000000C FFFFC000 BAR 4: MSI-X table, 64 bits, prefetchable
    24 4 00000000 FFFFFFFF Its upper half
    2C 2     8086     0000 Subsystem vendor
    2E 2     000C     0000 Subsystem
    34 1       40       00 First capability
    3C 1       00       FF Interrupt line
    3D 1       01       00 Interrupt pin: INTA#
    40 2     5001     0000 Power management; next at 50 (9.3.7)
    42 2     4823     0000 Version 3; PME# in D0 and D3hot
    44 2     0008     0103 No reset when it leaves D3; power state
    50 2     7005     0000 MSI; next at 70 (9.3.8)
    52 2     0180     0071 64-bit address, mask; enable
    54 4 00000000 FFFFFFFC Address
    58 4 00000000 FFFFFFFF Its upper half
    5C 2     0000     FFFF Data
    60 4 00000000 00000001 Mask
    70 2     A011     0000 MSI-X; next at A0 (9.3.9)
    72 2     003F     C000 64 vectors; function mask, enable
    74 4 00000004 00000000 Table in BAR 4 at 0
    78 4 00002004 00000000 Pending bits in BAR 4 at 0x2000
    A0 2     0010     0000 PCI Express; the last (9.3.10)
    A2 2     0002     0000 Version 2, endpoint
    A4 4 10008CC2 00000000 512 bytes of payload at most; function level reset
    A8 2     2810     78FF Device control
    AC 4 00000482 00000000 Link: 5 GT/s, 8 lanes
    B0 2     0000     0043 Link control
    B2 2     1082     0000 Link status: 5 GT/s, 8 lanes
    C4 4 0000001F 00000000 Completion time-outs of all ranges
    C8 2     0000     001F Device control 2
    D0 2     0002     0000 Link control 2: target 5 GT/s
""")
