"""`Latency`: planted faults are reported exactly, and a known delay is found."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram

import ixy
from command import many, run_app
from ixy.apps.latency import Latency, must_agree, send_stamped, take_packets
from ixy.compiled import JIT, compiled
from ixy.emulator.wire.delay import Delayed
from ixy.emulator.wire.loopback import Loopback
from ixy.errors import IxyError
from ixy.system import now
from ixy.traffic.clock import calibrate
from ixy.traffic.histogram import ERROR, HIGHEST, PERCENTILES
from ixy.traffic.sequence import Sequence
from rig import Nic

pytestmark = pytest.mark.usefixtures("no_shared_pools")
FAULTS = "loss", "corrupt", "duplicate", "reorder"


def measured(*addresses: str, **settings: Any) -> dict[str, Any]:
    """The report on packets between devices."""
    settings.setdefault("linger", many(0.3, 1.0))
    devices = [ixy.open(address) for address in addresses]
    try:
        for device in devices:
            device.wait_for_link()
        app = Latency(devices[0], devices[-1], **settings)
        run_app(app, *devices, timeout=120)
        return app.report(app.sequence.latency())
    finally:
        for device in devices:
            device.close()


def planted(report: dict[str, Any]) -> dict[str, int]:
    """What the wires did, by the names that a report has for it."""
    done = report["planted"][0]
    return {
        "lost": done["lost"], "corrupt": done["corrupted"],
        "duplicates": done["duplicated"], "reordered": done["reordered"],
    }  # fmt: skip


def found(report: dict[str, Any]) -> dict[str, int]:
    return {name: report[name] for name in ("lost", "corrupt", "duplicates", "reordered")}


EVERY = many(1000, 10)


@pytest.mark.parametrize(
    "faults",
    [f"{name}={EVERY}" for name in FAULTS]
    + ["&".join(f"{name}={EVERY}" for name in FAULTS)]
    + ["&".join(f"{name}={1 / EVERY}" for name in FAULTS) + "&behind=7&seed=5"],
)
def test_planted_faults_are_reported_exactly(faults: str) -> None:
    count, rate = many(250_000, 300), None if JIT else 2000
    report = measured(f"emu:loopback?ring=128&{faults}", count=count, rate=rate)
    assert found(report) == planted(report)
    assert any(planted(report).values())
    assert report["sent"] == count == report["arrived"] + report["lost"] + report["corrupt"]
    assert (report["too_late"], report["foreign"]) == (0, 0)
    assert report["latency"]["count"] == report["arrived"]


@pytest.mark.compiled
def test_a_reordered_packet_s_extent_is_how_many_passed_it() -> None:
    report = measured("emu:loopback?reorder=500&behind=5", count=100_000)
    assert (report["reordered"], report["extent"], report["mean_extent"]) == (200, 5, 5.0)


def test_streams_over_a_cable() -> None:
    count = many(20_000, 100)
    report = measured(
        "emu:cable:latency?loss=100", "emu:cable:latency", count=count, streams=7, size=333,
        rate=many(1e5, 2000),
    )  # fmt: skip
    assert report["lost"] == count // 100
    streams = report["streams"]
    assert [each["stream"] for each in streams] == list(range(7))
    for name in ("sent", "arrived", "lost"):
        assert sum(each[name] for each in streams) == report[name]
    assert {each["sent"] - count // 7 for each in streams} <= {0, 1}
    assert sum(each["latency"]["sum"] for each in streams) == report["latency"]["sum"]


@pytest.mark.parametrize("options", ["delay=2000", "delay=0:3000&share=0.5"])
def test_no_packet_is_faster_than_the_wire(options: str) -> None:
    """The emulator's thread may be late; how long it held each packet it says itself."""
    report = measured(f"emu:loopback?{options}", count=many(2000, 60), rate=many(20_000, 300))
    latency, held = report["latency"], report["planted"][0]["held"]
    assert latency["count"] == held["count"] == report["sent"]
    assert latency["sum"] >= held["sum"] * (1 - report["clock"]["relative_error"])
    for percent in PERCENTILES:  # each is slower by what the rest of the way takes
        ratio = held["percentiles"][percent] / (latency["percentiles"][percent] or 1)
        assert ratio <= (1 + ERROR) * (1 + report["clock"]["relative_error"])


@compiled
def _send(tx, bufs, streams):
    before = now()
    sent = send_stamped(tx[0], bufs, streams[0])
    return sent, before, now()


@compiled
def _take(rx, bufs, streams):
    before = now()
    received = take_packets(rx[0], bufs, streams[0])
    return received, before, now()


@pytest.mark.parametrize("delay", [0, 300, "0:300"])
def test_latencies_are_those_of_the_kernel_s_clock_within_the_stated_error(delay) -> None:
    """Packet by packet, on a device that runs when it is told to: with nobody else's time in it."""
    clock = calibrate()
    judge = HdrHistogram(1, HIGHEST, 3)
    slow = 0
    with Nic(Delayed(Loopback(), delay)) as nic:
        sequence = Sequence(1, 60, bytes(6), bytes(6), clock.ns_per_tick)
        words = np.zeros(1, np.uint32), sequence.record
        latency, held = sequence.latencies[0], nic.wire.held
        for _ in range(many(1000, 40)):
            before_sum, before_held = latency.sum, held.sum
            sent, before, departed = _send(nic.device.tx[0].record, *words)
            received = 0
            while not received:
                nic.step()
                received, arrived, after = _take(nic.device.rx[0].record, *words)
            assert (sent, received) == (1, 1)
            found, known = latency.sum - before_sum, held.sum - before_held
            error = clock.error * found + 1  # and a ns of rounding
            assert arrived - departed - error <= found <= after - before + error
            assert known <= found + error
            slow += known >= 300_000
            judge.record_value(found)
        count = latency.total
    assert latency.minimum >= (300_000 if delay == 300 else 0) * (1 - clock.error) - 1
    assert slow >= (0.3 * count if delay else 0)
    for percent in PERCENTILES:
        rank = 100 * math.ceil(Fraction(percent) * count / 100) / count
        hers = min(judge.get_value_at_percentile(rank), latency.maximum)
        assert latency.percentile(percent) == hers
    assert abs(judge.get_mean_value() - latency.mean) <= ERROR * latency.mean


def test_a_time_to_send_and_no_count() -> None:
    report = measured("emu:loopback", seconds=0.2, rate=many(10_000, 300))
    assert report["sent"] == report["arrived"] > 10
    assert report["achieved_pps"] <= report["requested_pps"] * 1.1


def test_what_is_told_to_stop_stops() -> None:
    with ixy.open("emu:loopback") as device:
        app = Latency(device, device, rate=1000)
        app.start()
        while not app.workers.running or app.sequence.sent == 0:
            pass
        assert not app.done
        app.workers.finish(5)
        assert app.done
        report = app.report(app.sequence.latency())
        assert report["lost"] == 0


@pytest.mark.parametrize("streams", [0, 1025])
def test_streams_that_there_are_not(streams: int) -> None:
    with ixy.open("emu:loopback") as device, pytest.raises(IxyError, match="1 to 1024"):
        Latency(device, device, streams=streams)


def test_figures_that_contradict_each_other_are_an_error() -> None:
    with ixy.open("emu:loopback") as device:
        app = Latency(device, device, count=1)
        histogram = app.sequence.latencies[0]
        histogram.add([1000, 2000])
        must_agree(histogram, "x")
        histogram.record[0]["sum"] += 100
        with pytest.raises(
            IxyError, match=r"stream 0: the mean is 1550\.000 ns, but 1500\."
        ) as error:
            app.report(app.sequence.latency())
        assert "\n" not in str(error.value)
