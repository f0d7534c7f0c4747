"""The virtio driver at software switches, as their users plug it in: frames both ways, and a switch
that is killed and started again in the middle.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import ixy
from huge import huge_pages_of_this_machine
from ixy.bench.testpmd import Testpmd
from ixy.device import Device
from rig import ethernet
from vhost_backend import Backend
from vhost_peers import OvsSwitch, Switch, TestpmdSwitch, missing

pytestmark = [
    pytest.mark.root,
    pytest.mark.compiled,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for huge pages"),
    pytest.mark.skipif(bool(missing), reason=f"needs apt install {' '.join(missing)}"),
    pytest.mark.usefixtures("no_shared_pools"),
]
WINDOW = 32  # frames on their way: no switch has to drop any
RESUMED = 2.0  # seconds from when the switch has been started again, without others on this machine
PATIENCE = 20.0  # with them
MACS = bytes([2, 0, 0, 0, 0, 1]), bytes([2, 0, 0, 0, 0, 2])
PAGES = 192  # two testpmd or an Open vSwitch, and our pools


@pytest.fixture(scope="module", autouse=True)
def pages() -> Iterator[None]:
    with huge_pages_of_this_machine(PAGES):
        yield


def frames(way: int, first: int, count: int) -> list[bytes]:
    """Numbered frames of different lengths from one port to the other."""
    return [
        ethernet(i.to_bytes(8, "big"), to=MACS[1 - way], source=MACS[way]).ljust(
            60 + 97 * i % 1455, bytes([i % 251])
        )
        for i in range(first, first + count)
    ]


def take(device: Device) -> list[bytes]:
    """What has arrived at any of the queues."""
    arrived = []
    for queue in device.rx:
        with queue.receive(WINDOW) as batch:
            arrived += [bytes(packet) for packet in batch]
    return arrived


def pass_both_ways(ports: list[Device], count: int) -> None:
    """Frames over all queues both ways, WINDOW at a time: all arrive unharmed and, queue by queue,
    in order.
    """
    pairs = list(zip(*(port.tx for port in ports), strict=True))
    for first in range(0, count, WINDOW):
        for pair in pairs:
            sent = [frames(way, first, WINDOW) for way in (0, 1)]
            arrived: list[list[bytes]] = [[], []]
            for way in (0, 1):
                assert pair[way].send(sent[way]) == WINDOW
            deadline = time.monotonic() + 10
            while arrived != [sent[1], sent[0]]:
                for port, seen in zip(ports, arrived, strict=True):
                    seen.extend(take(port))
                if time.monotonic() > deadline:
                    assert arrived == [sent[1], sent[0]]


def wait_for_traffic(ports: list[Device], timeout: float) -> float:
    """Sends a frame each way again and again until both have arrived; returns after how many
    seconds.
    """
    begin = time.monotonic()
    passed = [False, False]
    while not all(passed):
        assert time.monotonic() < begin + timeout, f"no traffic after {timeout:g} s: {passed}"
        for way, port in enumerate(ports):
            port.statistics()  # raises what the driver has against the switch
            port.tx[0].send(frames(way, 0, 1))
        time.sleep(0.002)
        for way, port in enumerate(ports):
            passed[1 - way] |= bool(take(port))
    seconds = time.monotonic() - begin
    time.sleep(0.1)
    while [packet for port in ports for packet in take(port)]:  # the rest of them
        time.sleep(0.02)
    return seconds


@pytest.mark.parametrize("packed", [0, 1])
@pytest.mark.parametrize(
    ("kind", "listens", "queues"),
    [
        (TestpmdSwitch, True, 1),
        (TestpmdSwitch, False, 2),
        (OvsSwitch, True, 1),
        (OvsSwitch, False, 1),
    ],
    ids=["testpmd", "testpmd-client", "dpdkvhostuser", "dpdkvhostuserclient"],
)
def test_a_switch_that_is_killed_and_comes_back(
    tmp_path: Path,
    no_shared_pools: list,
    kind: type[Switch],
    listens: bool,
    queues: int,
    packed: int,
) -> None:
    count = 2048
    with kind(tmp_path, listens=listens, queues=queues) as switch:
        a, b = switch.addresses(f"&packed={packed}")
        with ixy.open(a) as one, ixy.open(b) as other:
            ports = [one, other]
            for port in ports:
                port.wait_for_link()
            wait_for_traffic(ports, PATIENCE)
            pass_both_ways(ports, count)
            resumed = []
            for _ in range(2):
                free = [pool.available for pool in no_shared_pools]
                for way, port in enumerate(ports):  # these it takes with it, or the driver does
                    port.tx[0].send(frames(way, 0, WINDOW))
                switch.kill()
                deadline = time.monotonic() + 5
                while any(port.link_speed() for port in ports):
                    assert time.monotonic() < deadline, "a link to nobody"
                    time.sleep(0.01)
                while [packet for port in ports for packet in take(port)]:
                    pass  # what had arrived before
                switch.start()
                resumed.append(wait_for_traffic(ports, PATIENCE))
                pass_both_ways(ports, count)
                kept = max(
                    before - pool.available
                    for before, pool in zip(free, no_shared_pools, strict=True)
                )
                assert kept <= 4 * 256, "buffers stay with a switch that is no more"
            assert min(resumed) <= RESUMED
            for port in ports:
                assert port.flush() == 0
    assert [pool.available for pool in no_shared_pools] == [p.count for p in no_shared_pools]


@pytest.mark.parametrize(
    "options",
    [
        "",
        ",mrg_rxbuf=0,in_order=0,vectorized=1",
        ",packed_vq=1",
        ",packed_vq=1,mrg_rxbuf=0,in_order=1,vectorized=1",
    ],
)
def test_our_back_end_is_one_for_dpdk(tmp_path: Path, options: str) -> None:
    """The judge is judged: DPDK's front end sends back what our strict back end gave it."""
    path, sent, swapped = tmp_path / "sock", frames(0, 0, 1024), []
    with (
        Backend(path, buffers_sent=True) as back,
        Testpmd(f"net_virtio_user0,path={path},queues=1{options}", core=0) as front,
    ):
        back.wait()
        front.forward("macswap")
        given, deadline = 0, time.monotonic() + 30
        while len(swapped) < len(sent):
            given += back.give(sent[given : len(swapped) + WINDOW])
            swapped += back.take()
            assert time.monotonic() < deadline, f"{len(swapped)} of {given} came back"
        assert swapped == [frame[6:12] + frame[:6] + frame[12:] for frame in sent]
