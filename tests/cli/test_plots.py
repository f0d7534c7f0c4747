"""Plots: files of the right kind and size, that show what they should."""

import struct
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from command import is_one_line, run_ixy, totals
from ixy.cli import plots
from ixy.cli.samples import Sample
from ixy.errors import IxyError

SVG = "{http://www.w3.org/2000/svg}"


def sample(second: float, rx: int, tx: int, unread: int = 0) -> Sample:
    counts = {"rx_packets": rx, "rx_bytes": 60 * rx, "tx_packets": tx, "tx_bytes": 60 * tx}
    return Sample(second, [{"address": "emu:x", **counts, "dropped": {"unread": unread}}], {})


def rate_row(size: int, ndr: float | None) -> dict:
    return {"size": size, "line_pps": 1e6, "ndr_pps": ndr, "pdr_pps": 9e5}


PAINTERS = {
    "rates": plots.rates([sample(0, 0, 0), sample(1, 10, 20), sample(2.5, 30, 20, unread=4)]),
    "latencies": plots.latencies({"a": [(0, 5), (900, 10), (1200, 4)], "b": [(2**40, 1)]}),
    "throughput": plots.throughput([rate_row(64, 8e5), rate_row(1518, None)]),
}


def is_png(path: Path) -> bool:
    """Whether it begins as a PNG of a useful size does (RFC 2083, 12)."""
    head = path.read_bytes()[:24]
    width, height = struct.unpack(">II", head[16:24])
    return head[:8] == b"\x89PNG\r\n\x1a\n" and width == 1200 and height == 675


@pytest.mark.parametrize("name", PAINTERS)
def test_png(tmp_path: Path, name: str) -> None:
    plots.draw(str(tmp_path / "x.png"), "a title", PAINTERS[name])
    assert is_png(tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 10_000


@pytest.mark.parametrize("name", PAINTERS)
def test_svg_is_xml_and_the_same_each_time(tmp_path: Path, name: str) -> None:
    for file in ("x.svg", "y.SVG"):
        plots.draw(str(tmp_path / file), "a title", PAINTERS[name])
    root = ET.parse(tmp_path / "x.svg").getroot()
    assert root.tag == f"{SVG}svg"
    assert len(list(root.iter(f"{SVG}path"))) > 5
    assert (tmp_path / "x.svg").read_bytes() == (tmp_path / "y.SVG").read_bytes()


def drawn(name: str):
    from matplotlib.figure import Figure

    figure = Figure()
    PAINTERS[name](figure)
    return figure.axes[0]


def test_rates_are_steps_of_each_interval() -> None:
    axes = drawn("rates")
    steps = {patch.get_label(): patch.get_data() for patch in axes.patches}
    assert list(steps["emu:x (0) tx"].values) == [20, 0]
    assert list(steps["emu:x (0) rx"].values) == [10, pytest.approx(20 / 1.5)]
    assert list(steps["emu:x (0) dropped"].values) == [0, pytest.approx(4 / 1.5)]
    assert list(steps["emu:x (0) tx"].edges) == [0, 1, 2.5]
    assert axes.get_xlabel() == "seconds"
    assert axes.get_ylabel() == "packets per second"


def test_the_distribution_ends_at_one() -> None:
    axes = drawn("latencies")
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines["a"].get_ydata()) == pytest.approx([5 / 19, 15 / 19, 1])
    assert list(lines["a"].get_xdata()) == pytest.approx([1e-9, 9e-7, 1.2e-6])
    assert lines["b"].get_ydata()[-1] == 1


def test_throughput_has_a_bar_for_each_rate() -> None:
    axes = drawn("throughput")
    heights = [[bar.get_height() for bar in bars] for bars in axes.containers]
    assert heights == [[1e6, 1e6], [8e5, 0], [9e5, 9e5]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["64", "1518"]


def test_what_cannot_be_drawn_is_refused_before(tmp_path: Path) -> None:
    for name in ("x.gif", "x", "x.png.txt"):
        with pytest.raises(IxyError, match=r"\.png or \.svg"):
            plots.check(str(tmp_path / name))
    with pytest.raises(IxyError, match="no such directory"):
        plots.check(str(tmp_path / "none" / "x.png"))
    plots.check(str(tmp_path / "x.SVG"))
    (tmp_path / "directory.png").mkdir()
    with pytest.raises(IxyError, match="choose another file"):
        plots.draw(str(tmp_path / "directory.png"), "title", PAINTERS["rates"])


def test_runs_leave_plots(tmp_path: Path) -> None:
    totals("generate", "emu:loopback", "--count", 50, "--plot", tmp_path / "x.png")
    totals("latency", "emu:loopback", "--count", 50, "--wait", 0.1, "--plot", tmp_path / "y.png")
    assert is_png(tmp_path / "x.png")
    assert is_png(tmp_path / "y.png")
    done = run_ixy("generate", "emu:loopback", "--count", 1, "--plot", tmp_path / "x.gif")
    assert done.returncode == 1
    assert is_one_line(done.stderr)
