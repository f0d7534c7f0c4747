"""PCI configuration space, type 0: byte offsets and bits (PCI Local Bus 3.0, section 6.1)."""

VENDOR_ID, DEVICE_ID, COMMAND, STATUS, REVISION, CLASS = 0x00, 0x02, 0x04, 0x06, 0x08, 0x09
HEADER_TYPE, BAR0, SUBSYSTEM_VENDOR, SUBSYSTEM_ID = 0x0E, 0x10, 0x2C, 0x2E
CAPABILITIES, INTERRUPT_LINE, INTERRUPT_PIN = 0x34, 0x3C, 0x3D
CONFIG_SPACE = 256  # bytes

COMMAND_IO, COMMAND_MEMORY, COMMAND_BUS_MASTER, COMMAND_NO_INTX = 1 << 0, 1 << 1, 1 << 2, 1 << 10
# A read of the device's own was answered with an error: by its target, or because there is none
# (PCI Express 3.0, 7.5.1.2). Writing 1 clears it.
STATUS_CAPABILITIES, STATUS_TARGET_ABORT, STATUS_MASTER_ABORT = 1 << 4, 1 << 12, 1 << 13
BAR_IO, BAR_64BIT = 0b001, 0b100  # I/O ports; memory, its address in two words (6.2.5.1)
CLASS_ETHERNET, CLASS_BRIDGE = 0x020000, 0x060400  # the latter: to another PCI bus

# Capabilities: a linked list of (id, offset of the next one) from CAPABILITIES on (6.7)
CAP_POWER, CAP_MSIX = 0x01, 0x11
POWER_CONTROL, POWER_STATE = 4, 0b11  # offset in it; D0 is 0 (PCI Power Management 1.2, 3.2.4)
MSIX_CONTROL, MSIX_TABLE = 2, 4  # offsets in it (6.8.2)
MSIX_SIZE, MSIX_BAR = 0x7FF, 0b111  # of the control word: entries - 1; of the table's: its BAR
MSIX_ENTRY = 16  # bytes
