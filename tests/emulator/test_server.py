"""The vfio-user server: versions, clients that come and go, its socket."""

import json
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ixy.emulator.intel82599.model import Intel82599
from ixy.emulator.server import Server
from ixy.emulator.wire.frames import is_empty
from ixy.errors import IxyError
from rig import MAC, Bench, numbered
from vfio_client import (
    INFO,
    QEMU,
    READ,
    RESET,
    SET_IRQS,
    TRIGGER_EVENTFD,
    VERSION,
    Client,
    Serving,
    memfd,
    set_irqs,
)  # fmt: skip


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


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
        b"\0\0\1\0" + b"[" * 100_000,
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


def test_who_says_nothing_makes_room_for_others(serving: Serving, monkeypatch) -> None:
    monkeypatch.setattr("ixy.emulator.server.GREETING", 0.05)
    silent = Client(serving.path)
    assert silent.socket.recv(1) == b""
    serving.client().close()


@pytest.mark.parametrize("patient", [False, True])
def test_frames_for_a_client_that_has_gone(tmp_path: Path, patient: bool) -> None:
    """They are lost with it; a file's wait for the next one."""
    with Serving(tmp_path, Bench(patient=patient)) as serving:
        client = serving.client()
        serving.wire.arrive(*[numbered(i) for i in range(5)])
        client.close()
        wait_for(lambda: len(serving.notes) == 2)
        assert bool(is_empty(serving.wire.rx)) is not patient
        assert serving.wire.drops() == {"wire_lost": 0 if patient else 5}


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
