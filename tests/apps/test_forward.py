"""`Forwarder` on emulated devices: which frames arrive, and where the buffers are afterwards."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import ixy
from command import many, on_the_wire, read_pcap, run_app, write_pcap
from ixy.apps.forward import Forwarder
from ixy.memory.pool import Mempool
from rig import Nic, numbered, of_length, tagged

pytestmark = pytest.mark.usefixtures("no_shared_pools")


def mixed(count: int, seed: int = 1) -> list[bytes]:
    """Frames of all lengths, most of them short, all different."""
    rng = random.Random(seed)
    frames = []
    for i in range(count):
        length = rng.choice([rng.randint(14, 80), 60, rng.randint(60, 1514), 1514])
        frames.append(numbered(i, length)[:length] if i % 5 else tagged(numbered(i, length)))
    return frames


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def through(path: Path, frames: list[bytes], options: str = "", **settings) -> list[bytes]:
    """What arrives of frames that are forwarded one way."""
    write_pcap(path / "in.pcap", frames)
    queues = settings.pop("queues", 1)
    with (
        ixy.open(f"emu:pcap:{path}/in.pcap,{options}", queues=queues) as a,
        ixy.open(f"emu:pcap:,{path}/out.pcap{options}", queues=queues) as b,
    ):
        app = Forwarder(a, b, one_way=True, **settings)
        run_app(app, b)
        (taken, sent), total = app.taken[0], a.statistics()
        assert taken == sent == app.forwarded == total.rx_packets == b.statistics().tx_packets
        assert taken + sum(total.dropped.values()) == len(frames)
    return read_pcap(path / "out.pcap")


@pytest.mark.parametrize("batch", [1, 3, 64, 4096])
@pytest.mark.parametrize("options", ["?ring=64", "?ring=64&pool=256", "?ring=4096", ""])
def test_all_frames_arrive_in_order_byte_for_byte(tmp_path: Path, options, batch: int) -> None:
    frames = mixed(many(3000, 60 if batch == 3 else 100))
    assert through(tmp_path, frames, options, batch=batch) == on_the_wire(frames)


def test_with_interrupts_all_frames_arrive_too(tmp_path: Path) -> None:
    frames = mixed(many(3000, 100))
    found = through(tmp_path, frames, "?itr=100&pace=real", batch=8)
    assert found == on_the_wire(frames)


def test_more_frames_than_are_looked_up_at_a_time(tmp_path: Path) -> None:
    frames = [numbered(i) for i in range(many(150_000, 300))]
    assert through(tmp_path, frames) == frames


def test_frames_that_no_ethernet_carries_are_counted_not_forwarded(tmp_path: Path) -> None:
    lengths = [60, 1514, 1515, 1518, 1519, 2000, 2049, 9000, 15_000, 20_000, 14, 1514]
    frames = [of_length(n) for n in lengths]
    frames += [tagged(of_length(1514)), tagged(of_length(1515)), of_length(60)]
    assert through(tmp_path, frames) == on_the_wire(frames)


def test_nothing_in_nothing_out(tmp_path: Path) -> None:
    assert through(tmp_path, []) == []


def test_four_queues_carry_everything(tmp_path: Path) -> None:
    """Frames without IP are on one queue and keep their order."""
    frames = mixed(many(3000, 100))
    assert through(tmp_path, frames, "?ring=64", queues=4) == on_the_wire(frames)


def test_both_ways_at_once(tmp_path: Path) -> None:
    there, back = mixed(many(3000, 80), 1), mixed(many(2000, 60), 2)
    write_pcap(tmp_path / "there.pcap", there)
    write_pcap(tmp_path / "back.pcap", back)
    with (
        ixy.open(f"emu:pcap:{tmp_path}/there.pcap,{tmp_path}/left.pcap?ring=64") as a,
        ixy.open(f"emu:pcap:{tmp_path}/back.pcap,{tmp_path}/right.pcap?ring=64") as b,
    ):
        app = Forwarder(a, b)
        run_app(app, a, b)
        assert app.taken == [(len(there),) * 2, (len(back),) * 2]
        assert app.forwarded == len(there) + len(back)
    assert read_pcap(tmp_path / "right.pcap") == on_the_wire(there)
    assert read_pcap(tmp_path / "left.pcap") == on_the_wire(back)


def test_one_way_leaves_the_other_direction_alone() -> None:
    with ixy.open("emu:source?ring=64") as a, ixy.open("emu:source?ring=64") as b:
        app = Forwarder(a, b, one_way=True, count=many(10_000, 100))
        run_app(app, b)
        assert b.statistics().tx_packets == app.forwarded
        assert a.statistics().tx_packets == 0
        assert b.statistics().rx_packets <= 64


@pytest.mark.parametrize("one_way", [True, False])
@pytest.mark.parametrize("queues", [1, 4])
@pytest.mark.parametrize("count", [1, 63, 1001, 100_003])
def test_the_count_is_exact(count: int, queues: int, one_way: bool) -> None:
    count = min(count, many(count, 150))
    with (
        ixy.open("emu:source?ring=64", queues=queues) as a,
        ixy.open("emu:source?ring=64", queues=queues) as b,
    ):
        app = Forwarder(a, b, one_way=one_way, count=count)
        run_app(app, a, b)
        assert app.forwarded == count
        assert all(taken == sent for taken, sent in app.taken)
        assert a.statistics().tx_packets + b.statistics().tx_packets == count


def test_a_count_of_more_than_there_is_ends_with_what_there_is(tmp_path: Path) -> None:
    frames = [numbered(i) for i in range(50)]
    assert through(tmp_path, frames, count=1000) == frames


def test_what_the_transmit_ring_has_no_room_for_waits_and_goes_back_at_the_end() -> None:
    """The second device stands still: its ring fills, the next batch is held, no more is taken."""
    pool = Mempool(512)
    frames = [numbered(i) for i in range(200)]
    with Nic(pools=[pool]) as a, Nic(pools=[pool]) as b:
        assert a.wire.arrive(*frames) == 200
        app = Forwarder(a.device, b.device, one_way=True, batch=30)

        def sent() -> int:
            return app.taken[0][1]

        app.start()
        try:
            wait_until(lambda: a.step() >= 0 and sent() == 63)  # a ring of 64 keeps one slot free
            for _ in range(50):
                a.step()
                time.sleep(0.001)
            assert sent() == 63
            assert 63 < app.taken[0][0] <= 63 + 30
            b.step()  # there is room again: the held ones go first
            arrived = b.wire.sent()
            wait_until(lambda: a.step() or sent() >= 63 + 32)
        finally:
            assert app.workers.stop(5)
        app.workers.check()
        while b.step():
            pass
        assert arrived + b.wire.sent() == frames[: sent()]
    assert pool.available == pool.count
    pool.close()


def test_told_to_stop_under_load_every_buffer_comes_back(no_shared_pools: list) -> None:
    for queues in (1, 2):
        with (
            ixy.open("emu:source?ring=64", queues=queues) as a,
            ixy.open("emu:source?ring=64", queues=queues) as b,
        ):
            app = Forwarder(a, b)
            app.start()
            deadline = time.monotonic() + 60
            while app.forwarded < many(10_000, 100):
                assert time.monotonic() < deadline
                time.sleep(0.001)
            assert app.workers.stop(5)
            app.workers.check()
        assert [pool.available for pool in no_shared_pools] == [16384] * queues
