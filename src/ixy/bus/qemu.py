"""QEMU's own device models as hardware: a machine without a guest, whose devices a driver here
uses.

Its processor halts at its first instructions; ports and registers are reached by messages (qtest),
packet memory is plugged into the machine as memory modules, which it shares with this process.
Registers are no memory here: a doorbell is a word that a thread of the bus watches, and writes
through.
"""

import ctypes
import os
import select
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from ixy.bus.function import Bar, Beyond, Doorbell, PciFunction
from ixy.bus.qtest import Gone, Monitor, Qtest
from ixy.datasheets import pci
from ixy.errors import IxyError
from ixy.memory.dma import DmaMemory
from ixy.system import be_punctual

PROGRAM = "qemu-system-x86_64"
BACKPORTS = "apt install -t bookworm-backports qemu-system-x86"
_VIRTIO: dict[str, dict[str, str]] = {"packed": {"packed": "on"}, "mrg": {}, "vlans": {}}
# The models that there are drivers for, and properties by the options of addresses
MODELS: dict[str, dict[str, dict[str, str]]] = {
    "igb": {},
    "virtio-net-pci": _VIRTIO | {"legacy": {"disable-legacy": "off", "disable-modern": "on"}},
    "virtio-net-pci-transitional": _VIRTIO,
    "virtio-net-pci-non-transitional": _VIRTIO,
}
VIRTIO_MODELS = frozenset(MODELS) - {"igb"}
OPTIONS = frozenset(option for options in MODELS.values() for option in options)
ROM_SIZE, RESET_VECTOR, HALT = 64 * 1024, 0xFFF0, b"\xfa\xf4\xeb\xfc"  # cli; hlt; jmp to both
SLOT = 4  # the device's on the machine's first bus
CONFIG_ADDRESS, CONFIG_DATA = 0xCF8, 0xCFC  # ports (PCI Local Bus 3.0, 3.2.2.3.2)
FIRST_PORT, FIRST_MEMORY = 0xC000, 0xE0000000  # where BARs go: nothing else of q35 is there
MODULES = 128  # DmaMemories at a time
DOORBELLS = 1024
START = 20.0  # seconds
SETTLE = 0.05  # seconds without a doorbell, after which no frame is held back for a descriptor
# Seconds between two looks at the doorbells: longer the longer none has rung
NAP, DEEPER, DEEPEST = 2e-5, 5e-6, 1e-3
WATCH = 0.1  # and where there are none: between two looks at whether to stop


def properties_of(address: str, model: str, options: Mapping[str, str]) -> dict[str, str]:
    """What a model's options make of it. Raises IxyError for a model without a driver, and an
    option that it has not.
    """
    if model not in MODELS:
        raise IxyError(f"{address}: unknown model {model!r}: give it one of {', '.join(MODELS)}")
    properties: dict[str, str] = {}
    for option in OPTIONS.intersection(options):
        if option not in MODELS[model]:
            raise IxyError(f"{address}: {model} has no option {option}")
        if options[option] not in ("0", "1"):
            raise IxyError(f"{address}: {option}={options[option]}: give it 0 or 1")
        if options[option] == "1":
            properties |= MODELS[model][option]
    return properties


class Plug(Beyond):
    """What the port of one of QEMU's devices is plugged into."""

    netdev: str  # for QEMU's -netdev, without an id
    files: list[int]  # descriptors that QEMU inherits

    def begin(self) -> None:
        """The device is ready: frames may come."""

    def close(self) -> None:
        """Unplugs it; what QEMU has sent before arrives."""


class Shadow(NamedTuple):
    """A register that compiled code writes as memory."""

    bar: "QemuBar"
    offset: int


class Notifier(NamedTuple):
    """A write that compiled code asks for by an eventfd."""

    bar: "QemuBar"
    offset: int
    size: int
    value: int


class QemuFunction(PciFunction):
    """A network device of QEMU's, `model` with `properties`, in a machine of its own.

    QEMU ends when the function is closed, and with this process, however that ends. Raises IxyError
    if there is no QEMU, or none with such a device. When QEMU has gone, `check` and the registers
    say so; configuration space reads as ones.
    """

    def __init__(self, address: str, model: str, properties: Mapping[str, str], plug: Plug) -> None:
        self.address, self._model, self._plug = address, model, plug
        self._gone: IxyError | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._trouble: IxyError | None = None  # why it cannot be started
        self._started, self._stopping = threading.Event(), False
        self._keeper: threading.Thread | None = None
        self._plugged = 0  # memory modules
        self._words = (ctypes.c_uint32 * DOORBELLS)()  # of the shadows
        self._seen: list[int] = []  # what has been written through
        self._shadows: list[Shadow] = []
        self._notifiers: dict[int, Notifier] = {}  # by eventfd
        self._ringing = threading.Lock()
        self._quiet_since = time.monotonic()
        self._wakeups, self._wake = select.epoll(), os.eventfd(0, os.EFD_CLOEXEC)
        self._wakeups.register(self._wake, select.EPOLLIN)
        self._errors = os.memfd_create("qemu-errors", os.MFD_CLOEXEC)
        near, far = zip(*(socket.socketpair() for _ in range(2)), strict=True)
        self._qtest, self._monitor = Qtest(near[0]), Monitor(near[1])
        try:
            self._begin(self._command(properties, far), far)
            self._wakeups.register(near[0], select.EPOLLRDHUP)
            self._bars = dict(self._assign_bars())
        except Gone:
            error = self._why_not()
            self.close()
            raise error from None
        except BaseException:
            self.close()
            raise

    # QEMU's process

    def _command(
        self, properties: Mapping[str, str], far: Sequence[socket.socket]
    ) -> Sequence[str]:
        """Its arguments. setpriv: it is ended with the thread that starts it, so with this
        process."""
        program = shutil.which(PROGRAM)
        if not program:
            raise IxyError(f"{self.address}: no {PROGRAM} here: apt install qemu-system-x86")
        qtest, monitor = (connection.fileno() for connection in far)
        more = "".join(f",{name}={value}" for name, value in properties.items())
        return [
            "setpriv", "--pdeathsig", "KILL", program,
            "-nodefaults", "-no-user-config", "-display", "none",
            "-accel", "tcg", "-machine", "q35", "-m", f"size=64M,slots={MODULES},maxmem=512G",
            "-chardev", f"socket,id=qtest,fd={qtest}",
            "-object", "qtest,id=q,chardev=qtest,log=/dev/null",
            "-chardev", f"socket,id=qmp,fd={monitor}", "-mon", "chardev=qmp,mode=control",
            "-netdev", f"{self._plug.netdev},id=net",
            "-device", f"{self._model},netdev=net,addr={SLOT},romfile={more}",
        ]  # fmt: skip

    def _begin(self, command: Sequence[str], far: Sequence[socket.socket]) -> None:
        """Starts the thread that starts QEMU, and the conversations with it. Raises Gone."""
        self._keeper = threading.Thread(
            target=self._keep, args=(command, far), name="ixy-qemu", daemon=True
        )
        self._keeper.start()
        self._started.wait(START)
        for connection in far:
            connection.close()
        if self._trouble:
            raise self._trouble
        self._monitor.begin()

    def _keep(self, command: Sequence[str], far: Sequence[socket.socket]) -> None:
        """The bus's thread: QEMU lives no longer than it does."""
        rom = os.memfd_create("halt", os.MFD_CLOEXEC)
        os.ftruncate(rom, ROM_SIZE)
        os.pwrite(rom, HALT, RESET_VECTOR)
        files = [rom, *(connection.fileno() for connection in far), *self._plug.files]
        try:
            self._process = subprocess.Popen(
                [*command, "-bios", f"/proc/self/fd/{rom}"], pass_fds=files,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._errors,
            )  # fmt: skip
        except OSError as error:
            self._trouble = IxyError(f"{self.address}: {command[0]}: {error.strerror}")
            return
        finally:
            os.close(rom)
            self._started.set()
        try:
            self._watch()
        except IxyError:  # it is remembered: `check` says it
            pass
        finally:
            self._process.kill()
            self._process.wait()

    def _why_not(self) -> IxyError:
        """Why QEMU has ended before it began."""
        words = self._last_words()
        if "is not a valid device model" in words:
            words = f"this QEMU is too old, it has no {self._model}: {BACKPORTS}"
        elif "unavailable" in words or "Could not open" in words:
            words += f": {BACKPORTS}"
        return IxyError(f"{self.address}: {words}")

    def _last_words(self) -> str:
        """What QEMU complained of, in one line; else how it ended."""
        process = self._process
        with suppress(subprocess.TimeoutExpired):
            if process:
                process.wait(0.2)
        code = process.poll() if process else None
        if code is None:
            return "it does not answer"
        if code < 0:
            return f"it was killed (signal {-code})"
        said = os.pread(self._errors, 65536, 0).decode(errors="replace").strip().splitlines()
        return said[-1].removeprefix(f"{PROGRAM}: ") if said else f"with exit code {code}"

    def _lose(self) -> IxyError:
        """QEMU has gone, for good."""
        if not self._gone:
            self._gone = IxyError(f"{self.address}: QEMU has ended: {self._last_words()}")
        return self._gone

    # Registers

    def access(self, ports: bool, address: int, size: int, value: int | None = None) -> int:
        """Reads a port or memory of the machine, or writes `value` to it. Raises IxyError if QEMU
        has gone.
        """
        if self._gone:
            raise self._gone
        try:
            if value is None:
                return self._qtest.read(ports, address, size)
            self._qtest.write(ports, address, size, value)
        except Gone:
            raise self._lose() from None
        return 0

    def _config(self, offset: int, size: int, value: int | None = None) -> int:
        with self._ringing:  # between the two accesses comes no other
            place = 1 << 31 | SLOT << 11 | offset & ~3
            self.access(True, CONFIG_ADDRESS, 4, place)
            return self.access(True, CONFIG_DATA + offset % 4, size, value)

    def config_read(self, offset: int, size: int) -> int:
        """Reads 1, 2 or 4 bytes of configuration space: ones if QEMU has gone."""
        with suppress(IxyError):
            return self._config(offset, size)
        return (1 << 8 * size) - 1

    def config_write(self, offset: int, size: int, value: int) -> None:
        """Writes 1, 2 or 4 bytes of configuration space: in vain if QEMU has gone."""
        with suppress(IxyError):
            self._config(offset, size, value)

    def _assign_bars(self) -> dict[int, "QemuBar"]:
        """Gives each BAR a place, as firmware does (PCI Local Bus 3.0, 6.2.5.1)."""
        bars, free = {}, {True: FIRST_PORT, False: FIRST_MEMORY}
        for index in range(6):
            register = pci.BAR0 + 4 * index
            self._config(register, 4, 0xFFFFFFFF)
            mask = self._config(register, 4)
            ports = bool(mask & pci.BAR_IO)
            size = 1 + (~(mask & (~0b11 if ports else ~0b1111)) & 0xFFFFFFFF)
            if mask in (0, 0xFFFFFFFF) or size > 1 << 31:  # none, or the upper half of one
                self._config(register, 4, 0)
                continue
            start = -(-free[ports] // size) * size
            free[ports] = start + size
            self._config(register, 4, start)
            bars[index] = QemuBar(self, ports, start)
        self._config(pci.COMMAND, 2, pci.COMMAND_IO | pci.COMMAND_MEMORY)
        return bars

    def bar(self, index: int) -> Bar:
        """A BAR. Raises IxyError if the function has none of this index."""
        if index not in self._bars:
            raise IxyError(f"{self.address} has no BAR {index}")
        return self._bars[index]

    # Doorbells

    def shadow(self, bar: "QemuBar", offset: int) -> int:
        """The address of a word that is written through to a register from now on."""
        with self._ringing:
            shadow = Shadow(bar, offset)
            if shadow not in self._shadows:
                self._words[len(self._shadows)] = value = bar.access(offset, 4)
                self._seen.append(value)
                self._shadows.append(shadow)
            place = self._shadows.index(shadow)
        return ctypes.addressof(self._words) + 4 * place

    def notifier(self, notifier: Notifier) -> int:
        """An eventfd that asks for a write."""
        file = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        with self._ringing:
            self._notifiers[file] = notifier
        self._wakeups.register(file, select.EPOLLIN)
        return file

    def write_through(self) -> bool:
        """Writes the doorbells that have rung to their registers; returns whether there were any.
        Before any other access, so that the device sees all in the order of this program.
        """
        with self._ringing:
            rung = 0
            for place, shadow in enumerate(self._shadows):
                if (value := self._words[place]) != self._seen[place]:
                    self._seen[place] = value
                    shadow.bar.access(shadow.offset, 4, value)
                    rung += 1
            for file, notifier in self._notifiers.items():
                with suppress(BlockingIOError):
                    os.eventfd_read(file)
                    notifier.bar.access(*notifier[1:])
                    rung += 1
            if rung:
                self._quiet_since = time.monotonic()
        return rung > 0

    def _watch(self) -> None:
        """Writes doorbells through until the function is closed. Raises IxyError when QEMU has
        gone.
        """
        be_punctual()
        idle = 0
        while not self._stopping:
            idle = 0 if self.write_through() else idle + 1
            events = self._wakeups.poll(0 if self._shadows else WATCH)
            if any(event & (select.EPOLLRDHUP | select.EPOLLHUP) for _, event in events):
                raise self._lose()
            if self._shadows and not events:
                time.sleep(min(NAP + idle * DEEPER, DEEPEST))

    # Memory

    def dma_map(self, memory: DmaMemory) -> np.ndarray[Any, np.dtype[np.uint64]]:
        """Plugs `memory` into the machine; returns where the device finds each page.

        Raises IxyError if QEMU refuses.
        """
        if self._gone:
            raise self._gone
        self._plugged += 1
        try:
            start = self._plug_in(memory, f"memory{self._plugged}", f"module{self._plugged}")
        except Gone:
            raise self._lose() from None
        except IxyError as error:
            raise IxyError(f"{self.address}: {error}") from None
        return np.arange(start, start + memory.size, memory.page, dtype=np.uint64)

    def _plug_in(self, memory: DmaMemory, backend: str, module: str) -> int:
        given = self._monitor.execute("add-fd", {}, [memory.file])
        path = f"/proc/self/fd/{given['fd']}"
        kind = {"qom-type": "memory-backend-file", "id": backend, "mem-path": path}
        self._monitor.execute("object-add", kind | {"size": memory.size, "share": True})
        self._monitor.execute("remove-fd", {"fdset-id": given["fdset-id"]})
        self._monitor.execute("device_add", {"driver": "pc-dimm", "id": module, "memdev": backend})
        place = {"path": f"/machine/peripheral/{module}", "property": "addr"}
        return int(self._monitor.execute("qom-get", place))

    def dma_unmap(self, memory: DmaMemory) -> None:
        """Nothing: only a guest could unplug a memory module. The device cannot reach it once its
        driver has ended bus mastering.
        """

    # The far end

    def begin(self) -> None:
        """Lets frames come."""
        self._plug.begin()

    def check(self) -> None:
        """Raises IxyError if QEMU has gone, and for what stopped the wire."""
        if self._process and self._process.poll() is not None:
            self._lose()
        if self._gone:
            raise self._gone
        self._plug.check()

    @property
    def settled(self) -> bool:
        """Whether the wire runs by now."""
        return self._plug.settled

    @property
    def ended(self) -> bool | None:
        """Whether the wire has nothing more to bring, and the device has all of it. A frame for
        which it has no descriptor goes on when a doorbell rings.
        """
        ended = self._plug.ended
        if not ended:
            self._quiet_since = time.monotonic()
            return ended
        self.config_read(pci.VENDOR_ID, 2)  # QEMU does one thing after the other
        return time.monotonic() > self._quiet_since + SETTLE

    @property
    def warning(self) -> str | None:
        """What the wire has to say."""
        return self._plug.warning

    def far_end(self) -> dict[str, int]:
        """What the wire lost."""
        return self._plug.far_end()

    def close(self) -> None:
        """Ends QEMU, then unplugs the wire."""
        self._stopping = True
        os.eventfd_write(self._wake, 1)
        if self._keeper:
            self._keeper.join()
        self._monitor.close()
        self._qtest.close()
        self._wakeups.close()
        for file in (*self._notifiers, self._wake, self._errors):
            os.close(file)
        self._plug.close()


class QemuBar(Bar):
    """Registers that are reached by messages."""

    def __init__(self, function: QemuFunction, ports: bool, start: int) -> None:
        self._function, self._ports, self._start = function, ports, start

    def access(self, offset: int, size: int, value: int | None = None) -> int:
        """Reads a register, or writes `value` to it, now."""
        return self._function.access(self._ports, self._start + offset, size, value)

    def read(self, offset: int, size: int) -> int:
        """Reads a register. Raises IxyError if QEMU has gone."""
        self._function.write_through()
        return self.access(offset, size)

    def write(self, offset: int, size: int, value: int) -> None:
        """Writes a register. Raises IxyError if QEMU has gone."""
        self._function.write_through()
        self.access(offset, size, value)

    def doorbell(self, offset: int) -> int:
        """The address of a word that stands for a register."""
        return self._function.shadow(self, offset)

    def notifier(self, offset: int, size: int, value: int) -> Doorbell:
        """An eventfd for a write."""
        return Doorbell(file=self._function.notifier(Notifier(self, offset, size, value)))
