"""QEMU's machine as a bus: configuration space, BARs, doorbells, memory, and what goes wrong."""

import ctypes
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import ixy
from ixy.bus.function import PciFunction
from ixy.bus.qemu import MODELS, Plug, QemuFunction, properties_of
from ixy.errors import IxyError
from ixy.memory.dma import DmaMemory
from machines import needs_qemu


class Nothing(Plug):
    """A port that is plugged into nothing."""

    netdev, files = "hubport,hubid=0", []
    closed = 0

    def close(self) -> None:
        self.closed += 1


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def function() -> Iterator[QemuFunction]:
    plug = Nothing()
    made = QemuFunction("qemu:x", "virtio-net-pci", {"mac": "02:00:00:00:00:77"}, plug)
    yield made
    if not plug.closed:
        made.close()


@needs_qemu
def test_configuration_space(function: QemuFunction) -> None:
    assert function.config_read(0, 2) == 0x1AF4
    assert function.config_read(0, 4) & 0xFFFF == 0x1AF4
    assert function.config_read(9, 1) == 0
    assert function.config_read(0xA, 2) == 0x0200
    function.config_write(4, 2, 7)
    assert function.config_read(4, 2) & 7 == 7
    assert len(list(function.capabilities(9))) >= 4


def device_config(function: PciFunction) -> tuple[int, int]:
    """BAR and offset of the device's own registers, by its capability of type 4."""
    for place in function.capabilities(9):
        if function.config_read(place + 3, 1) == 4:
            return function.config_read(place + 4, 1), function.config_read(place + 8, 4)
    raise AssertionError("no capability of type 4")


@needs_qemu
def test_registers_of_each_size(function: QemuFunction) -> None:
    index, start = device_config(function)
    bar = function.bar(index)
    assert bytes(bar.read(start + i, 1) for i in range(6)) == bytes.fromhex("020000000077")
    assert bar.read(start, 4) == 2
    assert bar.read(start + 4, 2) == 0x7700
    with pytest.raises(IxyError, match=r"^qemu:x has no BAR 3$"):
        function.bar(3)


@needs_qemu
def test_interrupts_are_refused(function: QemuFunction) -> None:
    with pytest.raises(IxyError, match=r"^qemu:x: no interrupts over this bus: poll instead$"):
        function.interrupts(1)


@needs_qemu
def test_a_doorbell_is_written_through(function: QemuFunction) -> None:
    index, _ = device_config(function)
    bar = function.bar(index)
    assert bar.read(0, 4) == 0  # device_feature_select
    address = bar.doorbell(8)  # driver_feature_select
    assert bar.doorbell(8) == address
    word = ctypes.c_uint32.from_address(address)
    word.value = 1
    assert bar.read(8, 4) == 1  # at once, as this program sees it
    word.value = 0
    deadline = time.monotonic() + 10
    while function.access(False, bar._start + 8, 4) and time.monotonic() < deadline:
        time.sleep(0.001)  # and soon, without a read that waits for it
    assert function.access(False, bar._start + 8, 4) == 0


@needs_qemu
def test_a_notifier_writes_what_it_was_told(function: QemuFunction) -> None:
    index, _ = device_config(function)
    doorbell = function.bar(index).notifier(8, 4, 1)
    assert (doorbell.address, doorbell.position) == (0, -1)
    os.write(doorbell.file, struct.pack("<Q", 1))
    assert function.bar(index).read(8, 4) == 1


@needs_qemu
def test_memory_is_shared(function: QemuFunction) -> None:
    memories = [DmaMemory(size) for size in (4096, 1 << 20, 3 * 4096)]
    places = [int(function.dma_map(memory)[0]) for memory in memories]
    assert len(set(places)) == 3
    for number, (memory, place) in enumerate(zip(memories, places, strict=True)):
        last = memory.size - 4
        memory.view(last, 4)[:] = struct.pack("<I", 0xABCD0000 + number)
        assert function.access(False, place + last, 4) == 0xABCD0000 + number
        function.access(False, place, 4, 0x12345678)
        function.config_read(0, 2)
        assert bytes(memory.view(0, 4)) == b"\x78\x56\x34\x12"
    for memory in memories:
        function.dma_unmap(memory)
    function.close()
    for memory in memories:
        memory.close()


@needs_qemu
def test_close_ends_qemu_soon(function: QemuFunction) -> None:
    process = function._process
    assert process is not None
    files = len(os.listdir("/proc/self/fd"))
    begin = time.monotonic()
    function.close()
    assert time.monotonic() - begin < 2  # promised are 0.2 s; a busy machine gets more
    assert process.returncode is not None
    assert len(os.listdir("/proc/self/fd")) < files


@needs_qemu
def test_qemu_ends_with_its_process() -> None:
    code = (
        "import os, signal; from test_qemu import *\n"
        "f = QemuFunction('x', 'virtio-net-pci', {}, Nothing())\n"
        "print(f._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parent.parent)])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False,
        env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    deadline = time.monotonic() + 10
    while alive(int(done.stdout)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(int(done.stdout))


@needs_qemu
def test_a_qemu_that_is_killed_has_gone_for_good(function: QemuFunction) -> None:
    bar = function.bar(device_config(function)[0])
    assert function._process is not None
    os.kill(function._process.pid, signal.SIGKILL)
    function._process.wait(10)
    gone = r"^qemu:x: QEMU has ended: it was killed \(signal 9\)$"
    with pytest.raises(IxyError, match=gone):
        function.check()
    with pytest.raises(IxyError, match=gone):
        bar.read(0, 4)
    with pytest.raises(IxyError, match=gone):
        bar.write(0, 4, 0)
    memory = DmaMemory(4096)
    with pytest.raises(IxyError, match=gone):
        function.dma_map(memory)
    memory.close()
    assert function.config_read(0, 2) == 0xFFFF
    function.config_write(4, 2, 0)


# What cannot be started


@needs_qemu
def test_a_model_that_this_qemu_has_not() -> None:
    plug = Nothing()
    with pytest.raises(IxyError) as error:
        QemuFunction("qemu:new", "nic-of-tomorrow", {}, plug)
    assert str(error.value) == (
        "qemu:new: this QEMU is too old, it has no nic-of-tomorrow:"
        " apt install -t bookworm-backports qemu-system-x86"
    )
    assert plug.closed == 1


@needs_qemu
def test_what_qemu_complains_of_is_one_line() -> None:
    with pytest.raises(IxyError, match=r"^qemu:x: .*colour.*$") as error:
        QemuFunction("qemu:x", "virtio-net-pci", {"colour": "red"}, Nothing())
    assert "\n" not in str(error.value)


def test_no_qemu(monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(IxyError) as error:
        ixy.open("qemu:virtio-net-pci:loopback")
    assert str(error.value) == (
        "qemu:virtio-net-pci:loopback: no qemu-system-x86_64 here: apt install qemu-system-x86"
    )


def test_properties() -> None:
    assert properties_of("x", "igb", {}) == {}
    assert properties_of("x", "virtio-net-pci", {"packed": "1", "ring": "64"}) == {"packed": "on"}
    assert properties_of("x", "virtio-net-pci", {"packed": "0"}) == {}
    assert properties_of("x", "virtio-net-pci", {"legacy": "1"}) == {
        "disable-legacy": "off",
        "disable-modern": "on",
    }


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        ("qemu:e1000:loopback", f"unknown model 'e1000': give it one of {', '.join(MODELS)}"),
        ("qemu:", "unknown model '': give it one of igb, "),
        ("qemu:igb:wifi", "unknown wire 'wifi': give it one of loopback"),
        ("qemu:igb", "unknown wire ''"),
        ("qemu:igb:loopback?packed=1", "igb has no option packed"),
        ("qemu:virtio-net-pci-transitional:loopback?legacy=1", "has no option legacy"),
        ("qemu:virtio-net-pci:loopback?packed=2", "packed=2: give it 0 or 1"),
        ("qemu:virtio-net-pci:loopback?colour=red", "unknown option colour"),
        ("qemu:virtio-net-pci:loopback?mac=1", "write mac= as"),
        (
            "qemu:virtio-net-pci:source?queues=2",
            "only at a TAP interface: qemu:virtio",
        ),
        ("qemu:virtio-net-pci:tap:a-name-that-is-too-long?queues=2", "1 to 15 characters"),
        ("qemu:virtio-net-pci:loopback?size=60", "the wire loopback has no option size"),
    ],
)
def test_addresses_that_are_refused(address: str, complaint: str) -> None:
    with pytest.raises(IxyError) as error:
        ixy.open(address)
    assert complaint in str(error.value)
