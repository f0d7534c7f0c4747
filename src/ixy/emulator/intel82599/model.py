"""The emulated 82599: what a read of a register gives and what a write does (chapter 8).

A register without a method is plain storage. `read_NAME` and `write_NAME`, in the rooms beside this
one, are its side effects; statistics clear when they are read. The model does not know how it is
reached: a bus calls `read`, `write`, `config_read`, `config_write` and the DMA map, all under its
lock.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from ixy.compiled import compiled, entry_point, way_back
from ixy.datasheets import intel82599_device as sheet
from ixy.emulator.intel82599 import datapath
from ixy.emulator.intel82599.checksum import CRC32, CRC32C, crc_table
from ixy.emulator.intel82599.configuration import Configuration
from ixy.emulator.intel82599.eeprom import Eeprom
from ixy.emulator.intel82599.faults import Faults
from ixy.emulator.intel82599.filters import Filters
from ixy.emulator.intel82599.general import General
from ixy.emulator.intel82599.link import Link
from ixy.emulator.intel82599.phy import Phy
from ixy.emulator.intel82599.port import Mapping
from ixy.emulator.intel82599.queues import Queues
from ixy.emulator.intel82599.statistics import Statistics
from ixy.emulator.intel82599.timestamps import Timestamps
from ixy.emulator.intel82599.transmit import send_offloaded
from ixy.emulator.intel82599.watch import Watch
from ixy.emulator.wire.base import Wire
from ixy.emulator.wire.frames import LONGEST
from ixy.errors import IxyError
from ixy.memory.ordered import address_of

MAX_MAPPINGS = 1024


class Intel82599(
    Eeprom, General, Phy, Link, Filters, Timestamps, Queues, Statistics, Configuration, Faults
):
    """An 82599 with a wire in its port. Raises IxyError for a model or fault that there is not."""

    def __init__(
        self, wire: Wire, mac: bytes, model: str = "82599", faults: Sequence[str] = ()
    ) -> None:
        if model not in sheet.MODELS:
            raise IxyError(f"unknown model {model!r}: give it one of {', '.join(sheet.MODELS)}")
        super().__init__(mac)
        self.wire, self.watch = wire, Watch(self, self.read, self.write)
        self._device = sheet.MODELS[model]
        self._mappings = np.zeros(MAX_MAPPINGS, Mapping)
        self._crc = np.concatenate([crc_table(CRC32), np.zeros(LONGEST // 4 + 1, np.uint32)])
        self._crc32c = crc_table(CRC32C)
        self._set(
            here=address_of(self.port),
            wire=address_of(wire.record),
            mappings=address_of(self._mappings),
            crc=address_of(self._crc),
            crc32c=address_of(self._crc32c),
        )
        self.plant(*faults)
        self.look_up(0, 1)  # compiled by now: a driver that enables a queue must not wait for that
        self.function_level_reset()

    def read(self, offset: int) -> int:
        """Reads a register of BAR 0. Offsets without a register read 0."""
        with self:
            found = sheet.WHOLE.at(offset)
            if found is None:
                return 0
            row, index = found
            count = self.read_statistics(row.name, index)
            if count is not None:
                return count
            reader = getattr(self, f"read_{row.name}", None)
            word = int(self.registers[row.offsets[index] // 4])
            return word if reader is None else int(reader(word, index))

    def write(self, offset: int, value: int) -> None:
        """Writes a register of BAR 0. Writes to read-only ones and to offsets without one do
        nothing.
        """
        with self:
            found = sheet.WHOLE.at(offset)
            if found is None or found[0].access in ("RO", "RC"):
                return
            row, index = found
            writer = getattr(self, f"write_{row.name}", None)
            self._store(row, index, value)
            if writer is not None:
                writer(value, index)

    def dma_map(self, iova: int, address: int, size: int) -> None:
        """The driver lets the device reach `size` bytes, here at `address`, under `iova`."""
        with self:
            self._map(iova, address, size)

    def _map(self, iova: int, address: int, size: int) -> None:
        count = int(self.port[0]["mapped"])
        if count == MAX_MAPPINGS:
            raise IxyError(f"more than {MAX_MAPPINGS} DMA mappings")
        self._mappings[count] = (iova, size, address)
        known = self._mappings[: count + 1]
        known[:] = np.sort(known, order="size")[::-1]  # that of the packets is found first
        self._set(mapped=count + 1)

    def ask_for_memory(self, ask: Callable[[], Iterable[tuple[int, int, int]]]) -> None:
        """From now on, before an address is unknown, `ask` is called: it returns what `dma_map` has
        not been told, as its arguments. It is called from within the data path, which holds the
        lock: it must not wait for that, and what it raises is the model's failure.
        """

        def answer(_: int) -> None:
            try:
                for mapping in ask():
                    self._map(*mapping)
            except IxyError as error:
                self.failure = error

        self._set(ask=way_back(answer))

    def dma_unmap(self, iova: int) -> None:
        """Ends a mapping. Rings in it stop."""
        with self:
            left = self._mappings[: int(self.port[0]["mapped"])]
            left = left[left["iova"] != iova].copy()
            self._mappings[: len(left)] = left
            self._set(mapped=len(left))
            self.configure_queues()

    def reset_function(self) -> None:
        """As if nobody had ever used the function: for a host that has gone."""
        with self:
            self.disconnect_interrupts()
            self._set(mapped=0)
            self.function_level_reset()

    def step(self, burst: int = datapath.BURST) -> int:
        """One round of the data path, for tests: returns how many frames it handled."""
        self.compile_offloads()
        frames = int(_step(self.port, burst))
        self.service()
        return frames

    def service(self) -> None:
        """What the compiled data path leaves to Python: call it between slices."""
        if self.port[0]["offload_wanted"]:
            self.compile_offloads()
        self.watch.notice()
        super().service()

    def compile_offloads(self) -> None:
        """Compiles what the data path has left out, if it is not yet: no frame has to wait then."""
        self._set(offloader=entry_point(send_offloaded), offload_wanted=0)

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
        self.plug.close()
        self.free_storage()

    def reset(self) -> None:
        """Software reset: registers to their initial values, the MAC address from the EEPROM
        (4.2.1.6.1).
        """
        self.clear_storage()
        self.clear_statistics()
        self.restart_link()
        self._set(held=0, faults=0, receiving=0, transmitting=0, link=self.has_link())
        self.configure_queues()
        self.load_eeprom()
        self.reset_phy()
        self.reset_filters()
        self.reset_timestamps()
        self.reset_interrupts()
        self.configure_bus()
        self.registers[0] = self.known[0]  # RST is seen to clear itself when all this is done

    def write_CTRL(self, value: int, _: int) -> None:
        """RST and LNK_RST clear themselves when the reset is through; GIO_DIS ends bus mastering
        (5.2.5.3.2).
        """
        if value & (sheet.CTRL.RST.mask | sheet.CTRL.LNK_RST.mask):
            if "stuck-reset" in self.faults:
                return
            self.reset()
        self.configure_bus()


@compiled
def _step(port, burst):
    return datapath.step(port[0], burst)
