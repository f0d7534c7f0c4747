"""The 82599's receive filters, frame sizes and RSS registers (7.1.1, 7.1.2.8, 8.2.3.7)."""

from ixy.datasheets import intel82599_device as sheet
from ixy.emulator.intel82599.classify import toeplitz_table
from ixy.emulator.intel82599.storage import Storage
from ixy.emulator.wire.loopback import Loopback
from ixy.memory.ordered import address_of

# MCSTCTRL.MO: the lowest of the 12 address bits that index the table
GROUP_SHIFTS = (36, 35, 34, 32)


class Filters(Storage):
    """Which frames are received, and into which queue."""

    def __init__(self) -> None:
        super().__init__()
        self._toeplitz = toeplitz_table(bytes(40))
        self.plug = Loopback()  # from the transmitter to the receiver, inside the MAC
        self._set(toeplitz=address_of(self._toeplitz))

    def reset_filters(self) -> None:
        """Filters and RSS as their registers say after a reset: all off."""
        for array in ("groups", "reta", "vfta"):
            self.port[0][array][:] = 0
        self._toeplitz[:] = 0
        self._set(rss=0)
        self._configure_filters()
        self._configure_frames()
        self._configure_tags()
        self.write_RXCSUM(self._word("RXCSUM"), 0)

    def _configure_filters(self, *_: int) -> None:
        """Address filters, 7.1.1.1."""
        mode = self._field(sheet.MCSTCTRL.MO, "MCSTCTRL")
        self._set(
            unicast=self._field(sheet.FCTRL.UPE, "FCTRL"),
            multicast=self._field(sheet.FCTRL.MPE, "FCTRL"),
            broadcast=self._field(sheet.FCTRL.BAM, "FCTRL") | self._field(sheet.FCTRL.MPE, "FCTRL"),
            hashed_groups=self._field(sheet.MCSTCTRL.MFE, "MCSTCTRL"),
            group_shift=GROUP_SHIFTS[mode],
        )
        stations = [
            self._word("RAL", i) | sheet.RAH.HIGH.of(high) << 32
            for i in range(128)
            if (high := self._word("RAH", i)) & sheet.RAH.AV.mask
        ]
        self.port[0]["station"][: len(stations)] = stations
        self._set(stations=len(stations))

    write_FCTRL = write_MCSTCTRL = write_RAL = write_RAH = _configure_filters

    def _configure_tags(self, *_: int) -> None:
        """VLAN filter, and what is taken for a tag: 7.1.1.2, 7.4.5."""
        control = self._word("VLNCTRL")
        has_canonical = sheet.VLNCTRL.CFIEN.of(control)
        self._set(
            tag_type=sheet.VLNCTRL.VET.of(control),
            tag_filter=sheet.VLNCTRL.VFE.of(control),
            canonical=sheet.VLNCTRL.CFI.of(control) if has_canonical else -1,
            double_received=self._field(sheet.EXTENDED_VLAN, "CTRL_EXT"),
            outer_type=self._field(sheet.EXVET.VET_EXT, "EXVET"),
        )

    write_VLNCTRL = write_CTRL_EXT = write_EXVET = _configure_tags

    def write_VFTA(self, value: int, index: int) -> None:
        """The VLANs that pass: a bit for each."""
        self.port[0]["vfta"][index] = value

    def write_RXCSUM(self, value: int, _: int) -> None:
        """What stands in a descriptor: the hash, or an IP identification and the sum of a
        fragment.
        """
        self._set(
            hash_reported=sheet.RXCSUM.PCSD.of(value), fragment_sums=sheet.RXCSUM.IPPCSE.of(value)
        )

    def write_MTA(self, value: int, index: int) -> None:
        """The multicast hash table."""
        self.port[0]["groups"][index] = value

    def _configure_frames(self, *_: int) -> None:
        """Frame sizes, CRC, padding, loopback: 8.2.3.22.8, 8.2.3.22.13. To strip the CRC both of
        its bits must be set.
        """
        jumbo = self._field(sheet.HLREG0.JUMBOEN, "HLREG0")
        strip = self._field(sheet.HLREG0.RXCRCSTRP, "HLREG0") and self._field(
            sheet.RDRXCTL.CRCSTRIP, "RDRXCTL"
        )
        self._set(
            longest=self._field(sheet.MAXFRS.MFS, "MAXFRS") if jumbo else 1518,
            pad=self._field(sheet.HLREG0.TXPADEN, "HLREG0"),
            strip=int(strip),
            loopback=address_of(self.plug.record)
            if self._field(sheet.HLREG0.LPBK, "HLREG0")
            else 0,
        )

    write_HLREG0 = write_MAXFRS = write_RDRXCTL = _configure_frames

    def write_MRQC(self, value: int, _: int) -> None:
        """RSS: which fields are hashed."""
        self._set(rss=value & 0xFFFF0000 if sheet.MRQC.MRQE.of(value) == 1 else 0)

    def write_RETA(self, value: int, index: int) -> None:
        """Four entries of four bits."""
        self.port[0]["reta"][4 * index : 4 * index + 4] = [value >> 8 * i & 15 for i in range(4)]

    def write_RSSRK(self, _: int, __: int) -> None:
        """The hash's table follows from the key."""
        key = b"".join(self._word("RSSRK", i).to_bytes(4, "little") for i in range(10))
        self._toeplitz[:] = toeplitz_table(key)

    def write_FDIRCTRL(self, value: int, _: int) -> None:
        """The flow director's memory is ready at once. It holds no filters: none ever matches."""
        self._store_named("FDIRCTRL", 0, value | sheet.FDIRCTRL.INIT_DONE.mask)

    def write_FDIRCMD(self, value: int, _: int) -> None:
        """A command is through as soon as it is given."""
        self._store_named("FDIRCMD", 0, value & ~sheet.FDIRCMD.CMD.mask)
