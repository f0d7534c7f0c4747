"""The bus of the emulated devices: one thread for all, DMA mappings, errors that come through."""

import os
import subprocess
import threading
import time
from itertools import pairwise

import pytest

from ixy.bus.function import PciFunction
from ixy.drivers.ixgbe.driver import IxgbeDevice
from ixy.emulator.bus import FIRST_IOVA, EmulatedFunction
from ixy.emulator.intel82599.model import Intel82599
from ixy.emulator.wire import plug_in
from ixy.errors import IxyError
from ixy.memory.dma import DmaMemory
from ixy.memory.pool import Mempool
from rig import MAC, OTHER, Bench, Nic, numbered, run_python


def function(threaded: bool = False) -> EmulatedFunction:
    return EmulatedFunction("emu:bench", Intel82599(Bench(), MAC), threaded=threaded)


def test_it_is_a_pci_function() -> None:
    emulated = function()
    assert isinstance(emulated, PciFunction)
    assert emulated.config_read(0, 4) == 0x10FB8086
    emulated.config_write(4, 2, 6)
    assert emulated.config_read(4, 2) == 6
    assert emulated.ended is None
    assert emulated.far_end() == {"wire_lost": 0}
    emulated.check()
    emulated.close()


def test_there_is_one_bar() -> None:
    emulated = function()
    assert emulated.bar(0).read(8, 4) == 0x80000
    for index in (1, 2, 5, -1):
        with pytest.raises(IxyError, match=f"emu:bench has no BAR {index}"):
            emulated.bar(index)
    emulated.close()


def test_a_doorbell_is_the_register_in_memory() -> None:
    import ctypes

    emulated = function()
    bar = emulated.bar(0)
    ctypes.c_uint32.from_address(bar.doorbell(0x1018)).value = 77
    assert bar.read(0x1018, 4) == 77
    bar.write(0x1018, 4, 78)
    assert ctypes.c_uint32.from_address(bar.doorbell(0x1018)).value == 78
    emulated.close()


def test_device_addresses_are_no_host_addresses_and_never_overlap() -> None:
    emulated = function()
    memories = [DmaMemory(size) for size in (4096, 1 << 22, 4096, 1 << 20)]
    places = [emulated.dma_map(memory) for memory in memories]
    assert [len(place) for place in places] == [1] * 4
    spans = sorted(
        (int(place[0]), int(place[0]) + memory.size)
        for place, memory in zip(places, memories, strict=True)
    )
    assert spans[0][0] == FIRST_IOVA
    assert all(low[1] < high[0] for low, high in pairwise(spans))
    assert not {memory.address for memory in memories} & {start for start, _ in spans}
    for memory in memories:
        emulated.dma_unmap(memory)
        memory.close()
    assert emulated.model.port[0]["mapped"] == 0
    emulated.close()


def test_a_fault_names_device_size_and_address() -> None:
    emulated = function()
    emulated.config_write(4, 2, 6)
    bar = emulated.bar(0)
    for offset, value in ((0x1000, 0xDEAD0000), (0x1008, 128), (0x1028, 1 << 25)):
        bar.write(offset, 4, value)
    with pytest.raises(
        IxyError, match=r"^emu:bench: DMA fault: .* 128 bytes at 0xdead0000"
    ) as error:
        emulated.check()
    assert "\n" not in str(error.value)
    emulated.close()


def test_a_wire_that_fails_is_reported_with_its_own_words() -> None:
    with Nic() as nic:
        words = IxyError("out.pcap: no space left")

        def fail() -> None:
            raise words

        nic.wire.service = fail
        nic.step()
        with pytest.raises(IxyError, match=r"out\.pcap: no space left"):
            nic.device.statistics()
        nic.wire.service = lambda: None


def test_close_unplugs_the_wire() -> None:
    wire = Bench()
    closed = []
    wire.close = lambda: closed.append(True)
    EmulatedFunction("x", Intel82599(wire, MAC), threaded=False).close()
    assert closed == [True]


# The thread


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "ixy-emulator"]


def wait_for(condition, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.001)
    return False


def test_one_thread_runs_all_devices_and_goes_when_there_are_none() -> None:
    pools = [Mempool(512) for _ in range(3)]
    devices = [
        IxgbeDevice(
            EmulatedFunction(f"emu:{i}", Intel82599(plug_in("loopback", {}), MAC)), [pool], 64
        )
        for i, pool in enumerate(pools)
    ]
    assert len(threads()) == 1
    for number, device in enumerate(devices):
        assert device.tx[0].send([numbered(number)] * 3) == 3
    for number, device in enumerate(devices):
        got: list[bytes] = []

        def more(device=device, got=got) -> bool:
            with device.rx[0].receive() as batch:
                got.extend(bytes(view) for view in batch)
            return len(got) >= 3

        assert wait_for(more)
        assert got == [numbered(number)] * 3
    for device in devices:
        device.close()
    assert [pool.available for pool in pools] == [512] * 3
    assert wait_for(lambda: not threads(), 5)


def test_devices_come_and_go_while_others_run() -> None:
    pool = Mempool(2048)
    stays = IxgbeDevice(EmulatedFunction("a", Intel82599(plug_in("loopback", {}), MAC)), [pool], 64)
    for number in range(5):
        goes = IxgbeDevice(
            EmulatedFunction("b", Intel82599(plug_in("loopback", {}), OTHER)), [pool], 64
        )
        goes.tx[0].send([numbered(number)])
        goes.close()
        stays.tx[0].send([numbered(number)])

        def arrived(number=number) -> bool:
            with stays.rx[0].receive() as batch:
                return [bytes(view) for view in batch] == [numbered(number)]

        assert wait_for(arrived)
    stays.close()
    assert pool.available == 2048


def test_close_waits_for_the_thread_to_let_go() -> None:
    """A device closed while it runs: its memory must not be used afterwards."""
    pool = Mempool(512)
    for _ in range(20):
        emulated = EmulatedFunction("emu:source", Intel82599(plug_in("source", {}), MAC))
        device = IxgbeDevice(emulated, [pool], 64)
        device.close()
    assert pool.available == 512


def test_many_open_and_close_leave_nothing_open() -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    pool = Mempool(512)
    counts = []
    for _ in range(5):
        emulated = EmulatedFunction("emu:loopback", Intel82599(plug_in("loopback", {}), MAC))
        IxgbeDevice(emulated, [pool], 64).close()
        counts.append(count())
    assert len(set(counts)) == 1


def test_a_wire_whose_service_raises_anything_does_not_hang_the_process() -> None:
    code = """
from rig import Bench, MAC
from ixy.drivers.ixgbe.driver import IxgbeDevice
from ixy.emulator.bus import EmulatedFunction
from ixy.emulator.intel82599.model import Intel82599
from ixy.memory.pool import Mempool
wire = Bench()
def fail():
    raise OSError(28, "No space left on device")
device = IxgbeDevice(EmulatedFunction("emu:x", Intel82599(wire, MAC)), [Mempool(512)], 64)
wire.service = fail
import time
from itertools import pairwise
time.sleep(0.3)
try:
    device.close()
except Exception as error:
    print(type(error).__name__)
print("closed")
"""
    try:
        result = run_python(code, timeout=15)
    except subprocess.TimeoutExpired:
        pytest.fail("close() waits for a thread that has ended")
    assert result.stdout.endswith("closed\n"), result.stderr[-300:]


def test_a_process_ends_though_a_device_is_open() -> None:
    code = """
from ixy.address import open_device
devices = [open_device("emu:source"), open_device("emu:loopback")]
devices[1].tx[0].send([bytes(60)])
print("end")
"""
    begin = time.monotonic()
    result = run_python(code, timeout=60)
    assert (result.returncode, result.stdout) == (0, "end\n"), result.stderr[-300:]
    assert time.monotonic() - begin < 50
