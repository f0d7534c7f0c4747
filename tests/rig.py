"""What the tests of driver and emulator share: a wire that ends in the test, and stepped 82599s.

`Nic` is our driver on an emulated device that runs only when it is told to. `Bare` is the device
without our driver: registers by literal offset, descriptors by literal bytes.
"""

import ctypes
import os
import struct
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ixy.compiled import call, compiled
from ixy.drivers.ixgbe.driver import IxgbeDevice
from ixy.emulator.bus import EmulatedFunction
from ixy.emulator.intel82599.model import Intel82599
from ixy.emulator.wire import Wire
from ixy.emulator.wire.frames import commit, drop, peek, reserve
from ixy.memory.dma import DmaMemory
from ixy.memory.ordered import address_of
from ixy.memory.pool import Mempool

MAC = bytes.fromhex("020000000001")
OTHER = bytes.fromhex("0200000000aa")
BROADCAST = b"\xff" * 6


def ethernet(payload: bytes = b"", kind: int = 0x88B5, to: bytes = MAC, source: bytes = OTHER):
    """An Ethernet frame, padded to 60 bytes. 0x88b5 is an experimental EtherType."""
    return (to + source + struct.pack(">H", kind) + payload).ljust(60, b"\0")


def tagged(frame: bytes, tag: int = 7) -> bytes:
    """A frame with a VLAN tag."""
    return frame[:12] + struct.pack(">HH", 0x8100, tag) + frame[12:]


def numbered(number: int, size: int = 60) -> bytes:
    """A frame that differs from all others."""
    return ethernet(struct.pack(">Q", number)).ljust(size, bytes([number % 251]))


def of_length(length: int) -> bytes:
    """A frame of any length, its bytes all different from their neighbours."""
    return (ethernet() + bytes(i * 7 % 256 for i in range(length)))[:length]


def put_frame(ring: int, frame: bytes) -> bool:
    """Puts a frame of any length into a frame ring."""
    target = int(reserve(ring, len(frame)))
    if target:
        ctypes.memmove(target, frame, len(frame))
        commit(ring, len(frame))
    return target != 0


def take_frame(ring: int) -> bytes | None:
    """Takes the oldest frame out of a frame ring."""
    address, length = (int(value) for value in peek(ring))
    if not length:
        return None
    frame = ctypes.string_at(address, length)
    drop(ring, length)
    return frame


class Bench(Wire):
    """A wire whose far end is the test."""

    def __init__(self, *, patient: bool = False) -> None:
        super().__init__(patient=patient)
        self.up = True
        self.rx, self.tx = int(self.record[0]["rx"]), int(self.record[0]["tx"])

    @property
    def link(self) -> bool:
        return self.up

    def arrive(self, *frames: bytes) -> int:
        """Frames for the port, as they are; returns how many the wire took."""
        return sum(put_frame(self.rx, frame) for frame in frames)

    def sent(self) -> list[bytes]:
        """What the port has sent since the last call."""
        return list(iter(lambda: take_frame(self.tx), None))


class Nic:
    """Our driver on a stepped 82599. Leaving its `with` checks that all buffers are back."""

    def __init__(
        self,
        wire: Wire | None = None,
        *,
        queues: int = 1,
        ring: int = 64,
        buffers: int = 512,
        pools: Sequence[Mempool] | None = None,
        promiscuous: bool = True,
        function: type[EmulatedFunction] = EmulatedFunction,
    ) -> None:
        self.wire = wire or Bench()
        self.pools = pools or [Mempool(buffers) for _ in range(queues)]
        self.before = [pool.available for pool in self.pools]
        self.model = Intel82599(self.wire, MAC)
        self.function = function("nic", self.model, threaded=False)
        self.device = IxgbeDevice(self.function, self.pools, ring)
        self.device.set_promiscuous(promiscuous)

    def __enter__(self) -> "Nic":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.device.close()
        if kind is None:
            assert [pool.available for pool in self.pools] == self.before

    def step(self, rounds: int = 1) -> int:
        """Runs the device; returns how many frames it handled."""
        return sum(self.model.step() for _ in range(rounds))

    def receive(self, most: int = 64, queue: int = 0) -> list[bytes]:
        """Copies of the packets that are there now."""
        with self.device.rx[queue].receive(most) as batch:
            return [bytes(view) for view in batch]

    def pass_in(self, *frames: bytes, queue: int = 0) -> list[bytes]:
        """Frames from the wire, through device and driver."""
        assert self.wire.arrive(*frames) == len(frames)
        while self.step():
            pass
        return self.receive(len(frames) + 1, queue)

    def pass_out(self, *frames: bytes, queue: int = 0) -> list[bytes]:
        """Frames through driver and device, to the wire."""
        assert self.device.tx[queue].send(frames) == len(frames)
        while self.step():
            pass
        return self.wire.sent()


RX_RING, TX_RING, RX_BUFFERS, TX_BUFFERS = 0x0000, 0x8000, 0x10000, 0x40000
SLOT = 0x1000  # bytes from one buffer to the next


class Bare:
    """An 82599 without our driver: rings of `size` descriptors on queue 0, set up by hand."""

    def __init__(self, size: int = 8, wire: Wire | None = None, buffer_kib: int = 2) -> None:
        self.wire = wire or Bench()
        self.model = Intel82599(self.wire, MAC)
        self.function = EmulatedFunction("bare", self.model, threaded=False)
        self.memory = DmaMemory(0x80000)
        self.iova = int(self.function.dma_map(self.memory)[0])
        self.size, self.buffer_kib = size, buffer_kib
        self.read, self.write, self.step = self.model.read, self.model.write, self.model.step
        self.function.config_write(4, 2, 0x0006)  # memory space, bus master
        self.write(0x4240, 0x00010403)  # HLREG0: as after a reset, CRC stripped
        self.write(0x2F00, 0x0000000A)  # RDRXCTL: CRC stripped
        self.write(0x5080, 0x00000700)  # FCTRL: MPE, UPE, BAM

    def receiver(self, tail: int | None = None, buffers: Iterable[int] = ()) -> None:
        """Queue 0 with a buffer in each descriptor."""
        chosen = list(buffers) or [self.iova + RX_BUFFERS + SLOT * i for i in range(self.size)]
        for i, buffer in enumerate(chosen):
            self.poke(RX_RING + 16 * i, struct.pack("<QQ", buffer, 0))
        self.write(0x1000, (self.iova + RX_RING) & 0xFFFFFFFF)  # RDBAL
        self.write(0x1004, (self.iova + RX_RING) >> 32)
        self.write(0x1008, 16 * self.size)  # RDLEN
        self.write(0x2100, 0x02000000 | self.buffer_kib)  # SRRCTL: advanced, one buffer
        self.write(0x1028, 1 << 25)  # RXDCTL.ENABLE
        self.write(0x1018, self.size - 1 if tail is None else tail)  # RDT
        self.write(0x3000, 1)  # RXCTRL.RXEN

    def transmitter(self) -> None:
        """Queue 0, empty."""
        self.write(0x4A80, 1)  # DMATXCTL.TE
        self.write(0x6000, (self.iova + TX_RING) & 0xFFFFFFFF)  # TDBAL
        self.write(0x6004, (self.iova + TX_RING) >> 32)
        self.write(0x6008, 16 * self.size)  # TDLEN
        self.write(0x6028, 1 << 25)  # TXDCTL.ENABLE

    def describe(self, slot: int, command: int, *, buffer: int | None = None, data: bytes = b""):
        """Writes a transmit descriptor, and its buffer."""
        place = TX_BUFFERS + SLOT * slot
        self.poke(place, data)
        where = self.iova + place if buffer is None else buffer
        self.poke(TX_RING + 16 * slot, struct.pack("<QII", where, command, 0))

    def send(self, tail: int, steps: int = 2) -> list[bytes]:
        """Moves the transmit tail; returns what goes out."""
        self.write(0x6018, tail)
        for _ in range(steps):
            self.step()
        return self.wire.sent()

    def poke(self, offset: int, data: bytes) -> None:
        self.memory.view(offset, len(data))[:] = data

    def peek(self, offset: int, size: int) -> bytes:
        return bytes(self.memory.view(offset, size))

    def received(self, slot: int) -> bytes:
        """The write-back of a receive descriptor."""
        return self.peek(RX_RING + 16 * slot, 16)

    def close(self) -> None:
        self.function.close()
        self.memory.close()


def run_python(
    code: str, timeout: float = 120, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs a program in a Python of its own, this directory on its path."""
    here = str(Path(__file__).parent)
    path = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, timeout=timeout, check=False,
        env=os.environ | {"PYTHONPATH": path} | environment,
    )  # fmt: skip


def u32(*values: int) -> np.ndarray:
    return np.array(values, np.uint32)


def arrived(bare: Bare, frame: bytes, slot: int = 0) -> bool:
    """Whether a frame that comes now ends in the next descriptor."""
    bare.wire.arrive(frame)
    bare.step()
    return bare.received(slot)[8] & 1 == 1


@compiled
def _call(address: int, argument: int) -> None:
    call(address, argument)


def pump(wire: Wire) -> None:
    """One round of a wire."""
    _call(int(wire.record[0]["pump"]), address_of(wire.record))
