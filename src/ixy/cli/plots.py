"""`--plot`: rates over time, the distribution of latencies, the results of a search."""

import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ixy.cli.samples import Sample, missing, rate_of
from ixy.errors import IxyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ".png", ".svg"
SIZE, DPI = (8.0, 4.5), 150  # inches; dots per inch
MARKED = 0.5, 0.99, 0.999  # of the distribution
Painter = Callable[["Figure"], None]


def check(path: str) -> None:
    """Raises IxyError if no such file could be drawn: it is known before the run."""
    if os.path.splitext(path)[1].lower() not in FORMATS:
        raise IxyError(f"--plot {path}: name a file that ends in {' or '.join(FORMATS)}")
    if not os.path.isdir(os.path.dirname(path) or "."):
        raise IxyError(f"--plot {path}: there is no such directory: make it, or choose another")
    if find_spec("matplotlib") is None:
        raise missing("--plot", "matplotlib")


def draw(path: str, title: str, paint: Painter) -> None:
    """Draws a figure with a title. Raises IxyError if the file cannot be written."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams["svg.hashsalt"] = "ixy"  # the same figure is the same file
    figure = Figure(figsize=SIZE, layout="constrained")
    paint(figure)
    figure.suptitle(title, fontsize="large")
    kind = os.path.splitext(path)[1][1:].lower()
    try:
        figure.savefig(path, dpi=DPI, format=kind, metadata={"Date": None} if kind == "svg" else {})
    except OSError as error:
        raise IxyError(f"--plot {path}: {error.strerror}: choose another file") from None


def rates(samples: Sequence[Sample]) -> Painter:
    """Packets per second of each port and direction that had any, a step per sample; and drops."""
    edges = [sample.seconds for sample in samples]
    first, pairs = samples[0], list(itertools.pairwise(samples))
    kinds: dict[str, tuple[str, Callable[[Sample, Sample, int], float]]] = {
        "tx": ("-", partial(_rate, "tx")),
        "rx": ("--", partial(_rate, "rx")),
        "dropped": (":", _drops),
    }

    def paint(figure: "Figure") -> None:
        axes = _axes(figure, "seconds", "packets per second")
        axes.yaxis.set_major_formatter(_engineering())
        for port, totals in enumerate(first.ports):
            for kind, (style, measure) in kinds.items():
                steps = [measure(old, new, port) for old, new in pairs]
                if any(steps):
                    axes.stairs(
                        steps, edges, baseline=None, label=f"{totals['address']} ({port}) {kind}",
                        color=f"C{port}", linestyle=style, linewidth=1.8,
                    )  # fmt: skip
        axes.set_xlim(0, edges[-1])
        axes.set_ylim(bottom=0)
        _legend(axes)

    return paint


def _rate(way: str, old: Sample, new: Sample, port: int) -> float:
    return rate_of(old.ports[port], new.ports[port], way, new.seconds - old.seconds).pps


def _drops(old: Sample, new: Sample, port: int) -> float:
    before, after = (sum(sample.ports[port]["dropped"].values()) for sample in (old, new))
    return float(after - before) / (new.seconds - old.seconds)


def latencies(distributions: dict[str, Iterable[tuple[int, int]]]) -> Painter:
    """The cumulated distribution of times, a line for each name: pairs of a time in ns and how
    often it was seen, by rising time.
    """

    def paint(figure: "Figure") -> None:
        axes = _axes(figure, "latency", "part of the packets that took no longer")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(_engineering("s"))
        for index, (name, pairs) in enumerate(distributions.items()):
            times, counts = zip(*pairs, strict=True)
            reached = 0
            parts = [(reached := reached + count) / sum(counts) for count in counts]
            values = [max(time, 1) / 1e9 for time in times]
            axes.step(values, parts, where="post", label=name, color=f"C{index}", linewidth=1.8)
            for mark in MARKED:
                at = next(value for value, part in zip(values, parts, strict=True) if part >= mark)
                axes.plot([at], [mark], "o", color=f"C{index}", markersize=4)
                words = f"{100 * mark:g} %: {_engineering('s', 1)(at)}"
                axes.annotate(
                    words, (at, mark), xytext=(6, -11), textcoords="offset points", fontsize="small"
                )
        axes.set_ylim(0, 1.03)
        axes.margins(x=0.1)
        if len(distributions) > 1:
            _legend(axes)

    return paint


def throughput(rows: Sequence[dict[str, Any]]) -> Painter:
    """The rates found for each frame size, beside what the link carries."""
    kinds = {"line_pps": "link", "ndr_pps": "no drop", "pdr_pps": "partial drop"}
    width = 0.8 / len(kinds)

    def paint(figure: "Figure") -> None:
        axes = _axes(figure, "bytes per frame, with the CRC", "packets per second")
        axes.yaxis.set_major_formatter(_engineering())
        axes.grid(axis="x", visible=False)
        for place, (key, label) in enumerate(kinds.items()):
            values = [row[key] or 0 for row in rows]
            bars = axes.bar(
                [i + (place - 1) * width for i in range(len(rows))], values, width * 0.92,
                label=label, color="0.82" if key == "line_pps" else f"C{place - 1}",
            )  # fmt: skip
            labels = [_engineering(places=3)(value) if value else "none" for value in values]
            axes.bar_label(bars, labels, fontsize="x-small", rotation=90, padding=3)
        axes.set_xticks(range(len(rows)), [str(row["size"]) for row in rows])
        axes.margins(y=0.18)
        _legend(axes)

    return paint


def _axes(figure: "Figure", x: str, y: str) -> "Axes":
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _legend(axes: "Axes") -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize="small", loc="best")


def _engineering(unit: str = "", places: int | None = None) -> Any:
    from matplotlib.ticker import EngFormatter

    return EngFormatter(unit, places)
