"""An emulated function as vfio-user shows it: regions, interrupts, the client's memory.

A method per command takes the message's payload and descriptors (it removes those that it keeps)
and returns the reply's. OSError and struct.error are errors of the client's, sent back to it.
"""

import errno
import json
import os
import struct
from collections.abc import Callable

from ixy.bus.foreign import ForeignMemory
from ixy.datasheets import intel82599_device as nic
from ixy.datasheets import pci, vfio
from ixy.datasheets import vfio_user as sheet
from ixy.datasheets.vfio_user import Command
from ixy.emulator.intel82599.messages import VECTORS
from ixy.emulator.intel82599.model import MAX_MAPPINGS, Intel82599
from ixy.emulator.wire.frames import drop_all

Reply = tuple[bytes, tuple[int, ...]]
KINDS = {vfio.INTX: "intx", vfio.MSI: "msi", vfio.MSIX: "msix"}
VECTOR_COUNTS = {vfio.INTX: 1, vfio.MSI: 1, vfio.MSIX: VECTORS, vfio.ERR: 1, vfio.REQ: 1}
REGISTERS, PORTS, TABLE = 0, 2, 4  # BARs: memory, I/O, the interrupt table
TABLE_SIZE, PORTS_SIZE = 16 * 1024, 32
IOADDR, IODATA = 0, 4  # a register's offset, and the register (8.1.1.2)
PAGE = 4096
RX_DOORBELLS, TX_DOORBELLS = 0x1000, 0x6000  # pages of the first 64 queues' registers
EVENTFD = "anon_inode:[eventfd]"


class VfioDevice:
    """A model, and what its client has connected to it."""

    def __init__(self, model: Intel82599) -> None:
        self.model = model
        self.capabilities: set[str] = set()  # those of ours alone that the client has asked for
        self._table = bytearray(TABLE_SIZE)
        self._io_address = 0
        self._maps: dict[int, tuple[int, ForeignMemory | None]] = {}
        self._eventfds: dict[tuple[int, int], int] = {}
        self._masked: set[tuple[int, int]] = set()
        self._commands: dict[int, Callable[[bytes, list[int]], Reply]] = {
            Command.DMA_MAP: self._dma_map,
            Command.DMA_UNMAP: self._dma_unmap,
            Command.DEVICE_GET_INFO: self._device_info,
            Command.DEVICE_GET_REGION_INFO: self._region_info,
            Command.DEVICE_GET_IRQ_INFO: self._irq_info,
            Command.DEVICE_SET_IRQS: self._set_irqs,
            Command.REGION_READ: self._region_read,
            Command.REGION_WRITE: self._region_write,
            Command.REGION_WRITE_MULTI: self._region_write_multi,
            Command.DEVICE_RESET: self._reset,
        }

    def obey(self, command: int, payload: bytes, files: list[int]) -> Reply:
        """Does what the client asks for. What it has written as memory before comes first."""
        if command not in self._commands:
            raise OSError(errno.ENOTSUP, "no such command")
        self.model.watch.notice()
        return self._commands[command](payload, files)

    def forget_client(self) -> None:
        """Back to the state after a reset: no memory, no interrupts."""
        for vector in list(self._eventfds):
            self._connect(*vector, None)
        for address in list(self._maps):
            self._unmap(address)
        self.model.watch.clear()
        self.model.function_level_reset()
        self._drop_frames()
        self.capabilities.clear()

    def _drop_frames(self) -> None:
        """What arrived for one client is not for the next, unless the wire waits for it."""
        wire = self.model.wire.record[0]
        with self.model:
            if not wire["patient"]:
                wire["lost"] += drop_all(wire["rx"])

    def has_lost_memory(self) -> bool:
        """Whether the client has cut its memory short while the device used it."""
        return any(memory is not None and memory.lost for _, memory in self._maps.values())

    def _device_info(self, _: bytes, __: list[int]) -> Reply:
        flags = vfio.DEVICE_RESETS | vfio.DEVICE_IS_PCI
        regions = vfio.PCI_REGIONS + (sheet.FAR_END in self.capabilities)
        info = vfio.DEVICE_INFO
        counts = {"num_regions": regions, "num_irqs": len(VECTOR_COUNTS)}
        return info.pack(argsz=info.size, flags=flags, **counts), ()

    def _reset(self, _: bytes, __: list[int]) -> Reply:
        """As a reset of the function: memory and interrupts are the client's affair, and stay."""
        self.model.function_level_reset()
        return b"", ()

    # Memory

    def _dma_map(self, payload: bytes, files: list[int]) -> Reply:
        """Memory without a descriptor is not reachable: what the device does there is a fault."""
        fields = sheet.DMA_MAP.unpack(payload)
        begin, end = fields.address, fields.address + fields.size
        if not fields.size or end > 1 << 64 or len(files) > 1:
            raise OSError(errno.EINVAL, "no range of addresses")
        if any(begin < other + size and other < end for other, (size, _) in self._maps.items()):
            raise OSError(errno.EEXIST, "mapped already")
        if len(self._maps) == MAX_MAPPINGS:
            raise OSError(errno.ENOSPC, "too many mappings")
        memory = None
        if files and fields.flags & (sheet.DMA_READABLE | sheet.DMA_WRITEABLE):
            writeable = bool(fields.flags & sheet.DMA_WRITEABLE)
            memory = ForeignMemory(files[0], fields.offset, fields.size, writeable=writeable)
            self.model.dma_map(begin, memory.address, fields.size)
        self._maps[begin] = fields.size, memory
        return b"", ()

    def _dma_unmap(self, payload: bytes, _: list[int]) -> Reply:
        """Everything in a range, or everything. A guest's IOMMU that begins anew has QEMU unmap all
        addresses in ranges of its own, empty ones too.
        """
        fields = sheet.DMA_UNMAP.unpack(payload)
        begin, end = fields.address, fields.address + fields.size
        if fields.flags & sheet.DMA_UNMAP_ALL and begin == end == 0:
            end = 1 << 64
        inside = {a for a, (size, _) in self._maps.items() if begin < a + size and a < end}
        if begin == end or any(a < begin or a + self._maps[a][0] > end for a in inside):
            raise OSError(errno.EINVAL, "mappings go as a whole")
        for address in inside:
            self._unmap(address)
        return payload[: sheet.DMA_UNMAP.size], ()

    def _unmap(self, address: int) -> None:
        _, memory = self._maps.pop(address)
        if memory is not None:
            self.model.dma_unmap(address)
            memory.close()

    # Regions

    def _size_of(self, region: int) -> int:
        sizes = {
            REGISTERS: nic.REGISTER_SPACE,
            PORTS: PORTS_SIZE,
            TABLE: TABLE_SIZE,
            vfio.CONFIG_REGION: pci.CONFIG_SPACE,
        }
        if sheet.FAR_END in self.capabilities:
            sizes[sheet.FAR_END_REGION] = sheet.FAR_END_SIZE
        if region not in sizes and region >= vfio.PCI_REGIONS:
            raise OSError(errno.EINVAL, "no such region")
        return sizes.get(region, 0)

    def _region_info(self, payload: bytes, _: list[int]) -> Reply:
        """A region; the registers' with the doorbell pages that the client may map.

        Of what a load there would show, plain memory cannot imitate counters that it clears and
        bits that stay zero: Linux's self test stores a base address and loads it at once. So the
        pages are for a client who has said that it only stores there.
        """
        fields = vfio.REGION_INFO.unpack(payload)
        size, index = self._size_of(fields.index), fields.index
        flags = vfio.REGION_READABLE | vfio.REGION_WRITEABLE if size else 0
        info = vfio.REGION_INFO
        if index != REGISTERS or sheet.BY_MESSAGE not in self.capabilities:
            return info.pack(argsz=info.size, flags=flags, index=index, size=size), ()
        pages = [RX_DOORBELLS, TX_DOORBELLS]
        areas = vfio.AREAS.pack(count=len(pages))
        areas += b"".join(vfio.AREA.pack(offset=page, size=PAGE) for page in pages)
        chain = vfio.CAPABILITY.pack(id=vfio.SPARSE_MMAP, version=1) + areas
        total = info.size + len(chain)
        flags |= vfio.REGION_MMAP | vfio.REGION_CAPS
        place = {"index": index, "cap_offset": info.size, "size": size}
        reply = info.pack(argsz=total, flags=flags, **place)
        if fields.argsz < total:
            return reply, ()  # it asks again, with room for all
        self._watch(pages)
        return reply + chain, (self.model.registers_file,)

    def _watch(self, pages: list[int]) -> None:
        """The client may map these from now on."""
        self.model.watch.clear()
        for page in pages:
            self.model.watch.add(page, PAGE)

    def _region_read(self, payload: bytes, _: list[int]) -> Reply:
        offset, region, count = sheet.ACCESS.unpack(payload)
        self._check_access(region, offset, count)
        place = sheet.ACCESS.pack(offset=offset, region=region, count=count)
        return place + self._read(region, offset, count), ()

    def _region_write(self, payload: bytes, _: list[int]) -> Reply:
        offset, region, count = sheet.ACCESS.unpack(payload)
        data = payload[sheet.ACCESS.size :]
        if len(data) != count:
            raise OSError(errno.EINVAL, "not as much data as it says")
        self._check_access(region, offset, count)
        self._write(region, offset, data)
        return payload[: sheet.ACCESS.size], ()

    def _region_write_multi(self, payload: bytes, _: list[int]) -> Reply:
        [count] = sheet.WRITES.unpack(payload)
        if len(payload) != sheet.WRITES.size + count * sheet.WRITE.size:
            raise OSError(errno.EINVAL, "not as many writes as it says")
        for i in range(count):
            start = sheet.WRITES.size + i * sheet.WRITE.size
            offset, region, size, data = sheet.WRITE.unpack(payload[start:])
            self._check_access(region, offset, size)
            self._write(region, offset, data.to_bytes(8, "little")[:size])
        return sheet.WRITES.pack(count=count), ()

    def _check_access(self, region: int, offset: int, count: int) -> None:
        """Registers take the accesses that a processor makes, the others any."""
        aligned = count in (1, 2, 4, 8) and offset % count == 0
        inside = 0 < count <= sheet.TRANSFER and offset + count <= self._size_of(region)
        if not inside or not (aligned or region in (vfio.CONFIG_REGION, sheet.FAR_END_REGION)):
            raise OSError(errno.EINVAL, "no such access")

    def _read(self, region: int, offset: int, count: int) -> bytes:
        if region == REGISTERS:
            first = offset & ~3
            words = (self.model.read(place) for place in range(first, offset + count, 4))
            data = b"".join(word.to_bytes(4, "little") for word in words)
            return data[offset - first :][:count]
        if region == vfio.CONFIG_REGION:
            return self.model.config_read(offset, count).to_bytes(count, "little")
        if region == sheet.FAR_END_REGION:
            return self._far_end()[offset : offset + count]
        if region == PORTS:
            return self._read_port(offset, count)
        return bytes(self._table[offset : offset + count])

    def _write(self, region: int, offset: int, data: bytes) -> None:
        if region == REGISTERS:
            self._write_registers(offset, data)
        elif region == vfio.CONFIG_REGION:
            for at in range(0, len(data), 4):
                part = data[at : at + 4]
                self.model.config_write(offset + at, len(part), int.from_bytes(part, "little"))
        elif region == TABLE:
            self._table[offset : offset + len(data)] = data
        elif region == PORTS and offset == IOADDR and len(data) == 4:
            self._io_address = int.from_bytes(data, "little")
        elif region == PORTS and offset == IODATA and self._io_address < nic.REGISTER_SPACE:
            self._write_registers(self._io_address, data)

    def _write_registers(self, offset: int, data: bytes) -> None:
        """Whole words. A write of a part leaves the rest of its word as it is stored (8.1)."""
        if len(data) < 4:
            place = offset & ~3
            word = bytearray(int(self.model.known[place // 4]).to_bytes(4, "little"))
            word[offset - place : offset - place + len(data)] = data
            offset, data = place, bytes(word)
        for at in range(0, len(data), 4):
            self.model.write(offset + at, int.from_bytes(data[at : at + 4], "little"))

    def _read_port(self, offset: int, count: int) -> bytes:
        """Registers by way of an address and a data port (8.1.1.2)."""
        if offset == IODATA and self._io_address < nic.REGISTER_SPACE:
            return self._read(REGISTERS, self._io_address, count)
        word = self._io_address if offset == IOADDR else 0
        return word.to_bytes(8, "little")[:count]

    def _far_end(self) -> bytes:
        """What is known of the wire, as JSON."""
        model = self.model
        failure = str(model.failure) if model.failure else None
        known = {
            "ended": model.wire.ended,
            "warning": model.wire.warning,
            "drops": model.wire.drops(),
            "fault": model.fault(),
            "failure": failure,
        }
        return json.dumps(known).encode()[: sheet.FAR_END_SIZE].ljust(sheet.FAR_END_SIZE, b"\0")

    # Interrupts

    def _irq_info(self, payload: bytes, _: list[int]) -> Reply:
        fields, info = vfio.IRQ_INFO.unpack(payload), vfio.IRQ_INFO
        if fields.index not in VECTOR_COUNTS:
            raise OSError(errno.EINVAL, "no such interrupt")
        flags = vfio.IRQ_EVENTFD
        if fields.index == vfio.INTX:
            flags |= vfio.IRQ_MASKABLE | vfio.IRQ_AUTOMASKED
        count = VECTOR_COUNTS[fields.index]
        return info.pack(argsz=info.size, flags=flags, index=fields.index, count=count), ()

    def _set_irqs(self, payload: bytes, files: list[int]) -> Reply:
        fields = vfio.SET_IRQS.unpack(payload)
        index, start, count = fields.index, fields.start, fields.count
        if start + count > VECTOR_COUNTS.get(index, -1):
            raise OSError(errno.EINVAL, "no such interrupt")
        vectors = list(range(start, start + count))
        data = fields.flags & (vfio.DATA_NONE | vfio.DATA_BOOL | vfio.DATA_EVENTFD)
        action = fields.flags & ~data
        if data == vfio.DATA_EVENTFD and action == vfio.TRIGGER:
            self._connect_all(index, vectors, files)
            return b"", ()
        if data == vfio.DATA_BOOL:
            chosen = payload[vfio.SET_IRQS.size :]
            if len(chosen) < count:
                raise OSError(errno.EINVAL, "not as many choices as it says")
            vectors = [vector for vector in vectors if chosen[vector - start]]
        elif data != vfio.DATA_NONE:
            raise OSError(errno.EINVAL, "no such data")
        if data == vfio.DATA_NONE and action == vfio.TRIGGER and count == 0:
            self._connect_all(index, list(range(VECTOR_COUNTS[index])), [])
        for vector in vectors:
            self._act(action, (index, vector))
        return b"", ()

    def _act(self, action: int, vector: tuple[int, int]) -> None:
        if action == vfio.MASK:
            self._masked.add(vector)
        elif action == vfio.UNMASK:
            self._masked.discard(vector)
        elif action == vfio.TRIGGER and vector in self._eventfds:
            os.eventfd_write(self._eventfds[vector], 1)
        if action in (vfio.MASK, vfio.UNMASK):
            self._tell_model(*vector)

    def _connect_all(self, index: int, vectors: list[int], files: list[int]) -> None:
        """Connects an eventfd to each; without any it disconnects them."""
        if files and len(files) != len(vectors):
            raise OSError(errno.EINVAL, "not as many descriptors as it says")
        for file in files:
            if os.readlink(f"/proc/self/fd/{file}") != EVENTFD:
                raise OSError(errno.EINVAL, "no eventfd")
            os.set_blocking(file, False)  # a counter at its end must not stop us
        for vector in vectors:
            self._connect(index, vector, files.pop(0) if files else None)

    def _connect(self, index: int, vector: int, eventfd: int | None) -> None:
        before = self._eventfds.pop((index, vector), None)
        if eventfd is not None:
            self._eventfds[index, vector] = eventfd
        self._masked.discard((index, vector))
        self._tell_model(index, vector)
        if before is not None:
            os.close(before)

    def _tell_model(self, index: int, vector: int) -> None:
        """Where the vector goes now. A connection raises again what is still asserted."""
        if index in KINDS:
            listens = (index, vector) not in self._masked
            eventfd = self._eventfds.get((index, vector)) if listens else None
            self.model.connect_interrupt(KINDS[index], vector, eventfd)


def error_of(failure: Exception) -> int:
    """The errno that tells a client what it did wrong."""
    assert isinstance(failure, OSError | struct.error)
    return getattr(failure, "errno", None) or errno.EINVAL
