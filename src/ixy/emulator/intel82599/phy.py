"""What is between the 82599's MAC and its wire: an SFP+ module, or a backplane (8.2.3.22)."""

from ixy.datasheets import intel82599_device as sheet
from ixy.emulator.intel82599.serial import I2cModule
from ixy.emulator.intel82599.storage import Storage

SFI, BACKPLANE = 3, 4  # AUTOC.LMS: 10 Gbit/s serial; KX, KX4 or KR with auto-negotiation
CAGES = (0x10FB, 0x1557, 0x15AC)  # device ids with an SFP+ cage
INTEL = bytes.fromhex("001b21")  # its organization's number in MAC addresses


def sfp_module() -> bytes:
    """The memory of a 10GBASE-SR module (SFF-8472): 256 bytes."""
    memory = bytearray(256)
    for place, content in (
        (0, b"\x03\x04\x07\x10"),  # SFP, its extended identifier, an LC connector, 10GBASE-SR
        (11, b"\x06\x67"),  # 64B/66B, 10.3 Gbit/s
        (16, b"\x08\x03\x00\x1e"),  # metres of fibre, in tens
        (20, b"Intel Corp".ljust(16)),
        (37, INTEL),
        (40, b"ixy-SR".ljust(16) + b"A".ljust(4)),  # part number, revision
        (60, (850).to_bytes(2, "big")),  # nm
        (65, b"\x1a"),  # it can be switched off, and tells faults and loss of signal
        (68, b"1".ljust(16) + b"261122".ljust(8)),  # serial number, date
    ):
        memory[place : place + len(content)] = content
    memory[63], memory[95] = sum(memory[:63]) & 0xFF, sum(memory[64:95]) & 0xFF  # checksums
    return bytes(memory)


class Phy(Storage):
    """The pins to the module, and the link mode."""

    _device: int

    def __init__(self) -> None:
        super().__init__()
        self._module = I2cModule(sfp_module())

    def reset_phy(self) -> None:
        """The link mode is the EEPROM's."""
        mode = SFI if self._device in CAGES else BACKPLANE
        self._store_named("AUTOC", 0, sheet.AUTOC.LMS.put(self._word("AUTOC"), mode))

    def read_ESDP(self, word: int, _: int) -> int:
        """Pins that are inputs show what is outside: SDP2 that there is a module."""
        outputs = sheet.ESDP.OUTPUTS.of(word)
        outside = 1 << 2 if self._device in CAGES else 0
        return sheet.ESDP.DATA.put(word, word & outputs | outside & ~outputs)

    def write_I2CCTL(self, value: int, _: int) -> None:
        """Moves the wires to the module."""
        pins = sheet.I2CCTL
        self._module.drive(bool(pins.CLK_OUT.of(value)), bool(pins.DATA_OUT.of(value)))

    def read_I2CCTL(self, word: int, _: int) -> int:
        """What is on the wires: both sides can pull them down."""
        pins = sheet.I2CCTL
        data = pins.DATA_OUT.of(word) & (self._module.out or self._device not in CAGES)
        return pins.DATA_IN.put(pins.CLK_IN.put(word, pins.CLK_OUT.of(word)), data)

    def write_MSCA(self, value: int, _: int) -> None:
        """A cycle of the management bus is over at once. Nobody answers: no PHY has registers."""
        self._store_named("MSCA", 0, value & ~sheet.MSCA.COMMAND.mask)
        data = self._word("MSRWD")
        self._store_named("MSRWD", 0, sheet.MSRWD.READ.put(data, 0xFFFF))
