"""The conversations with QEMU, by literal lines, with a test at the other end."""

import json
import os
import socket
import threading
from collections.abc import Iterator

import pytest

from ixy.bus import qtest
from ixy.bus.qtest import Gone, Monitor, Qtest
from ixy.errors import IxyError


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    far.settimeout(10)
    with near, far:
        yield near, far


@pytest.mark.parametrize(
    ("ports", "size", "line"),
    [
        (False, 4, b"readl 0xe0000010\n"),
        (False, 2, b"readw 0xe0000010\n"),
        (False, 1, b"readb 0xe0000010\n"),
        (True, 4, b"inl 0xe0000010\n"),
        (True, 1, b"inb 0xe0000010\n"),
    ],
)
def test_a_read_is_a_line(ends, ports: bool, size: int, line: bytes) -> None:
    near, far = ends
    far.sendall(b"OK 0x00000000000000a5\n")
    assert Qtest(near).read(ports, 0xE0000010, size) == 0xA5
    assert far.recv(100) == line


def test_writes_do_not_wait_for_their_answers(ends) -> None:
    near, far = ends
    machine = Qtest(near)
    machine.write(False, 0xE0000000, 4, 0xDEADBEEF)
    machine.write(True, 0xC010, 2, 1)
    assert far.recv(100) == b"writel 0xe0000000 0xdeadbeef\noutw 0xc010 0x1\n"
    far.sendall(b"OK\nOK\nOK 0x7\n")
    assert machine.read(True, 0xC000, 1) == 7


def test_answers_are_read_before_there_are_too_many(ends, monkeypatch) -> None:
    monkeypatch.setattr(qtest, "PATIENCE", 0.1)
    machine = Qtest(ends[0])
    for _ in range(qtest.POSTED - 1):
        machine.write(True, 0x80, 1, 0)
    with pytest.raises(Gone):  # now it waits, and nobody answers
        machine.write(True, 0x80, 1, 0)


@pytest.mark.parametrize("line", [b"FAIL unknown command\n", b"ERR\n", b"OK", b""])
def test_what_is_no_answer(ends, line: bytes) -> None:
    near, far = ends
    far.sendall(line)
    far.shutdown(socket.SHUT_WR)
    with pytest.raises(Gone):
        Qtest(near).read(True, 0, 1)


def test_a_monitor_is_asked_and_events_are_not_its_answer(ends) -> None:
    near, far = ends
    asked, files = [], []

    def play() -> None:
        far.sendall(b'{"QMP": {}}\n')
        asked.append(json.loads(far.recv(1000)))
        far.sendall(b'{"return": {}}\n')
        data, received, _, _ = socket.recv_fds(far, 1000, 4)
        asked.append(json.loads(data))
        files.extend(received)
        far.sendall(b'{"event": "POWERDOWN"}\n{"return": {"fd": 9}}\n')
        asked.append(json.loads(far.recv(1000)))
        far.sendall(b'{"error": {"class": "GenericError", "desc": "no such thing"}}\n')

    thread = threading.Thread(target=play)
    thread.start()
    try:
        monitor = Monitor(near)
        monitor.begin()
        with open(os.devnull) as null:
            assert monitor.execute("add-fd", {}, [null.fileno()]) == {"fd": 9}
        with pytest.raises(IxyError, match=r"^QEMU refuses device_add: no such thing$"):
            monitor.execute("device_add", {"driver": "x"})
    finally:
        thread.join(10)
        for file in files:
            os.close(file)
    assert asked == [
        {"execute": "qmp_capabilities", "arguments": {}},
        {"execute": "add-fd", "arguments": {}},
        {"execute": "device_add", "arguments": {"driver": "x"}},
    ]
    assert len(files) == 1
