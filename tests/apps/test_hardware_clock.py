"""`HardwareClock`: the card's own stamps, against the wire's known delay and the kernel's clock."""

import time

import pytest

import ixy
from command import many, run_app
from ixy.apps.hardware_clock import RESOLUTION, HardwareClock
from ixy.apps.latency import Latency
from ixy.errors import IxyError

pytestmark = pytest.mark.usefixtures("no_shared_pools")


def test_a_known_delay_is_found_between_what_the_wire_and_the_kernel_say() -> None:
    with ixy.open("emu:loopback?delay=2000", queues=2) as device:
        clock = HardwareClock(device, device.mac)
        for _ in range(10):
            before = time.monotonic_ns()
            elapsed = clock.sample()
            after = time.monotonic_ns()
            if elapsed is not None:
                assert 2_000_000 - RESOLUTION <= elapsed <= after - before + RESOLUTION
        assert clock.missing < 10
        speed = clock.speed()
        assert abs(speed["speed"] - 1) <= speed["relative_error"] < 0.1
        clock.close()
        assert device.tx[1].record[0]["extra"] == 0


def test_what_is_lost_is_missing_and_spoils_nothing() -> None:
    with ixy.open("emu:loopback?loss=2", queues=2) as device:
        clock = HardwareClock(device, device.mac)
        found = [clock.sample() for _ in range(6)]
        assert clock.missing == found.count(None) >= 3
        clock.close()


def test_what_comes_too_late_is_not_taken_for_the_next() -> None:
    with ixy.open("emu:loopback?delay=150000", queues=2) as device:
        clock = HardwareClock(device, device.mac)
        for _ in range(5):  # the stamp of one that was given up would show less
            elapsed = clock.sample()
            assert elapsed is None or elapsed >= 150_000_000 - RESOLUTION
        clock.close()


def test_an_x550_has_another_clock() -> None:
    with (
        ixy.open("emu:loopback?model=x550", queues=2) as device,
        pytest.raises(IxyError, match="takes no time stamps"),
    ):
        HardwareClock(device, device.mac)


def test_beside_a_stream_of_packets() -> None:
    with ixy.open("emu:loopback?delay=300&duplicate=10", queues=2) as device:
        app = Latency(device, device, rate=500, seconds=0.5, streams=16, linger=1, hardware=True)
        run_app(app, device)
        report = app.report(app.sequence.latency())
        stamped = report["hardware"]
        assert report["arrived"] == report["sent"] > 0
        assert stamped["count"] >= many(1, 0)  # plain Python is too slow to promise one
        assert stamped["count"] == 0 or stamped["minimum"] >= 300_000 - RESOLUTION
        assert stamped["clock"]["resolution"] == RESOLUTION
        assert report["foreign"] < 200  # copies that the wire made of the card's messages


@pytest.mark.parametrize("queues", [1, 2])
def test_it_takes_one_device_with_two_pairs_of_queues(queues: int) -> None:
    with (
        ixy.open("emu:loopback", queues=queues) as device,
        ixy.open("emu:loopback", queues=queues) as other,
        pytest.raises(IxyError, match="one device, with two pairs of queues"),
    ):
        Latency(device, other if queues == 2 else device, hardware=True)
