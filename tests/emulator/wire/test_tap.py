"""`tap:IF`: the other end is an interface of Linux."""

import fcntl
import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ixy.emulator.wire import plug_in
from ixy.emulator.wire.tap import Tap
from ixy.errors import IxyError
from rig import Nic, of_length, run_python

ETH_P_ALL = 3


def may_make_taps() -> str | None:
    """Why not, or None."""
    if os.geteuid() != 0:
        return "not root: run the tests with sudo"
    if not Path("/dev/net/tun").exists():
        return "no /dev/net/tun: modprobe tun"
    return None


@pytest.fixture
def interface() -> Iterator[str]:
    if reason := may_make_taps():
        pytest.skip(reason)
    name = f"ixy{os.getpid() % 10**6}t"
    yield name
    assert not Path("/sys/class/net", name).exists(), "the interface was left behind"


def listen(interface: str) -> socket.socket:
    """A socket that sees and sends every frame of an interface."""
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    raw.bind((interface, 0))
    raw.settimeout(5)
    return raw


def ours(raw: socket.socket, count: int) -> list[bytes]:
    """Frames with our EtherType; Linux sends some of its own, for IPv6."""
    frames: list[bytes] = []
    while len(frames) < count:
        frame = raw.recv(65536)
        if frame[12:14] == b"\x88\xb5":
            frames.append(frame)
    return frames


@pytest.mark.root
def test_frames_go_out_and_come_in(interface: str) -> None:
    with Nic(Tap(interface)) as nic, listen(interface) as raw:
        sent = [of_length(length) for length in (20, 60, 500, 1514)]
        nic.device.tx[0].send(sent)
        nic.step(3)
        assert ours(raw, 4) == [frame.ljust(60, b"\0") for frame in sent]
        for frame in sent:
            raw.send(frame)
        got: list[bytes] = []
        deadline = time.monotonic() + 5
        while len(got) < 4 and time.monotonic() < deadline:
            nic.step()
            got += [frame for frame in nic.receive() if frame[12:14] == b"\x88\xb5"]
        assert got == [frame.ljust(60, b"\0") for frame in sent]


@pytest.mark.root
def test_more_frames_than_a_burst_all_arrive_in_order(interface: str) -> None:
    with Nic(Tap(interface), ring=512, buffers=1024) as nic, listen(interface) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        frames = [of_length(100)[:14] + struct.pack(">I", i) + bytes(100) for i in range(300)]
        for i in range(0, 300, 50):
            assert nic.device.tx[0].send(frames[i : i + 50]) == 50
            nic.step(2)
        nic.step(3)
        assert ours(raw, 300) == frames
        assert nic.device.statistics().dropped["wire_lost"] == 0


@pytest.mark.root
def test_the_interface_is_switched_on(interface: str) -> None:
    tap = Tap(interface)
    flags = int(Path("/sys/class/net", interface, "flags").read_text(), 16)
    assert flags & 1  # IFF_UP
    assert tap.link
    tap.close()


@pytest.mark.root
def test_a_second_user_is_refused(interface: str) -> None:
    tap = Tap(interface)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(IxyError, match="already open"):
        Tap(interface)
    assert len(os.listdir("/proc/self/fd")) == before
    tap.close()


@pytest.mark.root
def test_an_interface_that_is_no_tap_is_refused(interface: str) -> None:
    with pytest.raises(IxyError, match="lo"):
        plug_in("tap:lo", {})


def switch(interface: str, *, up: bool) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, 0x8914, struct.pack("16sH22x", interface.encode(), up))  # IFF_UP


@pytest.mark.root
def test_the_link_is_the_interfaces(interface: str) -> None:
    with Nic(Tap(interface)) as nic:
        for up in (False, True):
            switch(interface, up=up)
            nic.step()
            assert nic.device.link_speed() == (10000 if up else 0)


@pytest.mark.root
def test_frames_that_linux_does_not_take_are_lost_and_counted(interface: str) -> None:
    with Nic(Tap(interface)) as nic:
        switch(interface, up=False)
        nic.device.tx[0].send([of_length(60)] * 3)
        nic.step(2)
        assert nic.device.statistics().dropped["wire_lost"] == 3


@pytest.mark.root
def test_an_interface_that_is_removed_takes_the_link_down(interface: str) -> None:
    with Nic(Tap(interface)) as nic:
        assert nic.device.link_speed() == 10000
        index = socket.if_nametoindex(interface)
        delete = struct.pack("=IHHIIBxHiII", 32, 17, 5, 1, 0, 0, 0, index, 0, 0)  # RTM_DELLINK
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
            netlink.send(delete)
            assert struct.unpack_from("i", netlink.recv(4096), 16)[0] == 0
        nic.step(2)
        assert nic.device.link_speed() == 0


@pytest.mark.root
def test_without_the_right_to_the_error_says_how_to_get_it(interface: str) -> None:
    code = f"""
import os
from ixy.emulator.wire.tap import open_tap
from ixy.errors import IxyError
os.setgid(65534)
os.setuid(65534)
try:
    open_tap({interface!r})
except IxyError as error:
    print(error)
"""
    result = run_python(code)
    assert f"sudo ip tuntap add {interface} mode tap" in result.stdout, result.stderr
    assert result.stdout.count("\n") == 1


@pytest.mark.parametrize("name", ["", "a/b", "x" * 16, "é" * 8])
def test_names_that_no_interface_can_have(name: str) -> None:
    with pytest.raises(IxyError, match="1 to 15 characters"):
        Tap(name)


@pytest.mark.root
@pytest.mark.parametrize("name", ["a b", "a:b", "..", "."])
def test_names_that_linux_refuses(interface: str, name: str) -> None:
    with pytest.raises(IxyError):
        Tap(name)
