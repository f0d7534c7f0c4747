"""Our driver and its bus over vfio-user: against our server, and against one of literal bytes."""

import ctypes
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ixy
from ixy.bus.function import PciFunction
from ixy.bus.sockets import Broken, Stream
from ixy.bus.vfio_user import VfioUserFunction
from ixy.drivers.ixgbe.driver import IxgbeDevice
from ixy.emulator.wire import plug_in
from ixy.errors import IxyError
from ixy.memory.dma import DmaMemory
from ixy.memory.pool import Mempool
from rig import MAC, numbered
from vfio_client import Serving


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    with Serving(tmp_path) as server:
        yield server


@pytest.fixture
def function(serving: Serving) -> Iterator[VfioUserFunction]:
    function = VfioUserFunction("vfio-user:here", str(serving.path))
    yield function
    function.close()


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


# With our server


def test_it_is_a_pci_function(function: VfioUserFunction) -> None:
    assert isinstance(function, PciFunction)
    assert function.config_read(0, 4) == 0x10FB8086
    function.config_write(4, 2, 6)
    assert function.config_read(4, 2) & 6 == 6
    assert function.bar(0).read(8, 4) == 0x80000
    function.check()
    for index in (1, 3, 5):
        with pytest.raises(IxyError, match=rf"^vfio-user:here has no BAR {index}$"):
            function.bar(index)


def test_registers_are_written_in_order_before_the_next_read(function: VfioUserFunction) -> None:
    bar = function.bar(0)
    for value in range(200):
        bar.write(0x5200, 4, value)
        bar.write(0x5204, 4, value + 1)
    assert (bar.read(0x5200, 4), bar.read(0x5204, 4)) == (199, 200)
    assert bar.read(0x5200, 4) == 199


def test_doorbells_are_shared_memory(serving: Serving, function: VfioUserFunction) -> None:
    bar = function.bar(0)
    for offset in (0x1018, 0x1FD8, 0x6018, 0x6FD8):
        ctypes.c_uint32.from_address(bar.doorbell(offset)).value = offset + 1
        assert bar.read(offset, 4) == offset + 1
    for offset in (0x0FFC, 0x2000, 0x7000):
        with pytest.raises(IxyError, match="shares no memory for the register"):
            bar.doorbell(offset)


def test_memory_is_mapped_at_addresses_of_its_own(
    serving: Serving, function: VfioUserFunction
) -> None:
    memories = [DmaMemory(size) for size in (4096, 1 << 22, 12288)]
    places = [int(function.dma_map(memory)[0]) for memory in memories]
    assert len(set(places)) == 3
    assert not set(places) & {memory.address for memory in memories}
    assert int(serving.model.port[0]["mapped"]) == 3
    memories[1].view(5, 5)[:] = b"hello"
    there = {int(row["iova"]): int(row["address"]) for row in serving.model._mappings[:3]}
    assert ctypes.string_at(there[places[1]] + 5, 5) == b"hello"
    for memory in memories:
        function.dma_unmap(memory)
        memory.close()
    assert int(serving.model.port[0]["mapped"]) == 0


def test_what_the_server_refuses_is_an_error(function: VfioUserFunction) -> None:
    with pytest.raises(IxyError, match=r"^vfio-user:here: the server refuses REGION_READ: Invalid"):
        function.bar(0).read(0x20000, 4)
    assert function.bar(0).read(8, 4) == 0x80000


def test_interrupts_arrive_at_eventfds(function: VfioUserFunction) -> None:
    events = function.interrupts(40)  # more than fit beside one message
    bar = function.bar(0)
    bar.write(0x898, 4, 1 << 4)  # GPIE.Multiple_MSIX
    bar.write(0xAA0 + 4, 4, 0xFF)  # EIMS_EX[1]
    bar.write(0x880, 4, 0xFFFF)
    bar.write(0x808, 4, 1 << 7)
    bar.read(8, 4)
    fired = []
    for number, event in enumerate(events):
        try:
            os.eventfd_read(event)
            fired.append(number)
        except BlockingIOError:
            continue
    assert fired == [7]


def test_a_fault_and_the_wire_are_told(serving: Serving, function: VfioUserFunction) -> None:
    serving.wire.record[0]["lost"] = 7
    assert function.far_end() == {"wire_lost": 7}
    assert function.ended is None
    assert function.warning is None
    serving.wire.warning = "the file is cut off"
    assert function.warning == "the file is cut off"
    function.config_write(4, 2, 6)
    for offset, value in ((0x1000, 0xDEAD0000), (0x1008, 128), (0x1028, 1 << 25)):
        function.bar(0).write(offset, 4, value)
    with pytest.raises(IxyError, match=r"^vfio-user:here: DMA fault: .*0xdead0000"):
        function.check()
    function.bar(0).write(0, 4, 1 << 26)  # a reset
    function.check()
    serving.model.failure = IxyError("out.pcap: no space left")
    with pytest.raises(IxyError, match=r"^vfio-user:here: out\.pcap: no space left$"):
        function.check()


def test_the_driver_sends_and_receives(tmp_path: Path) -> None:
    pool = Mempool(1024)
    with Serving(tmp_path, plug_in("loopback", {}), runs=True) as serving:
        function = VfioUserFunction("vfio-user:x", str(serving.path))
        with IxgbeDevice(function, [pool], 64) as device:
            assert device.mac == MAC
            assert device.wait_for_link() == 10000
            sent = [numbered(i, 60 + i) for i in range(50)]
            assert device.tx[0].send(sent) == 50
            got: list[bytes] = []

            def more() -> bool:
                with device.rx[0].receive(32) as batch:
                    got.extend(bytes(view) for view in batch)
                return len(got) >= 50

            wait_for(more)
            assert got == sent
            totals = device.statistics()
            assert (totals.rx_packets, totals.tx_packets) == (50, 50)
            assert totals.rx_bytes == totals.tx_bytes == sum(map(len, sent))
    assert pool.available == 1024
    pool.close()


def test_by_address(tmp_path: Path, no_shared_pools: list) -> None:
    with (
        Serving(tmp_path, plug_in("loopback", {}), runs=True) as serving,
        ixy.open(f"vfio-user:{serving.path}?queues=4&ring=128&pool=2048") as device,
    ):
        assert len(device.rx) == len(device.tx) == 4
        assert (device.ring, device.pools[0].count) == (128, 2048)
        with pytest.raises(IxyError, match="it has another client"):
            ixy.open(f"vfio-user:{serving.path}")


# A server that dies


def test_a_server_that_dies_is_a_card_that_was_pulled_out(tmp_path: Path) -> None:
    pool = Mempool(512)
    with Serving(tmp_path, plug_in("source", {}), runs=True) as serving:
        device = IxgbeDevice(VfioUserFunction("vfio-user:x", str(serving.path)), [pool], 64)
        serving.die()
        begin = time.monotonic()
        with pytest.raises(IxyError, match=r"^vfio-user:x: the device has gone: .* closed"):
            device.statistics()
        with pytest.raises(IxyError, match=r"^vfio-user:x: the device has gone"):
            device.link_speed()
        assert device.function.config_read(0, 2) == 0xFFFF
        with pytest.raises(IxyError, match=r"^vfio-user:x: the device has gone"):
            device.close()
        assert time.monotonic() - begin < 1
    assert pool.available == 512
    pool.close()


def test_a_server_that_does_not_answer_is_given_up(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("ixy.bus.vfio_user.PATIENCE", 0.1)
    with listening(tmp_path) as (path, _), pytest.raises(IxyError, match="ends the connection"):
        VfioUserFunction("vfio-user:x", path)


# No server


def test_no_server_is_an_error_that_says_how_to_start_one(tmp_path: Path) -> None:
    path = tmp_path / "s"
    command = f"ixy emulate --vfio-user {path}"
    for _ in range(2):
        with pytest.raises(IxyError) as error:
            ixy.open(f"vfio-user:{path}")
        assert str(error.value).startswith(f"vfio-user:{path}: no server at {path}: ")
        assert str(error.value).endswith(f": start one: {command}")
        with socket.socket(socket.AF_UNIX) as dead:
            if not path.exists():
                dead.bind(str(path))  # left by a server that is no more
    with pytest.raises(IxyError, match=r"unknown option colour"):
        ixy.open(f"vfio-user:{path}?colour=red")


@pytest.mark.parametrize("path", ["", "x" * 200, "."])
def test_what_is_no_path(path: str) -> None:
    with pytest.raises(IxyError, match=rf"^vfio-user:{path}: no server at "):
        ixy.open(f"vfio-user:{path}")


# A server of literal bytes


class listening:
    """A listener whose server a test plays."""

    def __init__(self, path: Path, replies: list[bytes] | None = None) -> None:
        self.path, self.replies, self.asked = str(path / "fake"), replies or [], []
        self.files: list[int] = []  # beside each reply
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(self.path)
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        if not self.replies:
            return
        with self._socket.accept()[0] as client:
            for reply in self.replies:
                data, files, _, _ = socket.recv_fds(client, 65536, 16)
                self.asked.append((data, len(files)))
                for file in files:
                    os.close(file)
                number = struct.unpack_from("<H", data)[0]
                socket.send_fds(client, [struct.pack("<H", number) + reply], self.files)

    def __enter__(self) -> tuple[str, list[tuple[bytes, int]]]:
        self._thread.start()
        return self.path, self.asked

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        self._socket.close()


VERSION_REPLY = struct.pack("<HIII", 1, 20, 1, 0) + b"\0\0\0\0"


def test_the_messages_are_the_specifications(tmp_path: Path) -> None:
    mapped = struct.pack("<HIII", 2, 16, 1, 0)
    read = struct.pack("<HIII", 9, 36, 1, 0) + struct.pack("<QIII", 0, 7, 4, 0x10FB8086)
    with listening(tmp_path, [VERSION_REPLY, mapped, read]) as (path, asked):
        function = VfioUserFunction("vfio-user:x", path)
        memory = DmaMemory(8192)
        iova = int(function.dma_map(memory)[0])
        assert function.config_read(0, 4) == 0x10FB8086
        function.close()
    version, _ = asked[0]
    assert version[:20] == struct.pack("<HHIII", 1, 1, len(version), 0, 0) + b"\0\0\1\0"
    assert version.endswith(b"\0")
    assert json.loads(version[20:-1])["capabilities"]["max_msg_fds"] == 16
    fields = struct.pack("<IIQQQ", 32, 3, 0, iova, 8192)
    assert asked[1] == (struct.pack("<HHIII", 2, 2, 48, 0, 0) + fields, 1)
    assert asked[2] == (struct.pack("<HHIII", 3, 9, 32, 0, 0) + struct.pack("<QII", 0, 7, 4), 0)
    memory.close()


def test_another_version_is_refused(tmp_path: Path) -> None:
    reply = struct.pack("<HIII", 1, 20, 1, 0) + b"\1\0\0\0"
    with (
        listening(tmp_path, [reply]) as (path, _),
        pytest.raises(IxyError, match=r"^vfio-user:x: the server speaks another version"),
    ):
        VfioUserFunction("vfio-user:x", path)


@pytest.mark.parametrize(
    "reply", [struct.pack("<HIII", 1, 8, 1, 0), struct.pack("<HIII", 1, 2**31, 1, 0)]
)
def test_a_server_that_answers_nonsense(tmp_path: Path, reply: bytes) -> None:
    with (
        listening(tmp_path, [reply]) as (path, _),
        pytest.raises(IxyError, match=r"^vfio-user:x: the server ends the connection"),
    ):
        VfioUserFunction("vfio-user:x", path)


def version(text: bytes) -> bytes:
    return struct.pack("<HIII", 1, 20 + len(text), 1, 0) + b"\0\0\0\0" + text


def info(size: int, argsz: int = 32, chain: bytes = b"") -> bytes:
    """The reply to a question about BAR 0."""
    body = struct.pack("<IIIIQQ", argsz, 8 if chain else 0, 0, 32 if chain else 0, size, 0) + chain
    return struct.pack("<HIII", 5, 16 + len(body), 1, 0) + body


AREA = struct.pack("<HHI", 1, 1, 0) + struct.pack("<II", 1, 0) + struct.pack("<QQ", 0x1000, 4096)
LIES = {
    "no JSON": [version(b'{"capabilities": \0')],
    "a list": [version(b"[1]\0")],
    "no capabilities": [version(b'{"capabilities": 7}\0')],
    "half a version": [struct.pack("<HIII", 1, 17, 1, 0) + b"\0"],
    "half an info": [VERSION_REPLY, struct.pack("<HIII", 5, 20, 1, 0) + b"info"],
    "an info that grows": [VERSION_REPLY, info(4096, 33), info(4096, 34)],
    "no descriptor": [VERSION_REPLY, info(1 << 17, 32, AREA)],
}


@pytest.mark.parametrize("replies", LIES.values(), ids=LIES)
def test_a_server_that_makes_no_sense(tmp_path: Path, replies: list[bytes]) -> None:
    with (
        listening(tmp_path, replies) as (path, _),
        pytest.raises(IxyError, match=r"^vfio-user:x: what the server says makes no sense"),
    ):
        open_bar(path)


def open_bar(path: str) -> None:
    function = VfioUserFunction("vfio-user:x", path)
    try:
        function.bar(0)
    finally:
        function.close()


@pytest.mark.parametrize("head", [(9, 1), (5, 0)], ids=["another command", "a command"])
def test_a_reply_to_another_question_is_none(tmp_path: Path, head: tuple[int, int]) -> None:
    command, kind = head
    reply = struct.pack("<HIII", command, 48, kind, 0) + bytes(32)
    with listening(tmp_path, [VERSION_REPLY, reply]) as (path, _):
        function = VfioUserFunction("vfio-user:x", path)
        with pytest.raises(IxyError, match="the device has gone: it answers DEVICE_GET_REGION_IN"):
            function.bar(0)
        function.close()


def test_descriptors_that_nobody_asked_for_are_closed(tmp_path: Path) -> None:
    read = struct.pack("<HIII", 9, 36, 1, 0) + struct.pack("<QIII", 0, 7, 4, 0x10FB8086)
    server = listening(tmp_path, [VERSION_REPLY, *[read] * 20])
    with Path("/dev/null").open() as file, server as (path, _):
        server.files = [file.fileno()] * 16
        function = VfioUserFunction("vfio-user:x", path)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            assert function.config_read(0, 4) == 0x10FB8086
        assert len(os.listdir("/proc/self/fd")) <= before
        function.close()


def test_doorbells_whose_memory_is_cut_short_are_a_card_that_is_gone(tmp_path: Path) -> None:
    file = os.memfd_create("doorbells")
    os.ftruncate(file, 8192)
    server = listening(tmp_path, [VERSION_REPLY, info(1 << 17, 32, AREA)])
    with server as (path, _):
        server.files = [file]
        function = VfioUserFunction("vfio-user:x", path)
        address = function.bar(0).doorbell(0x1018)
    os.ftruncate(file, 0)
    ctypes.c_uint32.from_address(address).value = 1
    with pytest.raises(IxyError, match="the device has gone"):
        function.check()
    function.close()
    os.close(file)


def test_a_server_that_gives_its_bytes_one_by_one_is_given_up(monkeypatch) -> None:
    ours, theirs = socket.socketpair()
    stream = Stream(ours, 0.2)
    ended = threading.Event()

    def drip() -> None:
        while not ended.wait(0.05):
            theirs.send(b"x")

    thread = threading.Thread(target=drip)
    thread.start()
    begin = time.monotonic()
    with pytest.raises(Broken, match="does not answer"):
        stream.take(10_000)
    assert time.monotonic() - begin < 5
    ended.set()
    thread.join()
    stream.close()
    theirs.close()


def test_a_server_of_another_make_has_no_far_end(tmp_path: Path) -> None:
    with listening(tmp_path, [VERSION_REPLY]) as (path, _):
        function = VfioUserFunction("vfio-user:x", path)
        assert (function.ended, function.warning, function.far_end()) == (None, None, {})
        wait_for(lambda: isinstance(failure_of(function), IxyError))
        function.close()


def failure_of(function: VfioUserFunction) -> Exception | None:
    try:
        function.check()
    except IxyError as error:
        return error
    return None
