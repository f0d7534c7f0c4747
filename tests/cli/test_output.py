"""CSV rows, the schema of JSON objects, and that nothing is done that was not asked for."""

import csv
import json
from pathlib import Path

import jsonschema
import pytest

from command import SCHEMA, is_one_line, keeps_to_schema, run_ixy, totals
from ixy.cli.output import COLUMNS, Output
from ixy.cli.samples import Sample
from ixy.errors import IxyError
from rig import run_python

DOCS = (SCHEMA.parent / "output.md").read_text()


def port(packets: int, **dropped: int) -> dict:
    octets = 60 * packets
    counts = {"rx_packets": packets, "rx_bytes": octets, "tx_packets": 0, "tx_bytes": 0}
    return {"address": "emu:x", **counts, "dropped": dropped}


def test_a_row_per_sample_and_port_with_rates_of_the_interval(tmp_path: Path) -> None:
    output = Output("forward", csv=str(tmp_path / "x.csv"))
    output.begin()
    output.add(Sample(0.0, [port(5), port(0)], {}))
    output.add(Sample(1.0, [port(105), port(0)], {}))
    assert len((tmp_path / "x.csv").read_text().splitlines()) == 3  # as soon as they are known
    output.add(Sample(1.5, [port(205, full=3, late=4), port(0)], {}))
    output.end(["emu:x", "emu:x"])
    with (tmp_path / "x.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["seconds"], row["port"]) for row in rows] == [
        ("1.0", "0"), ("1.0", "1"), ("1.5", "0"), ("1.5", "1"),
    ]  # fmt: skip
    assert [float(row["rx_pps"]) for row in rows] == [100, 0, 200, 0]
    assert [row["dropped"] for row in rows] == ["0", "0", "7", "0"]
    assert float(rows[2]["rx_mbit_s"]) == pytest.approx(200 * 64 * 8 / 1e6)
    assert float(rows[2]["rx_wire_mbit_s"]) == pytest.approx(200 * 84 * 8 / 1e6)


def test_only_a_plot_needs_all_samples() -> None:
    for plot, kept in ((None, 1), ("x.png", 3)):
        output = Output("forward", plot=plot)
        for second in range(3):
            output.add(Sample(float(second), [port(second)], {}))
        assert len(output.samples) == kept


def test_a_file_that_cannot_be_written_is_refused_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(IxyError, match="choose another"):
        Output("forward", csv=str(tmp_path / "none" / "x.csv")).begin()


def test_rows_of_a_run_end_with_the_totals(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    found = totals("generate", "emu:loopback", "--rate", 500, "--time", 1.3, "--csv", file)
    with file.open(newline="") as rows:
        reader = csv.DictReader(rows)
        assert tuple(reader.fieldnames or ()) == COLUMNS
        last = list(reader)[-1]
    (total,) = found["ports"]
    assert float(last["seconds"]) == pytest.approx(found["seconds"], abs=1e-5)
    for name in ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes"):
        assert int(last[name]) == total[name]
    assert int(last["dropped"]) == sum(total["dropped"].values())


def test_a_full_disk_does_not_end_the_run() -> None:
    found = totals(
        "generate", "emu:loopback", "--rate", 500, "--time", 1.3, "--csv", "/dev/full", code=1
    )
    assert found["ports"][0]["tx_packets"] > 0


def test_columns_and_options_are_in_the_docs() -> None:
    assert all(f"`{column}`" in DOCS for column in COLUMNS)
    for command in ("forward", "generate", "capture", "replay", "reflect", "latency", "throughput"):
        shown = run_ixy(command, "--help").stdout
        assert all(option in shown for option in ("--csv", "--prometheus", "--plot", "--json"))


def test_the_schema_is_one() -> None:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    with pytest.raises(jsonschema.ValidationError):
        keeps_to_schema("forward", {"seconds": 1.0, "ports": [], "forwarded": 1})
    with pytest.raises(jsonschema.ValidationError):
        keeps_to_schema("forward", {"seconds": 1, "ports": [], "forwarded": 1, "mpps": 1, "x": 0})


@pytest.mark.parametrize(
    "arguments",
    [
        ["devices"],
        ["regs", "emu:loopback"],
        ["forward", "emu:source", "emu:source", "--count", 30],
        ["reflect", "emu:source", "--count", 30],
        ["generate", "emu:loopback", "--count", 30],
        ["generate", "emu:loopback", "--count", 30, "--rate", 1e3],
        ["latency", "emu:loopback", "--count", 30, "--wait", 0.1],
        ["latency", "emu:loopback", "--count", 30, "--wait", 0.1, "--timestamps", "hardware"],
    ],
)
def test_what_commands_print_keeps_to_the_schema(arguments: list) -> None:
    assert totals(*arguments)


@pytest.mark.parametrize("speed", ["max", "1x"])
def test_what_replay_and_capture_print_keeps_to_the_schema(tmp_path: Path, speed: str) -> None:
    file = tmp_path / "x.pcap"
    assert totals("capture", "emu:source", file, "--count", 20)
    assert totals("replay", file, "emu:loopback", "--speed", speed)


def test_what_is_not_asked_for_is_not_imported() -> None:
    code = """
import sys
sys.argv = ["ixy", "generate", "emu:loopback", "--count", "5"]
from ixy.cli.run import run
assert run() == 0
assert not {"matplotlib", "prometheus_client", "MLRsearch", "http.server"} & set(sys.modules)
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("module", "option", "package"),
    [
        ("matplotlib", ["--plot", "x.png"], "matplotlib"),
        ("prometheus_client", ["--prometheus", "0"], "prometheus-client"),
    ],
)
def test_a_missing_package_is_one_line(module: str, option: list[str], package: str) -> None:
    code = f"""
import sys
sys.modules[{module!r}] = None
sys.argv = ["ixy", "generate", "emu:loopback", "--count", "5", *{option!r}]
from ixy.cli.run import run
sys.exit(run())
"""
    done = run_python(code)
    assert done.returncode == 1
    assert is_one_line(done.stderr), done.stderr
    assert f"pip install {package}" in done.stderr
