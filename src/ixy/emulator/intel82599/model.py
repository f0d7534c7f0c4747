"""The 82599's registers: what a read gives and what a write does, by the datasheet (chapter 8).

A register without a method here is plain storage. `read_NAME` and `write_NAME` are its side
effects; statistics clear when they are read. The model does not know how it is reached: a bus calls
`read`, `write`, `config_read`, `config_write` and the DMA map, all under its lock.
"""

import threading
from typing import Any

import numpy as np

from ixy.compiled import compiled
from ixy.datasheets import intel82599 as sheet
from ixy.datasheets import pci
from ixy.datasheets.registers import Register
from ixy.emulator.intel82599 import datapath
from ixy.emulator.intel82599.classify import toeplitz_table
from ixy.emulator.intel82599.datapath import Mapping, Port
from ixy.emulator.intel82599.eeprom import eeprom_image, mac_of
from ixy.emulator.wire.base import Wire
from ixy.emulator.wire.frames import LONGEST
from ixy.errors import IxyError
from ixy.memory.dma import DmaMemory
from ixy.memory.ordered import address_of, lock, records, unlock

MAX_MAPPINGS = 1024
GROUP_SHIFTS = (
    36,
    35,
    34,
    32,
)  # sheet.MCSTCTRL.MO: the lowest of the 12 address bits that index the table
LINK_10G = 3
# Counters by register; those of an array begin at the index given
STATISTICS = {
    "TPR": datapath.RX_COUNTS + datapath.ALL,
    "GPRC": datapath.RX_COUNTS + datapath.GOOD,
    "BPRC": datapath.RX_COUNTS + datapath.BROADCAST,
    "MPRC": datapath.RX_COUNTS + datapath.MULTICAST,
    "PRC": datapath.RX_COUNTS + datapath.BY_SIZE,
    "TPT": datapath.TX_COUNTS + datapath.ALL,
    "GPTC": datapath.TX_COUNTS + datapath.GOOD,
    "BPTC": datapath.TX_COUNTS + datapath.BROADCAST,
    "MPTC": datapath.TX_COUNTS + datapath.MULTICAST,
    "PTC": datapath.TX_COUNTS + datapath.BY_SIZE,
    "RUC": datapath.RUC,
    "ROC": datapath.ROC,
    "RXMPC": datapath.RXMPC,
    "QPRC": datapath.QPRC,
    "QPRDC": datapath.QPRDC,
}
OCTETS = {  # 36-bit counters: reading the low half latches the high one
    "GORC": datapath.RX_COUNTS + datapath.OCTETS,
    "GOTC": datapath.TX_COUNTS + datapath.OCTETS,
    "QBRC_": datapath.QBRC,
}


@compiled
def _lock(port):
    lock(port[0])


@compiled
def _unlock(port):
    unlock(port[0])


class Intel82599:
    """An 82599 with a wire in its port. Raises IxyError for a model that it does not know."""

    def __init__(self, wire: Wire, mac: bytes, model: str = "82599") -> None:
        if model not in sheet.MODELS:
            raise IxyError(f"unknown model {model!r}: give it one of {', '.join(sheet.MODELS)}")
        self.wire = wire
        self._eeprom = eeprom_image(mac)
        self._memory = DmaMemory(sheet.REGISTER_SPACE)
        self.registers = np.frombuffer(self._memory.view(0, sheet.REGISTER_SPACE), np.uint32)
        self.registers_address = self._memory.address
        self.port = records(1, Port)
        self._mappings = np.zeros(MAX_MAPPINGS, Mapping)
        self._toeplitz = toeplitz_table(bytes(40))
        self._crc = np.concatenate([_crc_table(), np.zeros(LONGEST // 4 + 1, np.uint32)])
        self._high = dict.fromkeys(OCTETS, 0)  # high halves latched by reads of the low ones
        self._guard = threading.RLock()
        self.failure: IxyError | None = None  # what stopped the wire
        self.awake = True  # whether somebody steps it: no link before that
        self.config = _config_space(sheet.MODELS[model])
        self._set(
            wire=address_of(wire.record),
            mappings=address_of(self._mappings),
            toeplitz=address_of(self._toeplitz),
            crc=address_of(self._crc),
        )
        self.reset()

    # How a bus reaches it

    def read(self, offset: int) -> int:
        """Reads a register of BAR 0. Offsets without a register read 0."""
        with self:
            found = sheet.INTEL82599.at(offset)
            if found is None:
                return 0
            row, index = found
            name = row.name[:-1]
            if row.name in STATISTICS:
                return self._take(STATISTICS[row.name], row.name, index)
            if name in OCTETS:
                return self._take_octets(name, low=row.name.endswith("L")) if index == 0 else 0
            reader = getattr(self, f"read_{row.name}", None)
            word = int(self.registers[row.offsets[index] // 4])
            return word if reader is None else int(reader(word))

    def write(self, offset: int, value: int) -> None:
        """Writes a register of BAR 0. Writes to read-only ones and to offsets without one do
        nothing.
        """
        with self:
            found = sheet.INTEL82599.at(offset)
            if found is None or found[0].access in ("RO", "RC"):
                return
            row, index = found
            writer = getattr(self, f"write_{row.name}", None)
            self._store(row, index, value)
            if writer is not None:
                writer(value, index)

    def config_read(self, offset: int, size: int) -> int:
        """Reads configuration space."""
        return int.from_bytes(self.config[offset : offset + size], "little")

    def config_write(self, offset: int, size: int, value: int) -> None:
        """Writes configuration space: here only the command register and the interrupt line are
        writable.
        """
        with self:
            if offset in (pci.COMMAND, pci.INTERRUPT_LINE):
                self.config[offset : offset + size] = value.to_bytes(size, "little")
            self._configure_bus()

    def dma_map(self, iova: int, address: int, size: int) -> None:
        """The driver lets the device reach `size` bytes, here at `address`, under `iova`."""
        with self:
            count = int(self.port[0]["mapped"])
            if count == MAX_MAPPINGS:
                raise IxyError(f"more than {MAX_MAPPINGS} DMA mappings")
            self._mappings[count] = (iova, size, address)
            known = self._mappings[: count + 1]
            known[:] = np.sort(known, order="size")[::-1]  # that of the packets is found first
            self._set(mapped=count + 1)

    def dma_unmap(self, iova: int) -> None:
        """Ends a mapping. Rings in it stop."""
        with self:
            left = self._mappings[: int(self.port[0]["mapped"])]
            left = left[left["iova"] != iova].copy()
            self._mappings[: len(left)] = left
            self._set(mapped=len(left))
            for queue in range(sheet.QUEUES):
                self._configure_rx(queue)
                self._configure_tx(queue)

    def step(self, burst: int = datapath.BURST) -> int:
        """One round of the data path, for tests: returns how many frames it handled."""
        frames = int(_step(self.port, burst))
        self.service()
        return frames

    def service(self) -> None:
        """What the compiled data path leaves to Python: call it between slices. A wire that fails
        loses its link.
        """
        if self.failure is None:
            try:
                self.wire.service()
            except IxyError as error:
                self.failure = error
        self._set(link=int(self._has_link()))

    def _has_link(self) -> bool:
        return self.wire.link and self.failure is None and self.awake

    def fault(self) -> str | None:
        """The first DMA fault, in words."""
        port = self.port[0]
        if not port["faults"]:
            return None
        return (
            f"the device was told to access {int(port['fault_size'])} bytes at"
            f" {int(port['fault_address']):#x}, which is not mapped for DMA"
        )

    def close(self) -> None:
        """Unplugs the wire and gives the memory back. Nothing runs it any more."""
        self.wire.close()
        del self.registers
        self._memory.close()

    def __enter__(self) -> None:
        self._guard.acquire()
        _lock(self.port)

    def __exit__(self, *_: object) -> None:
        _unlock(self.port)
        self._guard.release()

    # Reset and general registers

    def reset(self) -> None:
        """Software reset: registers to their initial values, the MAC address from the EEPROM
        (4.2.1.6.1).
        """
        self.registers[:] = 0
        for row in sheet.INTEL82599.rows:
            for index in range(len(row.offsets) if row.reset else 0):
                self._store(row, index, row.reset)
        port = self.port[0]
        for array in ("counts", "groups", "reta"):
            port[array][:] = 0
        self._toeplitz[:] = 0
        self._high = dict.fromkeys(OCTETS, 0)
        self._set(held=0, faults=0, rss=0, receiving=0, transmitting=0, link=self._has_link())
        for queue in range(sheet.QUEUES):
            self._configure_rx(queue)
            self._configure_tx(queue)
        mac = mac_of(self._eeprom)
        self._store_named("RAL", 0, int.from_bytes(mac[:4], "little"))
        self._store_named("RAH", 0, int.from_bytes(mac[4:], "little") | sheet.RAH.AV.mask)
        self._store_named("EEC", 0, sheet.EEC.PRES.mask | sheet.EEC.ARD.mask)
        self._configure_filters()
        self._configure_frames()
        self._configure_bus()

    def write_CTRL(self, value: int, _: int) -> None:
        """RST and LNK_RST clear themselves when the reset is through; GIO_DIS ends bus mastering
        (5.2.5.3.2).
        """
        if value & (sheet.CTRL.RST.mask | sheet.CTRL.LNK_RST.mask):
            self.reset()
        self._configure_bus()

    def read_STATUS(self, word: int) -> int:
        """STATUS.GIO shows whether requests are enabled or still under way: here none ever is."""
        return sheet.STATUS.GIO.put(word, int(not self._field(sheet.CTRL.GIO_DIS, "CTRL")))

    def write_EERD(self, value: int, _: int) -> None:
        """Reads a word of the EEPROM, at once."""
        if value & sheet.EERD.START.mask:
            address = sheet.EERD.ADDR.of(value)
            data = int(self._eeprom[address]) if address < len(self._eeprom) else 0xFFFF
            self._store_named(
                "EERD",
                0,
                sheet.EERD.DATA.put(
                    value & 0xFFFF & ~sheet.EERD.START.mask | sheet.EERD.DONE.mask, data
                ),
            )

    def read_SWSM(self, word: int) -> int:
        """Who reads SMBI as 0 has the semaphore: reading sets it."""
        self._store_named("SWSM", 0, word | sheet.SWSM.SMBI.mask)
        return word

    def read_EICR(self, word: int) -> int:
        """Interrupt causes clear when they are read."""
        self._store_named("EICR", 0, 0)
        return word

    def write_EIMC(self, value: int, _: int) -> None:
        """Clears bits of the mask."""
        place = sheet.INTEL82599.registers["EIMS"].offsets[0] // 4
        self.registers[place] &= ~value & 0xFFFFFFFF

    def read_LINKS(self, _: int) -> int:
        """10 Gbit/s as soon as the wire has an other end."""
        up = int(self._has_link())
        self._set(link=up)
        return sheet.LINKS.SPEED.put(sheet.LINKS.UP.put(0, up), LINK_10G if up else 0)

    def _configure_bus(self) -> None:
        command = self.config_read(pci.COMMAND, 2)
        mastering = bool(command & pci.COMMAND_BUS_MASTER) and not self._field(
            sheet.CTRL.GIO_DIS, "CTRL"
        )
        self._set(master=int(mastering))

    # Filters, frames, RSS

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

    def write_MTA(self, value: int, index: int) -> None:
        """The multicast hash table."""
        self.port[0]["groups"][index] = value

    def _configure_frames(self, *_: int) -> None:
        """Frame sizes, CRC, padding: 8.2.3.22.8, 8.2.3.22.13. Both CRC strip bits must be set to
        strip.
        """
        jumbo = self._field(sheet.HLREG0.JUMBOEN, "HLREG0")
        strip = self._field(sheet.HLREG0.RXCRCSTRP, "HLREG0") and self._field(
            sheet.RDRXCTL.CRCSTRIP, "RDRXCTL"
        )
        self._set(
            longest=self._field(sheet.MAXFRS.MFS, "MAXFRS") if jumbo else 1518,
            pad=self._field(sheet.HLREG0.TXPADEN, "HLREG0"),
            strip=int(strip),
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

    # Queues

    def write_RXCTRL(self, value: int, _: int) -> None:
        """Starts and stops the receiver."""
        self._set(receiving=sheet.RXCTRL.RXEN.of(value))

    def write_DMATXCTL(self, value: int, _: int) -> None:
        """Starts and stops the transmitter."""
        self._set(transmitting=sheet.DMATXCTL.TE.of(value))

    def write_RXDCTL(self, value: int, index: int) -> None:
        """Starts a queue at descriptor 0, or stops it; ENABLE reads back at once (4.6.7.1)."""
        if index < sheet.QUEUES:
            if not value & sheet.RXDCTL.ENABLE.mask or not self.port[0]["rx"][index]["ring"]:
                self._rewind("rx", "RDH", index)
            self._configure_rx(index)

    def write_SRRCTL(self, _: int, index: int) -> None:
        """Buffer size and drop rule."""
        if index < sheet.QUEUES:
            self._configure_rx(index)

    def write_TXDCTL(self, value: int, index: int) -> None:
        """Starts a queue at descriptor 0, or stops it."""
        if index < sheet.QUEUES:
            if not value & sheet.TXDCTL.ENABLE.mask or not self.port[0]["tx"][index]["ring"]:
                self._rewind("tx", "TDH", index)
            self._configure_tx(index)

    def _rewind(self, direction: str, head: str, index: int) -> None:
        self.port[0][direction][index]["head"] = self.port[0][direction][index]["tail"] = 0
        self._store_named(head, index, 0)

    def _configure_rx(self, index: int) -> None:
        queue = self.port[0]["rx"][index]
        srrctl = self._word("SRRCTL", index)
        queue["buffer"] = max(sheet.SRRCTL.BSIZEPACKET.of(srrctl), 1) * 1024
        queue["drop"] = sheet.SRRCTL.DROP_EN.of(srrctl)
        self._configure_ring(
            queue, "RD", index, self._word("RXDCTL", index) & sheet.RXDCTL.ENABLE.mask != 0
        )

    def _configure_tx(self, index: int) -> None:
        queue = self.port[0]["tx"][index]
        self._configure_ring(
            queue, "TD", index, self._word("TXDCTL", index) & sheet.TXDCTL.ENABLE.mask != 0
        )
        active = np.flatnonzero(self.port[0]["tx"]["ring"])
        self.port[0]["tx_queues"][: len(active)] = active
        self._set(tx_active=len(active))

    def _configure_ring(self, queue: Any, prefix: str, index: int, enabled: bool) -> None:
        """Where a queue's descriptors are, here: nowhere unless it is enabled and all of them are
        mapped.
        """
        length = self._word(f"{prefix}LEN", index) & 0xFFF80
        iova = self._word(f"{prefix}BAL", index) & ~127 | self._word(f"{prefix}BAH", index) << 32
        queue["size"] = length // 16
        mapped = enabled and length and _translate(self.port, np.uint64(iova), length)
        queue["ring"] = mapped or 0
        for field, name in (("head_register", f"{prefix}H"), ("tail_register", f"{prefix}T")):
            queue[field] = self.registers_address + sheet.INTEL82599.registers[name].offsets[index]

    # Storage

    def _take(self, first: int, name: str, index: int) -> int:
        """Reads and clears a counter. Arrays: sizes have one each; of the queues' and buffers' only
        set 0 counts.
        """
        if index and name not in ("PRC", "PTC"):
            return 0
        counts = self.port[0]["counts"]
        count = int(counts[first + index])
        counts[first + index] = 0
        return min(count, 0xFFFFFFFF)  # counters stick at their maximum

    def _take_octets(self, name: str, *, low: bool) -> int:
        if not low:
            high, self._high[name] = self._high[name], 0
            return high
        counts = self.port[0]["counts"]
        count = min(int(counts[OCTETS[name]]), 2**36 - 1)
        counts[OCTETS[name]] = 0
        self._high[name] = count >> 32
        return count & 0xFFFFFFFF

    def _field(self, field: Any, name: str) -> int:
        return int(field.of(self._word(name)))

    def _word(self, name: str, index: int = 0) -> int:
        return int(self.registers[sheet.INTEL82599.registers[name].offsets[index] // 4])

    def _store_named(self, name: str, index: int, value: int) -> None:
        self._store(sheet.INTEL82599.registers[name], index, value)

    def _store(self, row: Register, index: int, value: int) -> None:
        place = row.offsets[index] // 4
        if row.access == "W1S":
            value |= int(self.registers[place])
        self.registers[place] = 0 if row.access == "WO" else value & 0xFFFFFFFF

    def _set(self, **values: int) -> None:
        for name, value in values.items():
            self.port[0][name] = value


@compiled
def _step(port, burst):
    return datapath.step(port[0], burst)


@compiled
def _translate(port, iova, size):
    return datapath.translate(port[0], np.uint64(iova), size)


def _config_space(device: int) -> bytearray:
    """A type 0 header with a 64-bit memory BAR."""
    config = bytearray(pci.CONFIG_SPACE)
    for offset, size, value in (
        (pci.VENDOR_ID, 2, sheet.VENDOR),
        (pci.DEVICE_ID, 2, device),
        (pci.COMMAND, 2, pci.COMMAND_MEMORY),
        (pci.REVISION, 1, 1),
        (pci.CLASS, 3, pci.CLASS_ETHERNET),
        (pci.BAR0, 4, pci.BAR_64BIT),
        (pci.SUBSYSTEM_VENDOR, 2, sheet.VENDOR),
        (pci.INTERRUPT_PIN, 1, 1),
    ):
        config[offset : offset + size] = value.to_bytes(size, "little")
    return config


def _crc_table() -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    """Ethernet's CRC of each byte, for reflected input: 0xEDB88320 (IEEE 802.3, 3.2.9)."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(0xEDB88320), table >> 1)
    return table
