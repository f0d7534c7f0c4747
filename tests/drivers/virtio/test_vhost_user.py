"""vhost-user's front end, judged by a strict back end that shares nothing with it but numbers."""

import os
import struct
import threading
import time
from pathlib import Path

import pytest

import ixy
from command import many
from ixy.device import Device
from rig import numbered, of_length
from vhost_backend import (
    ANY_LAYOUT,
    GET_VRING_BASE,
    IN_ORDER,
    MQ,
    MRG_RXBUF,
    OFFERED,
    PROTOCOL,
    RING_PACKED,
    SET_VRING_ENABLE,
    VERSION_1,
    Backend,
)  # fmt: skip
from vhost_rings import Packed, Split

pytestmark = pytest.mark.usefixtures("no_shared_pools")
LENGTHS = [14, 59, 60, 61, 64, 1500, 1514, 1518, 2048]
BOTH = pytest.mark.parametrize("packed", [0, 1])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sock"


def take(device: Device, count: int, queue: int = 0) -> list[bytes]:
    """So many frames from a receive queue, or those that came within ten seconds."""
    frames: list[bytes] = []
    deadline = time.monotonic() + 10
    while len(frames) < count and time.monotonic() < deadline:
        with device.rx[queue].receive(64, timeout=0.1) as batch:
            frames += [bytes(packet) for packet in batch]
    return frames


# Messages


def test_the_messages_of_a_session(path: Path) -> None:
    with Backend(path) as back:
        with ixy.open(f"vhost-user:{path}") as device:
            back.wait()
            ring = [8, 10, 9, 13, 12]  # size, base, addresses, call, and kick, which starts it
            assert back.requests == [1, 15, 16, 17, 3, 2, 5, *ring, *ring, 18, 18]
            for bit in (PROTOCOL, VERSION_1, RING_PACKED, IN_ORDER):
                assert back.session.has(bit)
            assert not back.session.has(MRG_RXBUF)
            assert not back.session.has(MQ)
            assert device.link_speed() == 10_000
        assert back.requests[-2:] == [GET_VRING_BASE] * 2  # it was stopped before it was left


def test_without_protocol_features_rings_are_enabled(path: Path) -> None:
    features = (VERSION_1, ANY_LAYOUT)
    with Backend(path, features=features) as back, ixy.open(f"vhost-user:{path}") as device:
        back.wait()
        assert SET_VRING_ENABLE not in back.requests
        assert device.tx[0].send([numbered(7)]) == 1
        assert back.take() == [numbered(7)]


def test_without_reply_ack(path: Path) -> None:
    with Backend(path, protocol=()) as back, ixy.open(f"vhost-user:{path}") as device:
        back.wait()
        device.tx[0].send([numbered(1)])
        assert back.take() == [numbered(1)]


def test_we_listen(path: Path) -> None:
    """A socket that a front end left behind is in nobody's way."""
    for _ in range(2):
        opened: list[Device] = []
        opening = threading.Thread(
            target=lambda found=opened: found.append(ixy.open(f"vhost-user:{path}?listen=1"))
        )
        opening.start()
        with Backend(path, connect=True) as back:
            opening.join(30)
            back.wait()
            with opened[0] as device:
                device.tx[0].send([numbered(3)])
                assert back.take() == [numbered(3)]
        assert not path.exists()


# Rings, by their bytes


def test_split_rings_as_the_driver_writes_them(path: Path) -> None:
    with Backend(path) as back, ixy.open(f"vhost-user:{path}?packed=0&ring=64") as device:
        back.wait()
        receive, transmit = back.ring(0), back.ring(1)
        assert isinstance(receive, Split)
        assert (receive.available[0], receive.available[1]) == (1, 64)  # NO_INTERRUPT, all of them
        assert list(receive.available[2:66]) == list(range(64))
        rows = list(struct.iter_unpack("<QIHH", receive.table))
        assert {row[1:3] for row in rows} == {(2048 + 12, 2)}  # header and buffer, WRITE
        assert len({row[0] for row in rows}) == 64
        assert all((row[0] + 12) % 64 == 0 for row in rows)  # packets begin with a cache line
        device.tx[0].send([of_length(100), of_length(61)])
        assert (transmit.available[0], transmit.available[1]) == (1, 2)
        assert [struct.unpack_from("<IH", transmit.table, 16 * i + 8) for i in (0, 1)] == [
            (112, 0), (73, 0),
        ]  # fmt: skip
        assert back.take() == [of_length(100), of_length(61)]


def test_packed_rings_as_the_driver_writes_them(path: Path) -> None:
    with Backend(path) as back, ixy.open(f"vhost-user:{path}?ring=64") as device:
        back.wait()
        receive, transmit = back.ring(0), back.ring(1)
        assert isinstance(receive, Packed)
        assert receive.driver[1] == 1  # RING_EVENT_FLAGS_DISABLE
        rows = list(struct.iter_unpack("<QIHH", receive.table))
        # AVAIL, not USED, WRITE: the first lap
        assert [row[1:] for row in rows] == [(2060, i, 0x0082) for i in range(64)]
        device.tx[0].send([of_length(100)])
        assert struct.unpack_from("<IHH", transmit.table, 8) == (112, 0, 0x0080)
        assert back.take() == [of_length(100)]
        assert struct.unpack_from("<IHH", transmit.table, 8) == (0, 0, 0x8080)
        for lap in range(2):
            frames = [numbered(i) for i in range(63 + lap)]
            assert sum(device.tx[0].send([frame]) for frame in frames) == len(frames)
            assert back.take() == frames
            assert device.flush() == 0
        # two laps later AVAIL and USED mean what they did: this is the third
        device.tx[0].send([of_length(60)])
        assert struct.unpack_from("<H", transmit.table, 14) == (0x0080,)


# Frames


@BOTH
@pytest.mark.parametrize("in_order", [True, False])
def test_frames_of_all_lengths_both_ways(path: Path, packed: int, in_order: bool) -> None:
    features = set(OFFERED) - (set() if in_order else {IN_ORDER})
    address = f"vhost-user:{path}?packed={packed}"
    with Backend(path, features=features) as back, ixy.open(address) as device:
        back.wait()
        frames = [of_length(length) for length in LENGTHS]
        assert device.tx[0].send(frames) == len(frames)
        padded = [frame.ljust(17, b"\0") for frame in frames]  # no frame of Ethernet is as short
        assert back.take() == padded
        assert back.give(padded) == len(frames)
        assert take(device, len(frames)) == padded
        total = device.statistics()
        assert (total.rx_packets, total.tx_packets) == (len(frames), len(frames))
        assert total.rx_bytes == total.tx_bytes == sum(map(len, padded))
        assert total.dropped == {"rx_damaged": 0, "tx_lost": 0}


@BOTH
def test_indices_wrap(path: Path, packed: int) -> None:
    """More packets than an index of 16 bits counts."""
    with Backend(path) as back, ixy.open(f"vhost-user:{path}?packed={packed}&ring=128") as device:
        back.wait()
        frames = [numbered(i) for i in range(60)]
        for _ in range(many(1150, 20)):
            assert device.tx[0].send(frames[:32]) == 32
            assert device.tx[0].send(frames[32:]) == 28
            assert back.take() == frames
            assert device.flush() == 0
            assert back.give(frames) == 60
            assert take(device, 60) == frames
        assert back.signals == 0  # we asked for none
        if packed == 0:
            assert back.ring(1).used_index == (many(1150, 20) * 60) & 0xFFFF


@BOTH
def test_queues(path: Path, packed: int) -> None:
    address = f"vhost-user:{path}?packed={packed}&queues=3&ring=64&pool=512"
    with Backend(path, queues=4) as back, ixy.open(address) as device:
        deadline = time.monotonic() + 10
        while not all(back.ring(i) for i in range(6)):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        assert back.session.has(MQ)
        for queue in range(3):
            frames = [numbered(100 * queue + i) for i in range(10)]
            assert device.tx[queue].send(frames) == 10
            assert back.take(queue) == frames
            assert back.give(frames, queue) == 10
            assert take(device, 10, queue) == frames


def test_a_kick_wakes_a_back_end_that_sleeps(path: Path) -> None:
    """And one that polls is left alone."""
    with Backend(path) as back, ixy.open(f"vhost-user:{path}") as device:
        back.wait()
        kick = back.session.vrings[1].kick
        assert kick is not None
        os.set_blocking(kick, False)
        back.ring(1).device[1] = 1  # RING_EVENT_FLAGS_DISABLE
        device.tx[0].send([numbered(1)])
        with pytest.raises(BlockingIOError):
            os.eventfd_read(kick)
        back.ring(1).device[1] = 0
        device.tx[0].send([numbered(2), numbered(3)])
        assert os.eventfd_read(kick) == 1  # one for the batch
        assert len(back.take()) == 3


# A back end that goes and comes back


@BOTH
def test_a_back_end_that_comes_back(path: Path, packed: int, no_shared_pools: list) -> None:
    back = Backend(path)
    with ixy.open(f"vhost-user:{path}?packed={packed}") as device:
        for number in range(4):
            back.wait()
            device.wait_for_link()
            frames = [numbered(1000 * number + i) for i in range(100)]
            assert device.tx[0].send(frames) == 100
            assert back.take() == frames
            device.rx[0].receive(0)  # a worker that polls fills the ring
            assert back.give(frames[:50]) == 50
            assert take(device, 50) == frames[:50]
            assert device.flush() == 0
            device.tx[0].send(frames[:20])  # it goes with these in its hands
            back.close()
            assert not back.refused
            deadline = time.monotonic() + 10
            while device.link_speed():
                assert time.monotonic() < deadline
                time.sleep(0.001)
            back = Backend(path)
        back.wait()
        device.wait_for_link()
        total = device.statistics()
        assert total.dropped["tx_lost"] == 80
        assert total.rx_packets == 200
        device.rx[0].receive(0)
        free = no_shared_pools[0].available
        assert free == no_shared_pools[0].count - 256  # what the receive ring has
    back.close()
    assert not back.refused
