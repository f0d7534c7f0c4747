"""Millions of numbered packets through two emulated 82599s and a forwarder; the sinks verify."""

import pytest

import ixy
from command import many, run_app, totals
from ixy.apps.forward import Forwarder
from ixy.compiled import JIT

pytestmark = pytest.mark.usefixtures("no_shared_pools")
SINK = ("sink_gaps", "sink_late", "sink_damaged")
VERIFY = "emu:source?verify=1"


def check_sinks(dropped: dict[str, int]) -> None:
    assert {name: dropped[name] for name in SINK} == dict.fromkeys(SINK, 0)


@pytest.mark.parametrize(
    ("queues", "options"), [(1, ""), (1, "&ring=64"), (4, ""), (4, "&ring=64&pool=512")]
)
def test_nothing_is_lost_late_damaged_or_kept(no_shared_pools: list, queues: int, options) -> None:
    """Over four queues, too, each flow keeps its order."""
    count = many(3_000_000 if queues == 1 else 1_000_000, 300)
    with (
        ixy.open(VERIFY + options, queues=queues) as a,
        ixy.open(VERIFY + options, queues=queues) as b,
    ):
        app = Forwarder(a, b, count=count)
        run_app(app, a, b, timeout=120)
        assert app.forwarded == count
        for port in (a, b):
            check_sinks(port.statistics().dropped)
        arrived = [int(device.function.model.wire.state[0]["good"]) for device in (a, b)]
        assert sum(arrived) == count
        if queues > 1 and JIT:  # few packets may all go one way
            shares = [sum(int(way["forwarded"]) for way in ways) for ways in app._ways]
            assert all(shares), "a queue without a packet"
    assert [pool.available for pool in no_shared_pools] == [p.count for p in no_shared_pools]


@pytest.mark.parametrize("size", [60, 1514])
def test_large_packets_and_the_command(size: int) -> None:
    address = f"emu:source?verify=1&size={size}&flows=7"
    found = totals("forward", address, address, "--count", many(500_000, 60))
    assert found["forwarded"] == many(500_000, 60)
    for port in found["ports"]:
        check_sinks(port["dropped"])


@pytest.mark.compiled
@pytest.mark.parametrize("queues", [1, 4])
def test_with_every_buffer_checked(queues: int) -> None:
    """IXY_DEBUG=1: double frees, foreign buffers, leaks at close are errors."""
    args = ("forward", VERIFY, VERIFY, "--count", 200_000, "--queues", queues)
    found = totals(*args, IXY_DEBUG="1", timeout=200)
    assert found["forwarded"] == 200_000
    for port in found["ports"]:
        check_sinks(port["dropped"])


@pytest.mark.compiled
def test_other_apps_with_every_buffer_checked(tmp_path) -> None:
    settings = {"IXY_DEBUG": "1", "timeout": 200}
    assert totals("generate", "emu:loopback", "--count", 100_000, **settings)["ports"]
    found = totals("capture", "emu:source", tmp_path / "x.pcap", "--count", 50_000, **settings)
    assert found["written"] == 50_000
    found = totals("replay", tmp_path / "x.pcap", "emu:loopback", **settings)
    assert found["sent"] == 50_000
