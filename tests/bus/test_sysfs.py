"""A card through the files of sysfs, here ordinary ones: config, resource0, pagemap."""

import ctypes
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_linux import CARD, FakeSysfs
from ixy.bus import linux
from ixy.bus.sysfs import SysfsFunction, physical_addresses
from ixy.errors import IxyError
from ixy.memory.dma import HUGE_PAGE, DmaMemory

NR_HUGEPAGES = Path("/proc/sys/vm/nr_hugepages")


@pytest.fixture
def sysfs(tmp_path: Path) -> FakeSysfs:
    return FakeSysfs(tmp_path / "sys")


@pytest.fixture
def function(sysfs: FakeSysfs) -> Iterator[SysfsFunction]:
    function = SysfsFunction(f"{CARD}?ring=64", sysfs.add(driver=None))
    yield function
    function.close()


def config(sysfs: FakeSysfs) -> Path:
    return sysfs.pci / "devices" / CARD / "config"


def test_it_wakes_the_card_and_lets_its_bars_answer(
    function: SysfsFunction, sysfs: FakeSysfs
) -> None:
    space = config(sysfs).read_bytes()
    assert struct.unpack_from("<H", space, 0x44) == (0,)  # D0
    assert struct.unpack_from("<H", space, 4) == (2,)  # memory, no bus mastering: the driver's word
    assert struct.unpack_from("<H", space, 6) == (0x10,)
    assert function.huge


def test_old_errors_are_cleared(sysfs: FakeSysfs) -> None:
    card = sysfs.add(driver=None)
    with config(sysfs).open("r+b") as file:
        file.seek(6)
        file.write(b"\x10\x20")
    SysfsFunction(CARD, card).close()
    assert config(sysfs).read_bytes()[6:8] == b"\x00\x30"  # ones clear


def test_configuration_space_is_the_file(function: SysfsFunction, sysfs: FakeSysfs) -> None:
    assert function.config_read(0, 4) == 0x10FB8086
    assert [function.config_read(2, size) for size in (1, 2)] == [0xFB, 0x10FB]
    function.config_write(4, 2, 0x0006)
    assert config(sysfs).read_bytes()[4:6] == b"\x06\x00"
    assert function.config_read(4096, 4) == 0xFFFFFFFF


def test_capabilities(function: SysfsFunction, sysfs: FakeSysfs) -> None:
    assert [list(function.capabilities(n)) for n in (0x01, 0x11, 0x10)] == [[0x40], [0x70], []]
    function.config_write(0x71, 1, 0x40)  # a circle
    assert list(function.capabilities(0x10)) == []
    function.config_write(6, 2, 0)  # no list
    assert list(function.capabilities(0x01)) == []


def test_registers_are_the_file(function: SysfsFunction, sysfs: FakeSysfs) -> None:
    bar = function.bar(0)
    bar.write(0x1018, 4, 0x12345678)
    ctypes.c_uint32.from_address(bar.doorbell(0x6018)).value = 511
    registers = (sysfs.pci / "devices" / CARD / "resource0").read_bytes()
    assert struct.unpack_from("<I", registers, 0x1018) == (0x12345678,)
    assert struct.unpack_from("<I", registers, 0x6018) == (511,)
    assert bar.read(0x6018, 4) == 511
    assert function.bar(0) is bar


def test_ports_are_not_mapped(function: SysfsFunction, sysfs: FakeSysfs) -> None:
    function.config_write(0x18, 4, 0xC001)  # BAR 2: I/O ports
    (sysfs.pci / "devices" / CARD / "resource2").write_bytes(bytes(64))
    bar = function.bar(2)
    bar.write(18, 1, 0x0F)
    ports = sysfs.pci / "devices" / CARD / "resource2"
    assert ports.read_bytes() == bytes(18) + b"\x0f" + bytes(45)
    assert bar.read(18, 2) == 0x0F
    assert bar.notifier(16, 2, 1)[::2] == (0, 16)
    assert function.config_read(4, 2) == 3  # it answers at ports now


def test_bars_that_are_not_there(function: SysfsFunction, sysfs: FakeSysfs) -> None:
    with pytest.raises(IxyError, match="resource1: No such file"):
        function.bar(1)
    (sysfs.pci / "devices" / CARD / "resource2").touch()
    with pytest.raises(IxyError, match="BAR 2 cannot be mapped"):
        function.bar(2)


def test_a_card_that_is_pulled_out(function: SysfsFunction, sysfs: FakeSysfs) -> None:
    function.check()
    bar = function.bar(0)
    bar.write(8, 4, 0xFFFFFFFF)
    assert bar.read(8, 4) == 0xFFFFFFFF  # a register may well read as ones
    config(sysfs).write_bytes(b"\xff" * 4096)
    for look in (function.check, lambda: bar.read(8, 4)):
        with pytest.raises(IxyError, match=rf"^{CARD}\?ring=64: the device is gone"):
            look()


@pytest.mark.parametrize("code", linux.GONE)
def test_a_card_that_linux_knows_to_be_gone(
    function: SysfsFunction, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(linux.os, "pread", fail)
    monkeypatch.setattr(linux.os, "pwrite", fail)
    assert function.config_read(0, 4) == 0xFFFFFFFF
    function.config_write(4, 2, 0)
    with pytest.raises(IxyError, match="gone"):
        function.check()


@pytest.mark.parametrize("bit", [12, 13])
def test_an_access_that_was_refused(function: SysfsFunction, bit: int) -> None:
    function.config_write(6, 2, 1 << bit)
    with pytest.raises(IxyError, match=rf"^{CARD}\?ring=64: DMA fault"):
        function.check()


def test_a_card_that_is_open_already(function: SysfsFunction, sysfs: FakeSysfs) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(IxyError, match="another process has it open"):
        SysfsFunction(CARD, function.card)
    assert len(os.listdir("/proc/self/fd")) == before


def test_it_can_be_opened_again(sysfs: FakeSysfs) -> None:
    card = sysfs.add(driver=None)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        function = SysfsFunction(CARD, card)
        function.bar(0)
        function.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_card_of_the_kernel_s(sysfs: FakeSysfs) -> None:
    with pytest.raises(IxyError, match=f"^{CARD}: the kernel's driver ixgbe has it: sudo ixy bind"):
        SysfsFunction(CARD, sysfs.add())


def test_a_card_behind_an_iommu(sysfs: FakeSysfs) -> None:
    with pytest.raises(IxyError, match=f"sudo ixy bind {CARD} --driver vfio-pci"):
        SysfsFunction(CARD, sysfs.add(driver=None, group=7))
    other = sysfs.add("0000:04:00.0", driver=None, group=8, translated=False)
    SysfsFunction("0000:04:00.0", other).close()


def test_a_dead_card_is_not_opened(sysfs: FakeSysfs) -> None:
    card = sysfs.add(driver=None)
    config(sysfs).write_bytes(b"\xff" * 4096)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(IxyError, match="gone"):
        SysfsFunction(CARD, card)
    assert len(os.listdir("/proc/self/fd")) == before


def test_no_interrupts(function: SysfsFunction) -> None:
    with pytest.raises(IxyError, match=f"sudo ixy bind {CARD} --driver vfio-pci"):
        function.interrupts(1)


def test_small_pages_are_refused(function: SysfsFunction) -> None:
    memory = DmaMemory(HUGE_PAGE)
    with pytest.raises(IxyError, match="huge pages"):
        function.dma_map(memory)
    memory.close()


class Pages:
    """Memory as if of huge pages, at an address of its own choice."""

    def __init__(self, count: int) -> None:
        self.huge, self.address, self.page, self.size = (
            True,
            7 * HUGE_PAGE,
            HUGE_PAGE,
            count * HUGE_PAGE,
        )

    def view(self, offset: int, size: int) -> memoryview:
        return memoryview(bytes(size))


@pytest.fixture
def pagemap(tmp_path: Path) -> Path:
    """The pagemap of a process with three huge pages, the last of them not to be seen."""
    path = tmp_path / "pagemap"
    with path.open("wb") as file:
        for page, frame in (7, 0x123400), (8, 0x56600), (9, 0):
            file.seek(page * HUGE_PAGE // 4096 * 8)
            file.write(struct.pack("<Q", 1 << 63 | 1 << 61 | frame))
    return path


def test_physical_addresses_are_frames_of_4096_bytes(pagemap: Path) -> None:
    assert list(physical_addresses("x", Pages(2), pagemap)) == [0x123400000, 0x56600000]


@pytest.mark.parametrize("count", [3, 4])
def test_hidden_or_missing_frames(pagemap: Path, count: int) -> None:
    with pytest.raises(IxyError, match=r"^x: .*pagemap hides physical addresses: be root"):
        physical_addresses("x", Pages(count), pagemap)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="be root: it needs huge pages")
def test_real_huge_pages(function: SysfsFunction) -> None:
    before = NR_HUGEPAGES.read_text()
    NR_HUGEPAGES.write_text(str(int(before) + 3))
    try:
        memory = DmaMemory(3 * HUGE_PAGE, huge=True)
        places = [int(place) for place in function.dma_map(memory)]
        assert places == [int(place) for place in function.dma_map(memory)]
        assert len(set(places)) == 3
        assert all(place and place % HUGE_PAGE == 0 for place in places)
        function.dma_unmap(memory)
        memory.close()
    finally:
        NR_HUGEPAGES.write_text(before)
