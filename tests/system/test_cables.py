"""Two processes, joined by a cable: what one sends the other receives, or counts as missed."""

import json
import os
import time
from pathlib import Path

import pytest

from command import REAL, many, read_pcap, start_ixy, totals, write_pcap
from rig import numbered

CABLE = f"emu:cable:ixy-cables-{os.getpid()}"
FILE = Path(f"/dev/shm/ixy-cable-{os.getuid()}-ixy-cables-{os.getpid()}")


@pytest.fixture(autouse=True)
def no_cable_is_left():
    yield
    assert not FILE.exists()


def capture_while(path: Path, *args: object) -> tuple[dict, dict]:
    """Captures at one end while something else sends at the other; returns both totals."""
    receiver = start_ixy("capture", CABLE, path, "--json")
    try:
        sent = totals(*args, timeout=60)
        wait_for(path, sent["ports"][0])
    finally:
        receiver.terminate()
        out, err = receiver.communicate(timeout=30)
    assert receiver.returncode == 0, err
    return sent, json.loads(out)


def wait_for(path: Path, port: dict) -> None:
    """Until the file holds all that was put on the wire, or has not grown for long: what the
    receiver missed does not come.
    """
    arriving = 1 - port["dropped"].get("wire_lost", 0) / port["tx_packets"]
    awaited = 24 + arriving * (16 * port["tx_packets"] + port["tx_bytes"])
    size, grown = 0, time.monotonic()
    while size < awaited and time.monotonic() < grown + 5:
        if size != (size := path.stat().st_size if path.exists() else 0):
            grown = time.monotonic()
        time.sleep(0.05)


@pytest.mark.parametrize("pace", ["slow", "fast"])
def test_what_is_generated_is_captured_or_counted(tmp_path: Path, pace: str) -> None:
    # the slow ones fit into the port's packet buffer, should the receiver need that long to begin
    count = many(300_000 if pace == "fast" else 8_000, 50)
    rate = [] if pace == "fast" else ["--rate", many(50_000, 100)]
    sent, found = capture_while(tmp_path / "x.pcap", "generate", CABLE, "--count", count, *rate)
    dropped = found["ports"][0]["dropped"]
    assert sent["ports"][0]["tx_packets"] == count
    assert found["written"] + sum(dropped.values()) == found["received"]
    assert found["received"] + sent["ports"][0]["dropped"].get("wire_lost", 0) == count
    frames = read_pcap(tmp_path / "x.pcap")
    assert len(frames) == found["written"] > 0
    numbers = [int.from_bytes(frame[42:50], "big") for frame in frames]
    assert numbers == sorted(set(numbers))
    if pace == "slow":
        assert found["written"] == count


def test_a_capture_passes_through_a_cable_byte_for_byte(tmp_path: Path) -> None:
    _, found = capture_while(tmp_path / "x.pcap", "replay", REAL, CABLE, "--speed", 500)
    assert read_pcap(tmp_path / "x.pcap") == [f.ljust(60, b"\0") for f in read_pcap(REAL)]
    assert found["received"] == found["written"]


def test_through_a_forwarder_between_two_cables(tmp_path: Path) -> None:
    """Three processes. All frames fit into a packet buffer."""
    frames = [numbered(i, 60 + i % 200) for i in range(many(2000, 40))]
    file = write_pcap(tmp_path / "in.pcap", frames)
    other = CABLE + "-2"
    middle = start_ixy("forward", CABLE, other, "--json")
    try:
        _, found = capture_while(tmp_path / "x.pcap", "replay", file, other, "--speed", 5000)
    finally:
        middle.terminate()
        out, _ = middle.communicate(timeout=30)
    assert read_pcap(tmp_path / "x.pcap") == frames
    assert json.loads(out)["forwarded"] == len(frames)
    assert found["written"] == len(frames)


def test_an_end_that_goes_does_not_stop_the_other(tmp_path: Path) -> None:
    """Without a link nothing is sent; the run ends when its time is over."""
    receiver = start_ixy("capture", CABLE, tmp_path / "x.pcap", "--count", 10, "--json")
    found = totals("generate", CABLE, "--time", 2, timeout=60)
    out, err = receiver.communicate(timeout=30)
    assert receiver.returncode == 0, err
    assert json.loads(out)["written"] == 10
    assert found["ports"][0]["tx_packets"] >= 10
    assert found["seconds"] < 4
