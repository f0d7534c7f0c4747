"""The vfio-user protocol, version 0.x, as QEMU's interface specification "vfio-user" has it.

A client (who has memory and a driver or a guest) and a server (who is the device) exchange messages
over a Unix socket: a header, then what belongs to the command, little-endian. Descriptors travel
beside them. Regions and interrupts are described in VFIO's structs.
"""

from enum import IntEnum

from ixy.datasheets.vfio import PCI_REGIONS, Layout

MAJOR, MINOR = 0, 1


class Command(IntEnum):
    """What a message asks for (section "Commands")."""

    VERSION = 1
    DMA_MAP = 2
    DMA_UNMAP = 3
    DEVICE_GET_INFO = 4
    DEVICE_GET_REGION_INFO = 5
    DEVICE_GET_IRQ_INFO = 7
    DEVICE_SET_IRQS = 8
    REGION_READ = 9
    REGION_WRITE = 10
    DEVICE_RESET = 13
    REGION_WRITE_MULTI = 15


HEADER = Layout(id="H", command="H", size="I", flags="I", error="I")
TYPE, REPLY, NO_REPLY, ERROR = 0xF, 1, 1 << 4, 1 << 5  # flags; `error` is an errno

VERSION = Layout(major="H", minor="H")  # then JSON: {"capabilities": {...}}, and a NUL
DMA_MAP = Layout(argsz="I", flags="I", offset="Q", address="Q", size="Q")
DMA_READABLE, DMA_WRITEABLE = 1 << 0, 1 << 1
DMA_UNMAP_ALL = 1 << 1
DMA_UNMAP = Layout(argsz="I", flags="I", address="Q", size="Q")
ACCESS = Layout(offset="Q", region="I", count="I")  # region read and write; then the data
WRITES = Layout(count="Q")  # then so many WRITE
WRITE = Layout(offset="Q", region="I", count="I", data="Q")

# Capabilities, and the limits that hold for both our ends
MAX_FDS, MAX_TRANSFER, PAGE_SIZES = "max_msg_fds", "max_data_xfer_size", "pgsizes"
MAX_MAPS, WRITE_MULTIPLE = "max_dma_maps", "write_multiple"
FILES = 16  # descriptors beside a message
TRANSFER = 1 << 20  # bytes of data in a message
LONGEST = TRANSFER + 4096  # bytes of a message
# Capabilities that only our client asks for and only our server has
BY_MESSAGE = "ixy_reads_by_message"  # the client stores to doorbell pages, and never loads
FAR_END = "ixy_far_end"  # there is one more region: JSON on what the server knows of its wire
FAR_END_REGION, FAR_END_SIZE = PCI_REGIONS, 4096
