"""VFIO, against a kernel that checks numbers and structs by its header."""

import errno
import os
import resource
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_linux import CARD, FakeSysfs, FakeVfio
from ixy.bus import cards, container
from ixy.bus.cards import Card
from ixy.bus.vfio import VfioFunction, without
from ixy.errors import IxyError
from ixy.memory.dma import DmaMemory

OTHER, THIRD = "0000:03:00.1", "0000:04:00.0"


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeVfio]:
    kernel = FakeVfio(tmp_path / "vfio")
    monkeypatch.setattr(cards, "VFIO", kernel.folder)
    monkeypatch.setattr(container.fcntl, "ioctl", kernel.ioctl)
    before = len(os.listdir("/proc/self/fd"))
    for address, group in (CARD, 7), (OTHER, 7), (THIRD, 8):
        kernel.add(address, group)
    yield kernel
    kernel.close()
    assert container._containers == []
    assert len(os.listdir("/proc/self/fd")) == before
    assert kernel.maps == {}


@pytest.fixture
def sysfs(tmp_path: Path) -> FakeSysfs:
    sysfs = FakeSysfs(tmp_path / "sys")
    for address, group in (CARD, 7), (OTHER, 7), (THIRD, 8):
        sysfs.add(address, driver="vfio-pci", group=group)
    return sysfs


@pytest.fixture
def memory() -> Iterator[DmaMemory]:
    memory = DmaMemory(1 << 20)
    yield memory
    memory.close()


def card(sysfs: FakeSysfs, address: str = CARD) -> Card:
    return Card(sysfs.pci / "devices" / address)


@pytest.fixture
def function(kernel: FakeVfio, sysfs: FakeSysfs) -> Iterator[VfioFunction]:
    function = VfioFunction(f"{CARD}?queues=2", card(sysfs))
    yield function
    function.close()


def test_the_order_in_which_the_kernel_is_asked(function: VfioFunction, kernel: FakeVfio) -> None:
    assert kernel.calls[:6] == [
        "GROUP_GET_STATUS",
        "GET_API_VERSION",
        "CHECK_EXTENSION",
        "GROUP_SET_CONTAINER",
        "SET_IOMMU",
        "GROUP_GET_DEVICE_FD",
    ]
    assert not function.huge


def test_configuration_space_is_region_7(function: VfioFunction, kernel: FakeVfio) -> None:
    assert function.config_read(0, 4) == 0x10FB8086
    space = os.pread(kernel.devices[CARD], 256, 7 << 40)
    assert struct.unpack_from("<H", space, 0x44) == (0,)  # D0
    assert struct.unpack_from("<H", space, 4) == (2,)  # or an access to a BAR would kill us
    function.config_write(4, 2, 6)
    assert os.pread(kernel.devices[CARD], 2, (7 << 40) + 4) == b"\x06\x00"


def test_registers_are_region_0(function: VfioFunction, kernel: FakeVfio) -> None:
    bar = function.bar(0)
    bar.write(0x1018, 4, 0x12345678)
    assert os.pread(kernel.devices[CARD], 4, 0x1018) == bytes.fromhex("78563412")
    assert bar.doorbell(0x6018) == bar.doorbell(0) + 0x6018
    assert function.bar(0) is bar
    with pytest.raises(IxyError, match=f"^{CARD}.*has no BAR 1"):
        function.bar(1)


def test_only_the_areas_that_the_kernel_allows_are_mapped(
    function: VfioFunction, kernel: FakeVfio
) -> None:
    kernel.sparse[0] = [(0, 0x4000), (0x8000, 0x1000)]
    bar = function.bar(0)
    for offset in (0, 0x3FFC, 0x4000, 0x8000, 0x9000):
        bar.write(offset, 4, 0xA0000000 + offset)
        assert bar.read(offset, 4) == 0xA0000000 + offset
    bar.doorbell(0x8000)
    with pytest.raises(IxyError, match="0x4000 is no memory"):
        bar.doorbell(0x4000)


def test_the_page_of_the_interrupt_table_is_not_mapped(
    function: VfioFunction, kernel: FakeVfio
) -> None:
    bar = function.bar(3)  # by its MSI-X capability the table is at 0x2000 there: 64 entries
    bar.doorbell(0x1FFC)
    bar.doorbell(0x3000)
    for offset in (0x2000, 0x23FC, 0x2FFC):
        with pytest.raises(IxyError, match="no memory"):
            bar.doorbell(offset)


@pytest.mark.parametrize(
    ("begin", "end", "left"),
    [
        (0, 0, [(0, 0x4000), (0x8000, 0x2000)]),
        (0x2000, 0x2400, [(0, 0x2000), (0x3000, 0x1000), (0x8000, 0x2000)]),
        (0x2FF0, 0x3010, [(0, 0x2000), (0x8000, 0x2000)]),
        (0x0000, 0x0010, [(0x1000, 0x3000), (0x8000, 0x2000)]),
        (0x3800, 0x9000, [(0, 0x3000), (0x9000, 0x1000)]),
        (0x8000, 0xA000, [(0, 0x4000)]),
        (0x5000, 0x5010, [(0, 0x4000), (0x8000, 0x2000)]),
    ],
)
def test_parts_without_some_pages(begin: int, end: int, left: list) -> None:
    assert list(without([(0, 0x4000), (0x8000, 0x2000)], begin, end)) == left


def test_memory_is_mapped_where_the_platform_allows(
    function: VfioFunction, kernel: FakeVfio, memory: DmaMemory
) -> None:
    kernel.ranges = [(0, 0xFFFFF), (0x40000000, 0x7FFFFFFF)]
    pages = function.dma_map(memory)
    assert list(pages) == [0x40000000]
    [mapped] = kernel.maps.values()
    assert mapped == (memory.address, memory.size)
    kernel.ranges = [(0, 0xFFFFF)]  # a group more may narrow them
    second = DmaMemory(1 << 20)
    with pytest.raises(IxyError, match=f"^{CARD}.*no room for 1048576 bytes.*0x0-0xfffff"):
        function.dma_map(second)
    second.close()
    function.dma_unmap(memory)


def test_a_kernel_that_tells_no_ranges(
    function: VfioFunction, kernel: FakeVfio, memory: DmaMemory
) -> None:
    kernel.ranges = None
    [iova] = function.dma_map(memory)
    assert 0 < iova < 0xFEE00000
    function.dma_unmap(memory)


def test_huge_memory_has_an_address_per_page(function: VfioFunction) -> None:
    class Pages(DmaMemory):
        """As if of huge pages."""

    memory = Pages(4 << 20)
    memory.page = 2 << 20
    first, second = function.dma_map(memory)
    assert second == first + (2 << 20)
    function.dma_unmap(memory)
    memory.close()


def test_devices_of_a_group_share_it_and_what_is_mapped(
    function: VfioFunction, kernel: FakeVfio, sysfs: FakeSysfs, memory: DmaMemory
) -> None:
    other = VfioFunction(OTHER, card(sysfs, OTHER))
    assert kernel.calls.count("GROUP_SET_CONTAINER") == 1
    assert list(function.dma_map(memory)) == list(other.dma_map(memory))
    assert len(kernel.maps) == 1
    function.dma_unmap(memory)
    assert len(kernel.maps) == 1  # the other one still uses it
    other.dma_unmap(memory)
    assert kernel.maps == {}
    other.close()


def test_groups_share_a_container(
    function: VfioFunction, kernel: FakeVfio, sysfs: FakeSysfs, memory: DmaMemory
) -> None:
    third = VfioFunction(THIRD, card(sysfs, THIRD))
    assert kernel.calls.count("SET_IOMMU") == 1
    assert list(function.dma_map(memory)) == list(third.dma_map(memory))
    assert len(kernel.maps) == 1
    function.dma_unmap(memory)
    third.dma_unmap(memory)
    third.close()


def test_groups_behind_iommus_of_different_kinds_do_not(
    function: VfioFunction, kernel: FakeVfio, sysfs: FakeSysfs, memory: DmaMemory
) -> None:
    kernel.kinds["8"] = "another"
    third = VfioFunction(THIRD, card(sysfs, THIRD))
    assert kernel.calls.count("SET_IOMMU") == 2
    function.dma_map(memory)
    third.dma_map(memory)
    assert len(kernel.maps) == 2
    function.dma_unmap(memory)
    third.dma_unmap(memory)
    third.close()


def test_interrupts_come_to_eventfds(function: VfioFunction, kernel: FakeVfio) -> None:
    files = function.interrupts(3)
    assert len(set(files)) == 3
    for vector, file in enumerate(files):
        with pytest.raises(BlockingIOError):
            os.eventfd_read(file)
        os.eventfd_write(kernel.eventfds[2, vector], 2)
        assert os.eventfd_read(file) == 2
    with pytest.raises(IxyError, match="65 interrupts: it has 64"):
        function.interrupts(65)


@pytest.mark.parametrize(("index", "words"), [(3, "PCI Express"), (4, "wants the device back")])
def test_what_the_kernel_reports(
    function: VfioFunction, kernel: FakeVfio, index: int, words: str
) -> None:
    function.check()
    os.eventfd_write(kernel.eventfds[index, 0], 1)
    with pytest.raises(IxyError, match=f"^{CARD}.*{words}"):
        function.check()


def test_a_kernel_that_reports_nothing(kernel: FakeVfio, sysfs: FakeSysfs) -> None:
    kernel.irqs = {}
    function = VfioFunction(CARD, card(sysfs))
    function.check()
    assert kernel.eventfds == {}
    with pytest.raises(IxyError, match="1 interrupts: it has 0"):
        function.interrupts(1)
    function.close()


def test_a_refused_access_is_a_fault(function: VfioFunction, kernel: FakeVfio) -> None:
    os.pwrite(kernel.devices[CARD], b"\x10\x20", (7 << 40) + 6)
    with pytest.raises(IxyError, match="DMA fault"):
        function.check()


def test_a_group_that_the_kernel_still_uses(kernel: FakeVfio, sysfs: FakeSysfs) -> None:
    kernel.viable = False
    (card(sysfs, OTHER).path / "driver").unlink()
    (card(sysfs, OTHER).path / "driver").symlink_to("ixgbe")
    with pytest.raises(IxyError, match=f"^{CARD}: .*run: sudo ixy bind {OTHER}$"):
        VfioFunction(CARD, card(sysfs))


def test_an_iommu_that_refuses(
    kernel: FakeVfio, sysfs: FakeSysfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setitem(kernel.CALLS, 0x3B66, ("SET_IOMMU", refuse))
    with pytest.raises(IxyError, match=f"^{CARD}: the IOMMU refuses it: .*dmesg"):
        VfioFunction(CARD, card(sysfs))


@pytest.mark.parametrize(
    ("file", "code", "mend"),
    [
        ("7", errno.EACCES, "sudo chown .USER .*/7"),
        ("7", errno.EBUSY, "another process"),
        ("vfio", errno.ENOENT, "sudo modprobe vfio-pci"),
    ],
)
def test_files_that_cannot_be_opened(
    kernel: FakeVfio,
    sysfs: FakeSysfs,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    code: int,
    mend: str,
) -> None:
    real = os.open

    def fail(path: Path, *rest: int) -> int:
        if Path(path) == kernel.folder / file:
            raise OSError(code, os.strerror(code))
        return real(path, *rest)

    monkeypatch.setattr(container.os, "open", fail)
    with pytest.raises(IxyError, match=f"^{CARD}: .*{mend}"):
        VfioFunction(CARD, card(sysfs))


def test_an_old_kernel(kernel: FakeVfio, sysfs: FakeSysfs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(kernel.CALLS, 0x3B65, ("CHECK_EXTENSION", lambda *_: 0))
    with pytest.raises(IxyError, match="no IOMMU of type 1"):
        VfioFunction(CARD, card(sysfs))


def test_a_device_that_does_not_open(
    kernel: FakeVfio, sysfs: FakeSysfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    monkeypatch.setitem(kernel.CALLS, 0x3B6A, ("GROUP_GET_DEVICE_FD", refuse))
    with pytest.raises(IxyError, match=f"^{CARD}: No such device: see dmesg"):
        VfioFunction(CARD, card(sysfs))


def test_too_little_memory_may_be_locked(
    function: VfioFunction, kernel: FakeVfio, memory: DmaMemory
) -> None:
    kernel.limit = 1 << 16
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] >> 10
    with pytest.raises(IxyError, match=rf"1024 KiB.*you may lock {limit} KiB: run: sudo prlimit"):
        function.dma_map(memory)


def test_opened_and_closed_again_and_again(
    kernel: FakeVfio, sysfs: FakeSysfs, memory: DmaMemory
) -> None:
    for _ in range(3):
        with_bar = VfioFunction(CARD, card(sysfs))
        with_bar.bar(0).write(0, 4, 1)
        with_bar.interrupts(2)
        with_bar.dma_map(memory)
        with_bar.dma_unmap(memory)
        with_bar.close()
