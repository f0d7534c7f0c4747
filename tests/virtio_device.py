"""A virtio network device that a test moves by hand: it reads and writes rings by literal offsets
of the specification, and knows nothing of ours.
"""

import ctypes
import struct
from collections.abc import Sequence

import numpy as np

from ixy.bus.function import Beyond, Doorbell
from ixy.datasheets.virtio import Feature
from ixy.drivers.virtio.transport import Transport
from ixy.memory.dma import DmaMemory

RX, TX, CONTROL = 0, 1, 2
MAC = bytes.fromhex("020000000001")
NEXT, WRITE, AVAIL, USED = 1, 2, 1 << 7, 1 << 15


def peek(address: int, size: int) -> bytes:
    return ctypes.string_at(address, size)


def poke(address: int, data: bytes) -> None:
    ctypes.memmove(address, data, len(data))


def u16(address: int) -> int:
    return int.from_bytes(peek(address, 2), "little")


class Queue:
    """A ring that the driver has started."""

    def __init__(self, size: int, areas: tuple[int, int, int], packed: bool) -> None:
        self.size, self.packed = size, packed
        self.desc, self.driver, self.device = areas
        self.next = 0  # the next position to look at, and to write to, counted upwards
        self.used = 0

    def take(self, most: int = 1 << 16) -> list[tuple[int, list[tuple[int, int, int]]]]:
        """Chains that have become available: id, and (address, length, flags) of each buffer."""
        chains = []
        while len(chains) < most and (chain := self._packed() if self.packed else self._split()):
            chains.append(chain)
        return chains

    def _split(self):
        if self.next & 0xFFFF == u16(self.driver + 2):
            return None
        head = index = u16(self.driver + 4 + 2 * (self.next % self.size))
        self.next += 1
        buffers = []
        while True:
            address, length, flags, following = struct.unpack(
                "<QIHH", peek(self.desc + 16 * index, 16)
            )
            buffers.append((address, length, flags & WRITE))
            if not flags & NEXT:
                return head, buffers
            index = following

    def _packed(self):
        buffers = []
        while True:
            place, lap = self.next % self.size, self.next // self.size % 2
            address, length, number, flags = struct.unpack(
                "<QIHH", peek(self.desc + 16 * place, 16)
            )
            available = flags & AVAIL == (0 if lap else AVAIL) and flags & USED == (
                USED if lap else 0
            )
            if not available:
                assert not buffers, "a chain that is not whole"
                return None
            self.next += 1
            buffers.append((address, length, flags & WRITE))
            if not flags & NEXT:
                return number, buffers

    def use(self, number: int, length: int, skip: int = 1) -> None:
        """Marks a chain of `skip` descriptors (or the last of so many) as used."""
        place, lap = self.used % self.size, self.used // self.size % 2
        if self.packed:
            flags = 0 if lap else AVAIL | USED
            poke(self.desc + 16 * place + 8, struct.pack("<IH", length, number))
            poke(self.desc + 16 * place + 14, struct.pack("<H", flags))
        else:
            poke(self.device + 4 + 8 * place, struct.pack("<II", number, length))
            poke(self.device + 2, struct.pack("<H", self.used + skip & 0xFFFF))
        self.used += skip

    def quiet(self, on: bool = True) -> None:
        """Wants no notifications."""
        poke(self.device + (2 if self.packed else 0), struct.pack("<H", on))


class Simulated(Transport, Beyond):
    """A device that offers `offered`. Descriptors hold addresses of this process plus SHIFT."""

    needs_reset = False
    SHIFT = 1 << 40  # a mix-up of the two kinds of addresses shows at once

    def __init__(self, offered: Feature, *, size: int = 256, align: int = 64) -> None:
        self.address, self.beyond, self.offered, self.size = "simulated", self, offered, size
        self.align, self.log = align, []
        self.bell = Doorbell(file=-1, position=-1)
        self.queues: dict[int, Queue] = {}
        self.chains: list[tuple[int, list[tuple[int, int, int]]]] = []
        self.mapped: list[DmaMemory] = []

    def begin(self) -> Feature:
        return self.offered

    def accept(self, features: Feature) -> None:
        self.features = features
        self.packed = bool(features & Feature.RING_PACKED)
        modern = features & (Feature.VERSION_1 | Feature.MRG_RXBUF)
        self.header = 12 if modern else 10

    def config(self, offset: int, size: int) -> bytes:
        return (MAC + b"\1\0" + b"\4\0" + bytes(14))[offset : offset + size]

    def set_config(self, offset: int, data: bytes) -> None:
        self.log.append(("config", offset, data))

    def queue_size(self, index: int) -> int:
        return self.size

    def start_queue(self, index: int, size: int, areas: Sequence[int]) -> Doorbell:
        self.queues[index] = Queue(size, tuple(a - self.SHIFT for a in areas), self.packed)
        return self.bell

    def go(self) -> None:
        self.log.append("go")

    def stop(self) -> None:
        self.log.append("stop")

    def dma_map(self, memory: DmaMemory):
        self.mapped.append(memory)
        begin = memory.address + self.SHIFT
        return np.arange(begin, begin + memory.size, memory.page, dtype=np.uint64)

    def dma_unmap(self, memory: DmaMemory) -> None:
        self.mapped.remove(memory)

    def close(self) -> None:
        self.log.append("close")

    def fill(self, chain, frame: bytes, buffers: int = 1) -> int:
        """Writes a header and a frame into a chain of receive buffers; returns the used length."""
        header = bytes(10) + (struct.pack("<H", buffers) if self.header == 12 else b"")
        return self.write(chain, header + frame)

    def write(self, chain, data: bytes) -> int:
        """Writes bytes into a chain."""
        rest = data
        for address, length, writable in chain:
            assert writable, "the device may not write there"
            self._must_be_mapped(address - self.SHIFT, length)
            poke(address - self.SHIFT, rest[:length])
            rest = rest[length:]
        assert not rest
        return len(data)

    def read(self, chain) -> bytes:
        """The bytes of a chain that the device may read."""
        data = b""
        for address, length, writable in chain:
            if not writable:
                self._must_be_mapped(address - self.SHIFT, length)
                data += peek(address - self.SHIFT, length)
        return data

    def _must_be_mapped(self, address: int, size: int) -> None:
        assert any(
            memory.address <= address and address + size <= memory.address + memory.size
            for memory in self.mapped
        ), "a DMA fault"

    def receive(self, *frames: bytes, order: Sequence[int] | None = None) -> None:
        """Frames come into the next buffers, which are given back in an order of their own."""
        queue = self.queues[RX]
        chains = queue.take(len(frames))
        assert len(chains) == len(frames), "no buffers"
        written = [
            (n, self.fill(chain, frame)) for (n, chain), frame in zip(chains, frames, strict=True)
        ]
        for i in order if order is not None else range(len(frames)):
            queue.use(*written[i])

    def sent(self) -> list[bytes]:
        """Takes what has been sent; `give_back` says when the driver gets the buffers."""
        queue = self.queues[TX]
        chains = queue.take()
        self.chains += chains
        data = [self.read(chain) for _, chain in chains]
        assert all(frame[: self.header] == bytes(self.header) for frame in data)
        return [frame[self.header :] for frame in data]

    def give_back(self, count: int, order: Sequence[int] | None = None, batch: bool = False):
        """Marks sent chains as used, in their order or another, or the last one for all."""
        chains, self.chains = self.chains[:count], self.chains[count:]
        if batch:
            self.queues[TX].use(chains[-1][0], 0, len(chains))
            return
        for i in order if order is not None else range(len(chains)):
            self.queues[TX].use(chains[i][0], 0)
