"""The hot path, moved by hand: a device that reads and writes rings by literal offsets."""

import os
import random
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from command import many
from ixy.bus.function import Doorbell
from ixy.datasheets.virtio import Control, Feature
from ixy.drivers.virtio.driver import VirtioDevice
from ixy.errors import IxyError
from ixy.memory.pool import Mempool
from rig import numbered, run_python
from virtio_device import CONTROL, MAC, RX, TX, Simulated, peek

V1, PACKED, IN_ORDER = Feature.VERSION_1, Feature.RING_PACKED, Feature.IN_ORDER
FORMS = {
    "split": V1,
    "split in order": V1 | IN_ORDER,
    "packed": V1 | PACKED,
    "packed in order": V1 | PACKED | IN_ORDER,
    "legacy": Feature.ANY_LAYOUT,
    "legacy, header apart": Feature(0),
}
form = pytest.mark.parametrize("features", FORMS.values(), ids=FORMS.keys())
BUFFERS = 1000


@contextmanager
def opened(
    features: Feature, ring: int = 64, **options
) -> Iterator[tuple[Simulated, VirtioDevice]]:
    """A device and its driver; afterwards all buffers are back."""
    sim = Simulated(features)
    pool = Mempool(BUFFERS)
    device = VirtioDevice(sim, [pool], 64, **options)
    for queue in sim.queues.values():
        queue.quiet()
    yield sim, device
    device.close()
    assert pool.available == BUFFERS
    assert sim.log[-2:] == ["stop", "close"]
    assert not sim.mapped
    pool.close()


def take(device: VirtioDevice, most: int = 64) -> list[bytes]:
    with device.rx[0].receive(most) as batch:
        return [bytes(view) for view in batch]


@form
def test_what_stands_in_a_ring_before_the_first_packet(features: Feature) -> None:
    with opened(features) as (sim, _):
        rx, header = sim.queues[RX], sim.header
        if features & PACKED:
            for i in range(64):
                _, length, number, flags = struct.unpack("<QIHH", peek(rx.desc + 16 * i, 16))
                assert (length, number, flags) == (2048 + 12, i, 0x82)  # AVAIL, WRITE
            assert struct.unpack("<HH", peek(rx.driver, 4)) == (0, 1)  # no events
        elif features & (V1 | Feature.ANY_LAYOUT):
            for i in range(64):
                _, length, flags, _ = struct.unpack("<QIHH", peek(rx.desc + 16 * i, 16))
                assert (length, flags) == (2048 + header, 2)
            assert struct.unpack("<HH4H", peek(rx.driver, 12)) == (1, 64, 0, 1, 2, 3)
        else:  # 32 packets, each a header and a body
            for i in range(32):
                head = struct.unpack("<QIHH", peek(rx.desc + 16 * i, 16))
                body = struct.unpack("<QIHH", peek(rx.desc + 16 * (32 + i), 16))
                assert head[1:] == (10, 3, 32 + i)
                assert body[0] == head[0] + 10
                assert body[1:3] == (2048, 2)
            assert struct.unpack("<HH", peek(rx.driver, 4)) == (1, 32)
        assert len(rx.take()) == (64 if features else 32)


@form
def test_a_packet_each_way(features: Feature) -> None:
    with opened(features) as (sim, device):
        sim.receive(numbered(1), numbered(2, 1514), numbered(3, 2048))
        assert take(device) == [numbered(1), numbered(2, 1514), numbered(3, 2048)]
        assert device.tx[0].send([numbered(4), numbered(5, 1514)]) == 2
        assert sim.sent() == [numbered(4), numbered(5, 1514)]
        assert device.flush(0) == 2
        sim.give_back(2)
        assert device.flush(1) == 0
        totals = device.statistics()
        assert (totals.rx_packets, totals.rx_bytes) == (3, 60 + 1514 + 2048)
        assert (totals.tx_packets, totals.tx_bytes) == (2, 60 + 1514)


@settings(max_examples=many(60, 8), deadline=None)
@given(features=st.sampled_from(list(FORMS.values())), seed=st.integers(0, 2**32))
def test_any_order_and_any_amounts(features: Feature, seed: int) -> None:
    """Frames come and go in random numbers and, where they may, in random order: none is lost, none
    twice, and each is what it was.
    """
    chance = random.Random(seed)
    with opened(features) as (sim, device):
        number, coming, gone, back = 0, [], [], []
        for _ in range(many(60, 15)):
            room = int(device.rx[0].record[0]["held"]) - len(coming)
            count = min(chance.randrange(0, 20), room)
            frames = [numbered(number + i, 60 + (number + i) % 900) for i in range(count)]
            number += count
            order = list(range(count))
            if not features & IN_ORDER:
                chance.shuffle(order)
            sim.receive(*frames, order=order)
            coming += [frames[i] for i in order]
            got = take(device, chance.randrange(0, 64))
            assert got == coming[: len(got)]
            coming = coming[len(got) :]
            sent = device.tx[0].send(got)
            gone += got[:sent]
            arrived = sim.sent()
            assert arrived == gone[: len(arrived)]
            gone = gone[len(arrived) :]
            back = list(range(chance.randrange(0, len(sim.chains) + 1)))
            if not features & IN_ORDER:
                chance.shuffle(back)
            if back:
                sim.give_back(len(back), back, bool(features & IN_ORDER) and chance.random() < 0.5)
            device.statistics()


@pytest.mark.compiled
@form
def test_indices_wrap_at_65536(features: Feature) -> None:
    with opened(features) as (sim, device):
        for number in range(0, 70_000, 20):
            frames = [numbered(number + i) for i in range(20)]
            sim.receive(*frames)
            assert take(device) == frames
            assert device.tx[0].send(frames) == 20
            assert sim.sent() == frames
            sim.give_back(20)
        assert device.statistics().rx_packets == device.statistics().tx_packets == 70_000


@form
def test_the_pool_is_empty(features: Feature) -> None:
    """Fewer packets are delivered, and those that wait come when there are buffers again."""
    with opened(features) as (sim, device):
        pool = device.rx[0].pool
        held = pool.take(BUFFERS)
        ring = len(sim.queues[RX].take())
        sim.queues[RX].next = 0
        frames = [numbered(i) for i in range(ring)]
        sim.receive(*frames)
        batch = device.rx[0].receive(ring)
        assert [bytes(view) for view in batch] == frames
        assert len(device.rx[0].receive(64)) == 0
        assert not sim.queues[RX].take()
        pool.give(held)
        assert len(device.rx[0].receive(64)) == 0
        assert len(sim.queues[RX].take()) == ring
        batch.free()


@form
def test_a_full_transmit_ring(features: Feature) -> None:
    with opened(features) as (sim, device):
        frames = [numbered(i) for i in range(80)]
        fits = 64 if features else 32
        assert device.tx[0].send(frames) == fits
        assert device.tx[0].send(frames) == 0
        assert sim.sent() == frames[:fits]
        sim.give_back(10)
        assert device.tx[0].send(frames[fits:]) == 10
        assert sim.sent() == frames[fits : fits + 10]


@form
def test_a_notification_per_batch_and_none_when_none_is_wanted(features: Feature) -> None:
    with opened(features) as (sim, device):
        record, queue = device.tx[0].record[0], sim.queues[TX]
        queue.quiet(False)
        device.tx[0].send([numbered(i) for i in range(10)])
        assert int(record["notified"]) == 1
        queue.quiet()
        device.tx[0].send([numbered(i) for i in range(10)])
        assert int(record["notified"]) == 1


@pytest.mark.parametrize("kind", ["memory", "file", "eventfd"])
def test_how_a_device_is_notified(kind: str, tmp_path) -> None:
    word = np.zeros(1, np.uint32)
    file = os.open(tmp_path / "ports", os.O_RDWR | os.O_CREAT)
    event = os.eventfd(0, os.EFD_NONBLOCK)
    sim = Simulated(V1)
    sim.bell = {
        "memory": Doorbell(word.ctypes.data),
        "file": Doorbell(file=file, position=16),
        "eventfd": Doorbell(file=event),
    }[kind]
    pool = Mempool(BUFFERS)
    with VirtioDevice(sim, [pool], 64) as device:
        if kind == "eventfd":
            assert os.eventfd_read(event) > 0
        device.tx[0].send([numbered(0)])
        if kind == "memory":
            assert word[0] == TX
        elif kind == "file":
            assert os.pread(file, 8, 16) == b"\1\0"
        else:
            assert os.eventfd_read(event) == 1
    os.close(file)
    os.close(event)


def test_a_packet_in_several_buffers_is_dropped_and_counted() -> None:
    with opened(V1 | Feature.MRG_RXBUF, wanted=Feature.MRG_RXBUF) as (sim, device):
        queue = sim.queues[RX]
        for number, (frame, buffers) in enumerate(
            [
                (numbered(0), 1),
                (bytes(2048), 3),
                (bytes(2060), 0),
                (bytes(900), 0),
                (numbered(4), 1),
            ]
        ):
            ((head, chain),) = queue.take(1)
            assert head == number
            length = sim.fill(chain, frame, buffers) if buffers else sim.write(chain, frame)
            queue.use(head, length)
        assert take(device) == [numbered(0), numbered(4)]
        assert device.statistics().dropped["rx_damaged"] == 1


def test_an_empty_packet_is_dropped_and_counted() -> None:
    with opened(V1 | PACKED) as (sim, device):
        sim.receive(b"", numbered(1))
        assert take(device) == [numbered(1)]
        assert device.statistics().dropped["rx_damaged"] == 1


@form
def test_a_device_that_begins_anew(features: Feature) -> None:
    with opened(features) as (sim, device):
        sim.receive(*[numbered(i) for i in range(20)])
        assert len(take(device, 7)) == 7
        device.tx[0].send([numbered(i) for i in range(10)])
        for queue in sim.queues.values():
            queue.next = queue.used = 0
        sim.restarted()
        assert device.statistics().dropped["tx_lost"] == 10
        for queue in sim.queues.values():
            queue.quiet()
        assert take(device) == []  # fills the ring
        sim.receive(numbered(77))
        assert take(device) == [numbered(77)]
        device.tx[0].send([numbered(78)])
        assert sim.sent() == [numbered(78)]
        assert device.statistics().rx_packets == 8


CONTROLLED = V1 | Feature.CTRL_VQ | Feature.CTRL_RX | Feature.CTRL_MAC_ADDR | Feature.MAC


class Controlled(Simulated):
    """A device with a control queue, which obeys at once, or refuses."""

    answer = 0

    def start_queue(self, index, size, areas) -> Doorbell:
        super().start_queue(index, size, areas)
        return self.bell

    def obey(self) -> None:
        queue = self.queues[CONTROL]
        for head, chain in queue.take():
            self.log.append(self.read(chain))
            _, length, writable = chain[-1]
            assert (len(chain), length, writable) == (3, 1, 2)
            self.write(chain[-1:], bytes([self.answer]))
            queue.use(head, 1, 3 if queue.packed else 1)


@pytest.mark.parametrize("packed", [Feature(0), PACKED], ids=["split", "packed"])
def test_commands(packed: Feature, monkeypatch: pytest.MonkeyPatch) -> None:
    from ixy.drivers.virtio import driver

    sim = Controlled(CONTROLLED | packed | Feature.CTRL_VLAN | Feature.MQ)
    monkeypatch.setattr(driver, "_notify", lambda _: sim.obey())
    pools = [Mempool(BUFFERS) for _ in range(1)]
    with VirtioDevice(sim, pools, 64, wanted=Feature.CTRL_VLAN) as device:
        assert device.mac == MAC
        assert sim.log == ["go", b"\0\0\1"]  # promiscuous
        del sim.log[:]
        for _ in range(30):  # around the ring's end
            device.set_promiscuous(False)
        assert sim.log == [b"\0\0\0"] * 30
        del sim.log[:]
        device.set_all_multicast(True)
        device.set_mac(b"\2\3\4\5\6\7")
        device.set_mac_table([b"\2abcde"], [b"\1abcde", b"\3abcde"])
        device.set_vlan(0x123, True)
        device.set_vlan(0x123, False)
        assert sim.log == [
            b"\0\1\1",
            b"\1\1\2\3\4\5\6\7",
            b"\1\0" + b"\1\0\0\0\2abcde" + b"\2\0\0\0\1abcde\3abcde",
            b"\2\0\x23\1",
            b"\2\1\x23\1",
        ]
        assert device.mac == b"\2\3\4\5\6\7"
        sim.answer = 1
        with pytest.raises(IxyError, match="refuses PROMISCUOUS"):
            device.set_promiscuous(True)
    assert Control.PAIRS_SET == 0x0400


def test_what_a_device_has_not() -> None:
    with opened(V1) as (_, device):
        with pytest.raises(IxyError, match="PROMISCUOUS needs CTRL_RX"):
            device.set_promiscuous(True)
        with pytest.raises(IxyError, match="is no address of a single station"):
            device.set_mac(b"\1" + bytes(5))
    pool = Mempool(BUFFERS)
    for options, words in (
        ({"wanted": Feature.MRG_RXBUF}, "does not offer MRG_RXBUF"),
        ({"ring": 48}, "power of two"),
        ({"ring": 16}, "power of two, 32 or more"),
    ):
        with pytest.raises(IxyError, match=words):
            VirtioDevice(Simulated(V1), [pool], **options)
    with pytest.raises(IxyError, match="does not offer MQ"):
        VirtioDevice(Simulated(V1), [pool, pool], 64)
    small = Mempool(100)
    with pytest.raises(IxyError, match="the pool is too small: 100 free buffers of 128"):
        VirtioDevice(Simulated(V1), [small], 64)
    assert (pool.available, small.available) == (BUFFERS, 100)


MISUSE = """
from ixy.datasheets.virtio import Feature
from ixy.drivers.virtio.driver import VirtioDevice
from ixy.memory.pool import BufferMisuse, Mempool
from virtio_device import Simulated

pool = Mempool(1000)
for features in (Feature.VERSION_1, Feature.VERSION_1 | Feature.RING_PACKED):
    with VirtioDevice(Simulated(features), [pool], 64) as device:
        buffers = pool.take(1)
        pool.fill(buffers[0], bytes(60))
        assert _send(device.tx[0].record, buffers) == 1
        try:
            _send(device.tx[0].record, buffers)
        except BufferMisuse as misuse:
            print(misuse)
"""


def test_a_buffer_sent_twice_is_named_and_the_device_can_be_closed() -> None:
    """With IXY_DEBUG=1: the queue's lock is free again."""
    program = "from ixy.device import _send" + MISUSE
    done = run_python(program, IXY_DEBUG="1", NUMBA_DISABLE_JIT="1", timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("sent twice") == 2


def test_a_device_that_needs_a_reset_says_so() -> None:
    with opened(V1) as (sim, device):
        assert device.statistics().tx_packets == 0
        sim.needs_reset = True
        with pytest.raises(IxyError, match="needs a reset"):
            device.statistics()
