"""The vfio-user server, asked in literal bytes as QEMU asks."""

import json
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ixy.emulator.intel82599.model import Intel82599
from ixy.emulator.server import Server
from ixy.errors import IxyError
from rig import MAC, Bench, numbered
from vfio_client import (
    DMA_MAP,
    DMA_UNMAP,
    INFO,
    IRQ_INFO,
    QEMU,
    READ,
    REGION_INFO,
    RESET,
    SET_IRQS,
    VERSION,
    WRITE,
    WRITE_MULTI,
    Client,
    Serving,
)  # fmt: skip

EINVAL, ENOENT, EEXIST, ENOTSUP = 22, 2, 17, 95


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    with Serving(tmp_path) as server:
        yield server


@pytest.fixture
def client(serving: Serving) -> Iterator[Client]:
    client = serving.client()
    yield client
    client.close()


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def memfd(size: int, content: bytes = b"") -> int:
    file = os.memfd_create("test")
    os.ftruncate(file, size)
    os.pwrite(file, content, 0)
    return file


# Version


def test_the_version_and_a_subset_of_the_capabilities_are_agreed_on(serving: Serving) -> None:
    client = serving.client(QEMU | {"write_multiple": True, "migration": {"pgsize": 4096}})
    assert client.version[:4] == bytes.fromhex("00000100")
    assert client.version.endswith(b"\0")
    assert json.loads(client.version[4:-1])["capabilities"] == {
        "max_msg_fds": 16, "max_data_xfer_size": 1048576, "pgsizes": 4096, "max_dma_maps": 1024,
        "write_multiple": True,
    }  # fmt: skip
    client.close()


def test_a_client_without_capabilities_is_welcome(serving: Serving) -> None:
    client = Client(serving.path)
    assert client.ask(VERSION, bytes.fromhex("00000000")).startswith(bytes.fromhex("00000000"))
    assert client.ask(INFO, bytes(16)) == struct.pack("<IIII", 16, 3, 9, 5)
    client.close()


@pytest.mark.parametrize(
    "payload",
    [
        bytes.fromhex("01000000"),  # version 1
        b"\0\0\1\0{",
        b"\0\0\1\0[]\0",
        b'\0\0\1\0{"capabilities": 7}\0',
        b"\0\0\1\0\xff\xfe\0",
    ],
)
def test_another_language_ends_the_connection(serving: Serving, payload: bytes) -> None:
    client = Client(serving.path)
    client.send(VERSION, payload)
    with pytest.raises(ConnectionError):
        client.reply()
    serving.client().close()


def test_nothing_is_answered_before_the_version(serving: Serving) -> None:
    client = Client(serving.path)
    client.send(INFO, bytes(16))
    with pytest.raises(ConnectionError):
        client.reply()


# What there is


def test_the_device_is_a_pci_function_with_resets(client: Client) -> None:
    assert client.ask(INFO, bytes(16)) == bytes.fromhex("10000000 03000000 09000000 05000000")


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
def test_only_what_is_mapped_is_unmapped(client: Client, begin: int, size: int) -> None:
    file = memfd(0x2000)
    client.map(0x10000, 0x2000, file)
    assert client.refused(DMA_UNMAP, struct.pack("<IIQQ", 24, 0, begin, size)) == ENOENT
    client.unmap(0x10000, 0x2000)
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


def set_irqs(flags: int, index: int, start: int, count: int, data: bytes = b"") -> bytes:
    return struct.pack("<IIIII", 20 + len(data), flags, index, start, count) + data


TRIGGER_EVENTFD, TRIGGER_NONE, TRIGGER_BOOL, MASK_NONE, UNMASK_NONE = 0x24, 0x21, 0x22, 0x09, 0x11


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


# Clients come and go


def test_a_reset_by_message(client: Client) -> None:
    client.write(0x5200, 7)
    client.write(4, 6, 2, region=7)
    assert client.ask(RESET) == b""
    assert client.read(0x5200) == 0
    assert client.read(4, 2, region=7) & 4 == 0


def test_the_next_client_finds_a_device_as_after_a_reset(serving: Serving) -> None:
    files = len(os.listdir("/proc/self/fd"))
    for number in range(3):
        client = serving.client()
        assert client.read(0x5200) == 0
        assert client.read(4, 2, region=7) & 4 == 0
        client.write(0x5200, 7)
        client.write(4, 6, 2, region=7)
        file, event = memfd(0x2000), os.eventfd(0)
        client.map(0x10000, 0x2000, file)
        client.ask(SET_IRQS, set_irqs(TRIGGER_EVENTFD, 2, 0, 1), [event])
        os.close(file)
        os.close(event)
        client.close()
        wait_for(lambda number=number: len(serving.notes) == 2 * number + 2)
        assert int(serving.model.port[0]["mapped"]) == 0
        assert len(os.listdir("/proc/self/fd")) == files
    assert serving.server.clients == 3


def test_one_client_at_a_time(serving: Serving, client: Client) -> None:
    second = Client(serving.path)
    with pytest.raises(ConnectionError):
        second.greet(QEMU)
    assert client.read(8) == 0x80000


def test_half_a_message_does_not_hold_the_server(serving: Serving) -> None:
    for part in (b"\1\0\1\0", struct.pack("<HHIII", 1, 1, 64, 0, 0), b"x"):
        half = Client(serving.path)
        half.socket.send(part)
        with pytest.raises(ConnectionError):
            half.reply()
    serving.client().close()


@pytest.mark.parametrize("size", [0, 15, 2**21, 2**32 - 1])
def test_messages_of_impossible_sizes_end_the_connection(client: Client, size: int) -> None:
    client.socket.send(struct.pack("<HHIII", 1, READ, size, 0, 0))
    with pytest.raises(ConnectionError):
        client.reply()


def test_memory_that_is_cut_short_costs_the_client_its_connection(serving: Serving) -> None:
    client = serving.client()
    file = memfd(0x10000)
    client.map(0x70000000, 0x10000, file)
    for offset, value in (
        (0x1000, 0x70000000), (0x1008, 128), (0x1028, 1 << 25), (0x1018, 7), (0x5080, 0x700),
        (0x3000, 1),
    ):  # fmt: skip
        client.write(offset, value)
    client.write(4, 6, 2, region=7)
    os.ftruncate(file, 0)
    serving.wire.arrive(numbered(5))
    serving.model.step()  # SIGBUS, were it not for the handler
    wait_for(lambda: "the client has gone: it has cut its memory short" in serving.notes)
    os.close(file)
    again = serving.client()
    assert again.read(8) == 0x80000
    again.close()


# The socket


def test_a_path_in_use_is_refused_and_a_stale_one_taken_over(tmp_path: Path) -> None:
    def server(path: Path) -> Server:
        return Server(str(path), model, lambda _: None)

    model = Intel82599(Bench(), MAC)
    path = tmp_path / "s"
    first = server(path)
    with pytest.raises(IxyError, match=f"^{path}: another server serves it: choose another path$"):
        server(path)
    first._listener.close()  # as if it had been killed
    assert path.exists()
    second = server(path)
    second.close()
    assert not path.exists()
    path.write_text("precious")
    with pytest.raises(IxyError, match="a file that is no socket"):
        server(path)
    assert path.read_text() == "precious"
    for bad in (tmp_path / "no" / "s", tmp_path / ("x" * 200), tmp_path):
        with pytest.raises(IxyError):
            server(bad)
    model.close()
