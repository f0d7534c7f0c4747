"""An emulated function over vfio-user, asked in literal bytes as QEMU asks."""

import mmap
import os
import socket
import struct

import pytest

from rig import numbered
from vfio_client import (
    DMA_MAP,
    DMA_UNMAP,
    INFO,
    IRQ_INFO,
    QEMU,
    READ,
    REGION_INFO,
    SET_IRQS,
    TRIGGER_EVENTFD,
    WRITE,
    WRITE_MULTI,
    Client,
    Serving,
    memfd,
    set_irqs,
)  # fmt: skip

EINVAL, ENOENT, EEXIST, ENOTSUP = 22, 2, 17, 95
TRIGGER_NONE, TRIGGER_BOOL, MASK_NONE, UNMASK_NONE = 0x21, 0x22, 0x09, 0x11


# What there is


def test_the_device_is_a_pci_function_with_resets(client: Client) -> None:
    assert client.ask(INFO, bytes(16)) == bytes.fromhex("10000000 03000000 09000000 05000000")


def region_0(client: Client, room: int) -> tuple[bytes, list[int]]:
    client.send(REGION_INFO, struct.pack("<IIIIQQ", room, 0, 0, 0, 0, 0))
    error, data, files = client.reply()
    assert error == 0
    return data, files


BY_MESSAGE = {"ixy_reads_by_message": 1}


def test_the_doorbell_pages_may_be_mapped_to_store_only(serving: Serving) -> None:
    areas = struct.pack("<HHIII QQQQ", 1, 1, 0, 2, 0, 0x1000, 0x1000, 0x6000, 0x1000)
    client = serving.client(QEMU | BY_MESSAGE)
    size = 32 + len(areas)
    header = struct.pack("<IIIIQQ", size, 0xF, 0, 32, 0x20000, 0)
    assert region_0(client, 32) == (header, [])  # no room: it asks again
    data, [file] = region_0(client, size)
    assert data == header + areas
    assert os.fstat(file).st_size == 0x20000
    with pytest.raises(PermissionError):
        os.ftruncate(file, 0)
    os.close(file)
    client.close()


def test_a_client_that_may_read_registers_as_memory_maps_none(client: Client) -> None:
    assert region_0(client, 96) == (struct.pack("<IIIIQQ", 32, 3, 0, 0, 0x20000, 0), [])


def test_a_store_to_a_doorbell_page_is_a_write(serving: Serving) -> None:
    """The transmit queue is set up by stores alone; then a message, which comes after them."""
    client = serving.client(QEMU | BY_MESSAGE)
    _, [file] = region_0(client, 96)
    page = mmap.mmap(file, 4096, offset=0x6000)
    memory = memfd(0x10000)
    client.map(0x70000000, 0x10000, memory)
    os.pwrite(memory, numbered(3), 0x2000)
    os.pwrite(memory, struct.pack("<QII", 0x70002000, 0x2B30003C, 60 << 14), 0)
    client.write(0x4A80, 1)  # DMATXCTL
    client.write(4, 6, 2, region=7)
    for offset, value in ((0, 0x70000000), (8, 128), (0x28, 1 << 25), (0x18, 1)):
        struct.pack_into("<I", page, offset, value)
    assert client.read(0x6028) == 1 << 25
    assert serving.model.step() == 1
    assert serving.wire.sent() == [numbered(3)]
    assert struct.unpack_from("<I", page, 0x10) == (1,)  # TDH
    page.close()
    os.close(memory)
    os.close(file)
    client.close()


@pytest.mark.parametrize(
    ("index", "size"), [(1, 0), (2, 32), (3, 0), (4, 16384), (5, 0), (6, 0), (7, 256), (8, 0)]
)
def test_the_regions(client: Client, index: int, size: int) -> None:
    request = struct.pack("<IIIIQQ", 32, 0, index, 0, 0, 0)
    flags = 3 if size else 0
    assert client.ask(REGION_INFO, request) == struct.pack("<IIIIQQ", 32, flags, index, 0, size, 0)


def test_there_are_no_other_regions(client: Client) -> None:
    for index in (9, 10, 2**32 - 1):
        request = struct.pack("<IIIIQQ", 32, 0, index, 0, 0, 0)
        assert client.refused(REGION_INFO, request) == EINVAL


@pytest.mark.parametrize(
    ("index", "flags", "count"), [(0, 7, 1), (1, 1, 1), (2, 1, 64), (3, 1, 1), (4, 1, 1)]
)
def test_the_interrupts(client: Client, index: int, flags: int, count: int) -> None:
    request = struct.pack("<IIII", 16, 0, index, 0)
    assert client.ask(IRQ_INFO, request) == struct.pack("<IIII", 16, flags, index, count)
    assert client.refused(IRQ_INFO, struct.pack("<IIII", 16, 0, 5, 0)) == EINVAL


# Accesses


def test_configuration_space(client: Client) -> None:
    assert client.read(0, 4, region=7) == 0x10FB8086
    assert client.read(0, 256, region=7) & 0xFFFFFFFF == 0x10FB8086
    client.write(4, 0x0406, 2, region=7)
    assert client.read(4, 2, region=7) & 0x0406 == 0x0406
    assert client.refused(READ, struct.pack("<QII", 250, 7, 7)) == EINVAL


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_registers_of_any_size(client: Client, size: int) -> None:
    client.write(0x5200, 0x0807060504030201, 8)  # MTA[0], MTA[1]
    whole = bytes(range(1, 9))
    for offset in range(0, 8, size):
        part = whole[offset : offset + size]
        assert client.read(0x5200 + offset, size) == int.from_bytes(part, "little")
    client.write(0x5200 + 8 - size, 0xA5, size)
    expected = whole[: 8 - size] + (0xA5).to_bytes(size, "little")
    assert client.read(0x5200, 8) == int.from_bytes(expected, "little")


@pytest.mark.parametrize(
    ("offset", "region", "size"),
    [
        (2, 0, 4), (4, 0, 8), (0, 0, 3), (0, 0, 16), (0, 0, 0), (0x20000, 0, 4), (0x1FFFC, 0, 8),
        (2**64 - 4, 0, 4), (0, 1, 4), (0, 9, 4), (0, 2**32 - 1, 4), (0, 7, 257), (0, 7, 2**32 - 1),
        (32, 2, 1), (0x4000, 4, 4),
    ],
)  # fmt: skip
def test_accesses_that_there_are_not(client: Client, offset: int, region: int, size: int) -> None:
    assert client.refused(READ, struct.pack("<QII", offset, region, size)) == EINVAL
    data = bytes(min(size, 64))
    assert client.refused(WRITE, struct.pack("<QII", offset, region, size) + data) == EINVAL


def test_a_write_with_less_data_than_it_says(client: Client) -> None:
    assert client.refused(WRITE, struct.pack("<QII", 0x5200, 0, 4) + bytes(3)) == EINVAL


def test_registers_through_the_io_ports(client: Client) -> None:
    client.write(0, 0x5200, region=2)
    assert client.read(0, region=2) == 0x5200
    client.write(4, 0x12345678, region=2)
    assert client.read(0x5200) == client.read(4, region=2) == 0x12345678
    client.write(0, 0xFFFFFFFC, region=2)
    client.write(4, 1, region=2)
    assert client.read(4, region=2) == 0


def test_the_interrupt_table_is_memory(client: Client) -> None:
    client.write(16, 0x1122334455667788, 8, region=4)
    assert client.read(20, 4, region=4) == 0x11223344


def test_posted_writes_are_not_answered(client: Client) -> None:
    for i in range(100):
        place = struct.pack("<QII", 0x5200 + 4 * i, 0, 4)
        client.send(WRITE, place + struct.pack("<I", i), flags=0x10)
    client.send(WRITE, bytes(3), flags=0x10)  # not even with an error
    assert [client.read(0x5200 + 4 * i) for i in range(100)] == list(range(100))


def test_several_writes_in_a_message(client: Client) -> None:
    writes = b"".join(struct.pack("<QIIQ", 0x5200 + 4 * i, 0, 4, 7 + i) for i in range(5))
    assert client.ask(WRITE_MULTI, struct.pack("<Q", 5) + writes) == struct.pack("<Q", 5)
    assert [client.read(0x5200 + 4 * i) for i in range(5)] == [7, 8, 9, 10, 11]
    assert client.refused(WRITE_MULTI, struct.pack("<Q", 6) + writes) == EINVAL
    assert client.refused(WRITE_MULTI, struct.pack("<Q", 2**63)) == EINVAL


def test_unknown_commands_are_refused(client: Client) -> None:
    for command in (0, 6, 11, 12, 14, 16, 17, 18, 19, 65535):
        assert client.refused(command, bytes(64)) == ENOTSUP


# Memory


def test_the_device_reaches_what_is_mapped(serving: Serving, client: Client) -> None:
    """A frame from one page of the client's file, received into another."""
    file = memfd(0x10000)
    client.map(0x70000000, 0x8000, file, offset=0x8000)
    assert int(serving.model.port[0]["mapped"]) == 1
    os.pwrite(file, struct.pack("<QQ", 0x70001000, 0), 0x8000)
    for offset, value in (
        (0x1000, 0x70000000), (0x1008, 128), (0x1028, 1 << 25), (0x1018, 7), (0x5080, 0x700),
        (0x4240, 2), (0x2F00, 0x0A), (0x3000, 1),
    ):  # fmt: skip
        client.write(offset, value)
    client.write(4, 6, 2, region=7)
    serving.wire.arrive(numbered(5))
    serving.model.step()
    assert os.pread(file, 60, 0x9000) == numbered(5)
    client.unmap(0x70000000, 0x8000)
    assert int(serving.model.port[0]["mapped"]) == 0
    assert int(serving.model.port[0]["rx"][0]["ring"]) == 0
    os.close(file)


def test_a_mapping_over_another_is_refused(client: Client) -> None:
    file = memfd(0x4000)
    client.map(0x10000, 0x4000, file)
    for begin, size in ((0x10000, 0x4000), (0xF000, 0x2000), (0x13000, 0x1000), (0x11000, 0x1000)):
        fields = struct.pack("<IIQQQ", 32, 3, 0, begin, size)
        assert client.refused(DMA_MAP, fields, [file]) == EEXIST
    client.map(0x14000, 0x1000, file)
    client.map(0xF000, 0x1000, file)
    os.close(file)


@pytest.mark.parametrize(("begin", "size"), [(0x10000, 0x1000), (0x11000, 0x2000), (0, 0)])
def test_a_mapping_is_unmapped_as_a_whole(client: Client, begin: int, size: int) -> None:
    file = memfd(0x2000)
    client.map(0x10000, 0x2000, file)
    assert client.refused(DMA_UNMAP, struct.pack("<IIQQ", 24, 0, begin, size)) == EINVAL
    client.unmap(0x10000, 0x2000)
    os.close(file)


@pytest.mark.parametrize(
    ("begin", "size", "left"),
    [(0x20000, 0x10000, 2), (0x10000, 0x4000, 1), (0x8000, 0x8000 + 0x2000, 1), (0, 1 << 63, 0)],
)
def test_all_mappings_of_a_range_are_unmapped(
    serving: Serving, client: Client, begin: int, size: int, left: int
) -> None:
    """As QEMU unmaps all that there is, a power of two at a time, when a guest's IOMMU is reset."""
    file = memfd(0x2000)
    for iova in (0x10000, 0x18000):
        client.map(iova, 0x2000, file)
    client.unmap(begin, size)
    assert int(serving.model.port[0]["mapped"]) == left
    os.close(file)


def test_everything_is_unmapped_at_once(serving: Serving, client: Client) -> None:
    """As QEMU does when a region of all addresses goes: VFIO_DMA_UNMAP_FLAG_ALL."""
    file = memfd(0x2000)
    for iova in (0x10000, (1 << 64) - 0x2000):
        client.map(iova, 0x2000, file)
    assert client.refused(DMA_UNMAP, struct.pack("<IIQQ", 24, 2, 0x10000, 0)) == EINVAL
    fields = struct.pack("<IIQQ", 24, 2, 0, 0)
    assert client.ask(DMA_UNMAP, fields) == fields
    assert int(serving.model.port[0]["mapped"]) == 0
    os.close(file)


def test_memory_without_a_descriptor_is_known_but_not_reachable(
    serving: Serving, client: Client
) -> None:
    client.map(0xC0000, 0x20000, None)
    assert int(serving.model.port[0]["mapped"]) == 0
    fields = struct.pack("<IIQQQ", 32, 3, 0, 0xD0000, 0x1000)
    assert client.refused(DMA_MAP, fields) == EEXIST
    client.unmap(0xC0000, 0x20000)


@pytest.mark.parametrize(
    ("size", "offset", "begin"),
    [(0x3000, 0, 0), (0x1000, 0x2000, 0), (0x1000, 0x800, 0), (0, 0, 0), (0x1000, 0, 2**64 - 1),
     (2**63, 0, 0), (0x1000, 2**63, 0), (0x1000, 2**64 - 0x1000, 0)],
)  # fmt: skip
def test_a_file_must_hold_what_is_mapped(client: Client, size: int, offset: int, begin: int):
    file = memfd(0x2000)
    fields = struct.pack("<IIQQQ", 32, 3, offset, begin, size)
    assert client.refused(DMA_MAP, fields, [file]) == EINVAL
    os.close(file)


def test_what_is_no_memory_is_refused(client: Client) -> None:
    fields = struct.pack("<IIQQQ", 32, 3, 0, 0, 0x1000)
    for file in (os.open("/dev/zero", os.O_RDWR), socket.socket().detach(), os.eventfd(0)):
        assert client.refused(DMA_MAP, fields, [file]) == EINVAL
        os.close(file)


def test_memory_that_is_only_read_does_not_change(serving: Serving, client: Client) -> None:
    """The device may be told to write there all the same: nobody sees that."""
    import ctypes

    file = memfd(0x1000, b"before")
    client.map(0, 0x1000, file, flags=1)
    place = int(serving.model._mappings[0]["address"])
    assert ctypes.string_at(place, 6) == b"before"
    ctypes.memmove(place, b"after!", 6)
    assert os.pread(file, 6, 0) == b"before"
    os.close(file)


# Interrupts


def fired(eventfd: int) -> int:
    try:
        return os.eventfd_read(eventfd)
    except BlockingIOError:
        return 0


def test_vectors_signal_the_eventfds_they_are_connected_to(client: Client) -> None:
    events = [os.eventfd(0) for _ in range(3)]
    client.ask(SET_IRQS, set_irqs(TRIGGER_EVENTFD, 2, 4, 3), events)
    client.write(0x898, 1 << 4)  # GPIE.Multiple_MSIX
    client.write(0x880, 0xFFFF)  # EIMS
    client.write(0x808, 1 << 5)  # EICS: vector 5
    assert [fired(event) for event in events] == [0, 1, 0]
    client.ask(SET_IRQS, set_irqs(TRIGGER_NONE, 2, 6, 1))  # by the client itself
    client.ask(SET_IRQS, set_irqs(TRIGGER_BOOL, 2, 4, 3, b"\1\0\1"))
    assert [fired(event) for event in events] == [1, 0, 2]
    client.ask(SET_IRQS, set_irqs(TRIGGER_EVENTFD, 2, 5, 1))  # disconnects one
    client.write(0x808, 1 << 5)
    client.ask(SET_IRQS, set_irqs(TRIGGER_NONE, 2, 0, 0))  # and all
    client.write(0x808, 1 << 4)
    assert [fired(event) for event in events] == [0, 0, 0]
    for event in events:
        os.close(event)


def test_intx_fires_again_when_it_is_unmasked_and_still_up(client: Client) -> None:
    event = os.eventfd(0)
    client.ask(SET_IRQS, set_irqs(TRIGGER_EVENTFD, 0, 0, 1), [event])
    client.write(0x880, 0xFFFF)
    client.write(0x808, 1)
    assert fired(event) == 1
    client.ask(SET_IRQS, set_irqs(UNMASK_NONE, 0, 0, 1))
    assert fired(event) == 1
    client.ask(SET_IRQS, set_irqs(MASK_NONE, 0, 0, 1))
    client.write(0x808, 2)
    assert fired(event) == 0
    client.ask(SET_IRQS, set_irqs(UNMASK_NONE, 0, 0, 1))
    assert fired(event) == 1
    client.write(0x800, 0xFFFFFFFF)  # EICR: the line goes down
    client.ask(SET_IRQS, set_irqs(UNMASK_NONE, 0, 0, 1))
    assert fired(event) == 0
    os.close(event)


@pytest.mark.parametrize("index", [1, 3, 4])
def test_other_kinds_take_an_eventfd(client: Client, index: int) -> None:
    event = os.eventfd(0)
    client.ask(SET_IRQS, set_irqs(TRIGGER_EVENTFD, index, 0, 1), [event])
    client.ask(SET_IRQS, set_irqs(TRIGGER_NONE, index, 0, 1))
    assert fired(event) == 1
    os.close(event)


@pytest.mark.parametrize(
    "payload",
    [
        set_irqs(TRIGGER_EVENTFD, 5, 0, 1), set_irqs(TRIGGER_EVENTFD, 2, 64, 1),
        set_irqs(TRIGGER_EVENTFD, 2, 2**32 - 1, 2), set_irqs(TRIGGER_EVENTFD, 2, 0, 2),
        set_irqs(0x14, 0, 0, 1), set_irqs(0x27, 2, 0, 1), set_irqs(0x20, 2, 0, 1),
        set_irqs(TRIGGER_BOOL, 2, 0, 3, b"\1\1"), b"\0" * 19,
    ],
)  # fmt: skip
def test_interrupts_that_there_are_not(client: Client, payload: bytes) -> None:
    event = os.eventfd(0)
    assert client.refused(SET_IRQS, payload, [event]) == EINVAL
    os.close(event)


def test_only_an_eventfd_is_signalled(client: Client) -> None:
    ends = os.pipe()
    assert client.refused(SET_IRQS, set_irqs(TRIGGER_EVENTFD, 2, 0, 1), [ends[1]]) == EINVAL
    for end in ends:
        os.close(end)
