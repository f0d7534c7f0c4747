"""What users' scripts rely on: keys, exit codes, which stream says what, and how soon."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pcap_files import enhanced, interface, section

from command import (
    IXY,
    PORT_KEYS,
    REAL,
    is_one_line,
    many,
    on_the_wire,
    read_pcap,
    run_ixy,
    totals,
    write_pcap,
)
from rig import numbered, of_length
from template_frames import judged

SUBCOMMANDS = (
    "devices",
    "bind",
    "unbind",
    "forward",
    "generate",
    "capture",
    "replay",
    "latency",
    "reflect",
    "throughput",
    "regs",
    "bench",
)
COUNT = many(5000, 40)
GENERATE_KEYS = {
    "seconds", "ports", "requested_pps", "achieved_pps", "given_up", "late", "gaps",
}  # fmt: skip


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_help_has_an_example(name: str) -> None:
    done = run_ixy(name, "--help")
    assert done.returncode == 0
    assert f"ixy {name}" in done.stdout.split("Example", 1)[1]
    assert "--json" in done.stdout
    assert done.stderr == ""


def test_help_lists_the_subcommands_and_is_quick() -> None:
    seconds = []
    for _ in range(3):
        begin = time.monotonic()
        done = run_ixy("--help")
        seconds.append(time.monotonic() - begin)
    assert done.returncode == 0
    assert all(f"\n  {name}" in done.stdout for name in SUBCOMMANDS)
    assert min(seconds) < 1  # promised: 0.3 s, where nothing else runs


def test_help_imports_neither_the_compiler_nor_numpy() -> None:
    code = (
        "import sys; sys.argv = ['ixy', '--help']\ntry:\n    from ixy.cli.run import run; run()\n"
    )
    code += "finally:\n    assert not {'numpy', 'numba', 'llvmlite'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_without_a_subcommand_the_help_is_shown_as_it_is() -> None:
    done = run_ixy()
    assert "\n  forward" in done.stdout + done.stderr


def test_forward_s_object(tmp_path: Path) -> None:
    frames = [of_length(60 + i % 1400) for i in range(COUNT)] + [of_length(1600)]
    source, target = write_pcap(tmp_path / "in.pcap", frames), tmp_path / "out.pcap"
    found = totals("forward", f"emu:pcap:{source},", f"emu:pcap:,{target}", "--one-way")
    assert set(found) == {"seconds", "ports", "forwarded", "mpps"}
    assert read_pcap(target) == on_the_wire(frames)
    a, b = found["ports"]
    assert set(a) == set(b) == PORT_KEYS
    assert a["address"] == f"emu:pcap:{source},"
    assert found["forwarded"] == a["rx_packets"] == b["tx_packets"] == COUNT
    assert a["rx_packets"] + sum(a["dropped"].values()) == len(frames)
    assert a["dropped"]["rx_oversize"] == 1
    assert a["rx_bytes"] == b["tx_bytes"] == sum(map(len, on_the_wire(frames)))
    assert found["seconds"] > 0
    assert found["mpps"] == pytest.approx(COUNT / found["seconds"] / 1e6, rel=0.01, abs=1e-5)
    assert all(isinstance(port[key], float) for port in (a, b) for key in ("rx_mpps", "tx_mpps"))


def test_the_real_capture_is_forwarded(tmp_path: Path) -> None:
    found = totals("forward", f"emu:pcap:{REAL},", f"emu:pcap:,{tmp_path}/o.pcap", "--one-way")
    assert found["forwarded"] == len(read_pcap(tmp_path / "o.pcap")) == len(read_pcap(REAL))


def test_forward_with_four_queues_and_a_count() -> None:
    found = totals("forward", "emu:source", "emu:source", "--queues", 4, "--count", COUNT)
    assert found["forwarded"] == COUNT == sum(port["tx_packets"] for port in found["ports"])


def test_every_packet_that_arrived_is_sent_or_accounted_for() -> None:
    found = totals("forward", "emu:source", "emu:source", "--time", 0.2)
    a, b = found["ports"]
    for here, there in ((a, b), (b, a)):
        left = here["dropped"]["unsent"] + here["dropped"]["unread"]
        assert here["rx_packets"] == there["tx_packets"] + left
    assert a["rx_packets"] > 0


def test_a_packet_that_cannot_be_delivered_is_dropped_once() -> None:
    found = totals("generate", "emu:loopback?fault=corrupt-length", "--count", 5, "--rate", 50)
    (port,) = found["ports"]
    dropped = {name: n for name, n in port["dropped"].items() if n}
    assert dropped["rx_damaged"] >= 4  # the last one may not have been taken from the ring
    assert sum(dropped.values()) == port["tx_packets"] == 5
    assert port["rx_packets"] == dropped.get("unread", 0)


def test_generate_s_object() -> None:
    rate = many(50_000, 400)
    found = totals("generate", "emu:loopback", "--count", COUNT, "--rate", rate, "--size", 100)
    assert set(found) == GENERATE_KEYS
    (port,) = found["ports"]
    assert set(port) == PORT_KEYS
    assert (port["tx_packets"], port["tx_bytes"]) == (COUNT, 100 * COUNT)
    assert found["requested_pps"] == rate
    assert found["achieved_pps"] <= rate * 1.1
    assert set(found["late"]) == {"unit", "mean", "max"}
    assert set(found["gaps"]) == {
        "unit", "count", "mean", "min", "max", "percentiles", "relative_error", "nominal",
        "deviation", "distance", "buckets",
    }  # fmt: skip
    assert found["gaps"]["count"] == COUNT - 1 == sum(n for *_, n in found["gaps"]["buckets"])
    found = totals("generate", "emu:source", "--count", 1)
    assert set(found) == GENERATE_KEYS
    assert found["requested_pps"] is found["late"] is found["gaps"] is None


def test_generate_from_a_template(tmp_path: Path) -> None:
    file, count = tmp_path / "out.pcap", many(1000, 70)
    words = ["--template", 'Ether()/IP(dst="10.0.0.1")/UDP()', "--seed", 3, "--size", "60..200"]
    words += ["--vary", "ip.src=inc(10.0.0.1,10.0.0.9)", "--vary", "udp.dport=random(1,9)"]
    found = totals("generate", f"emu:pcap:,{file}", "--count", count, *words)
    frames = read_pcap(file)
    assert found["ports"][0]["tx_packets"] == len(frames) == count
    for i, frame in enumerate(frames[:: many(10, 5)]):
        assert judged(frame) == frame
        assert frame[29] == 1 + many(10, 5) * i % 9
    assert len({len(frame) for frame in frames}) > 30


@pytest.mark.parametrize(
    ("rate", "pps"), [("51.2Mbit", 1e5), ("67.2Mbit-wire", 1e5), ("1%", 148_809.52)]
)
def test_generate_s_rates(rate: str, pps: float) -> None:
    found = totals("generate", "emu:source", "--count", 100, "--rate", rate)
    assert found["requested_pps"] == pytest.approx(pps)


def test_random_arrivals() -> None:
    rate = many(20_000, 300)
    words = ["--rate", rate, "--arrivals", "poisson", "--count", many(4000, 90)]
    found = totals("generate", "emu:source", *words)
    assert found["gaps"]["nominal"] is found["gaps"]["deviation"] is None
    assert found["gaps"]["count"] == many(4000, 90) - 1


@pytest.mark.parametrize("name", ["x.pcap", "x.pcapng"])
def test_capture_s_object(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    found = totals("capture", "emu:source", file, "--count", COUNT, "--queues", 2)
    assert set(found) == {"seconds", "ports", "received", "written", "filtered"}
    (port,) = found["ports"]
    assert set(port) == PORT_KEYS
    assert found["written"] == COUNT
    assert found["received"] == found["written"] + sum(port["dropped"].values())
    assert file.stat().st_size > COUNT * 60


def test_capture_s_totals_add_up_under_load(tmp_path: Path) -> None:
    found = totals("capture", "emu:source", tmp_path / "x.pcap", "--time", 0.3)
    assert found["received"] == found["written"] + sum(found["ports"][0]["dropped"].values())
    assert len(read_pcap(tmp_path / "x.pcap")) == found["written"] > 0


def test_replay_s_object(tmp_path: Path) -> None:
    frames = [numbered(i) for i in range(COUNT)] + [of_length(10)]
    file = write_pcap(tmp_path / "in.pcap", frames)
    found = totals("replay", file, f"emu:pcap:,{tmp_path}/out.pcap", "--loop", 2)
    assert set(found) == {"seconds", "ports", "frames", "sent", "timing"}
    assert found["timing"] is None
    (port,) = found["ports"]
    assert set(port) == PORT_KEYS
    assert (found["frames"], found["sent"]) == (2 * len(frames), 2 * COUNT)
    assert port["dropped"]["bad_size"] == 2
    assert read_pcap(tmp_path / "out.pcap") == frames[:-1] * 2


def test_replay_waits_for_a_wire_with_a_delay(tmp_path: Path) -> None:
    frames = [numbered(i) for i in range(COUNT)]
    file = write_pcap(tmp_path / "in.pcap", frames)
    totals("replay", file, f"emu:pcap:,{tmp_path}/out.pcap?delay=300000")
    assert read_pcap(tmp_path / "out.pcap") == frames


@pytest.mark.parametrize("device", ["emu:pcap:,{}", "emu:pcap:{},{}"])
def test_replay_does_not_overwrite_what_it_reads(tmp_path: Path, device: str) -> None:
    frames = [numbered(i) for i in range(COUNT)]
    file = write_pcap(tmp_path / "x.pcap", frames)
    done = run_ixy("replay", file, device.format(file, file))
    assert done.returncode == 1
    assert is_one_line(done.stderr)
    assert "is being read" in done.stderr
    assert read_pcap(file) == frames


def test_replay_ends_at_a_frame_that_is_not_ethernet(tmp_path: Path) -> None:
    content = section() + interface() + enhanced("<", numbered(0)) + interface(link=113)
    (tmp_path / "x.pcapng").write_bytes(content + enhanced("<", numbered(1), number=1))
    done = run_ixy("replay", tmp_path / "x.pcapng", "emu:loopback")
    assert done.returncode == 1
    assert is_one_line(done.stderr)
    assert "Linux cooked" in done.stderr


@pytest.mark.parametrize(("speed", "least"), [("1x", 0.3), ("2x", 0.15), ("30", 0.33)])
def test_replay_s_speeds(tmp_path: Path, speed: str, least: float) -> None:
    file = write_pcap(tmp_path / "in.pcap", [numbered(i) for i in range(11)], gap=30_000_000)
    found = totals("replay", file, "emu:loopback", "--speed", speed)
    assert found["sent"] == 11
    assert found["timing"]["count"] == 11
    assert found["timing"] is None or found["timing"]["count"] == 11
    assert least - 0.03 < found["seconds"] < least + 2


def test_devices_object() -> None:
    found = json.loads(run_ixy("devices", "--json").stdout)["devices"]
    addresses = {row["address"] for row in found}
    assert {"emu:loopback", "emu:source", "emu:tap:IF"} <= addresses
    assert all(row.keys() >= {"address", "model", "driver", "todo"} for row in found)
    shown = run_ixy("devices").stdout
    assert all(address in shown for address in addresses)


def test_regs_shows_every_register_decoded() -> None:
    found = json.loads(run_ixy("regs", "emu:loopback?ring=128", "--json").stdout)
    assert set(found) == {"address", "registers"}
    rows = {row["name"]: row for row in found["registers"]}
    assert all(set(row) == {"offset", "name", "value", "fields"} for row in rows.values())
    assert rows["RDLEN[0]"]["value"] == 128 * 16
    assert rows["LINKS"]["offset"] == 0x42A4
    assert rows["RXCTRL"]["value"] & 1  # it receives
    assert "RXEN" in str(rows["RXCTRL"]["fields"])
    assert "0x042a4" in run_ixy("regs", "emu:loopback").stdout


def test_without_json_the_totals_are_lines(tmp_path: Path) -> None:
    done = run_ixy("generate", "emu:loopback", "--count", 20)
    assert done.returncode == 0
    assert "emu:loopback: received" in done.stdout
    assert "sent 20" in done.stdout
    assert "achieved_pps" in done.stdout
    done = run_ixy("generate", "emu:loopback", "--count", 20, "--rate", 1000)
    assert "gaps in ns: mean" in done.stdout
    assert "buckets" not in done.stdout


def test_live_lines_go_to_stderr_one_per_port_and_second() -> None:
    done = run_ixy("forward", "emu:source", "emu:loopback", "--time", 2.3, "--json")
    assert done.returncode == 0
    json.loads(done.stdout)  # and nothing else is there
    lines = done.stderr.splitlines()
    assert [line.split()[0] for line in lines] == ["emu:source", "emu:loopback"] * 2
    for line in lines:
        assert "Mpps" in line
        assert "Mbit/s" in line
        assert "on the wire" in line


def test_a_run_of_a_given_time_takes_that_time() -> None:
    found = totals("generate", "emu:source", "--time", 0.5, "--rate", 100)
    assert 0.5 <= found["seconds"] < 1


def test_output_that_cannot_be_written_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        for args in (["devices", "--json"], ["generate", "emu:loopback", "--count", "1", "--json"]):
            done = subprocess.run(
                [*IXY, *args], stdout=full, stderr=subprocess.PIPE, text=True, check=False
            )
            assert done.returncode != 0
            assert is_one_line(done.stderr), done.stderr


def test_a_reader_that_has_gone_is_no_traceback() -> None:
    args = [*IXY, "generate", "emu:loopback", "--count", "1", "--json"]
    with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        run.stdout.close()
        errors = run.stderr.read()
    assert run.returncode != 0
    assert "Traceback" not in errors


def test_numbers_in_json_are_json() -> None:
    """JSON knows no Infinity: refused, or null."""
    done = run_ixy("generate", "emu:loopback", "--rate", "inf", "--time", 0.1, "--json")
    if done.returncode == 0:
        json.loads(done.stdout, parse_constant=pytest.fail)
    else:
        assert is_one_line(done.stderr)
