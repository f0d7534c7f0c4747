"""What a run leaves besides its totals: rows of a CSV file, metrics for Prometheus, a plot."""

import csv
from collections.abc import Callable, Sequence
from typing import IO, TYPE_CHECKING, Annotated

import typer

from ixy.cli.samples import Sample, rate_of
from ixy.errors import IxyError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ixy.cli.metrics import Metrics

Csv = Annotated[
    str | None, typer.Option("--csv", metavar="FILE", help="Write a row per second and port.")
]
Prometheus = Annotated[
    str | None,
    typer.Option(metavar="[HOST:]PORT", help="Serve metrics there; HOST is the loopback address."),
]
Plot = Annotated[
    str | None, typer.Option(metavar="FILE", help="Draw the run into a .png or .svg file.")
]

COLUMNS = (
    "seconds", "port", "address", "rx_packets", "rx_bytes", "tx_packets", "tx_bytes", "dropped",
    "rx_pps", "tx_pps", "rx_mbit_s", "tx_mbit_s", "rx_wire_mbit_s", "tx_wire_mbit_s",
)  # fmt: skip


class Output:
    """What a command was asked to leave, by its options; a run's Session keeps it informed.

    `paint` fills the plot's figure; unless a command sets it, with the rates over time.
    """

    def __init__(
        self,
        command: str = "",
        csv: str | None = None,
        prometheus: str | None = None,
        plot: str | None = None,
    ) -> None:
        self._command = command
        self._csv, self._prometheus, self._plot = csv, prometheus, plot
        self.paint: Callable[[Figure], None] | None = None
        self.samples: list[Sample] = []
        self.warning: str | None = None
        """What could not be left, if anything."""
        self._file: IO[str] | None = None
        self._metrics: Metrics | None = None

    def begin(self) -> None:
        """Opens file and port. Raises IxyError for what cannot be had: not after a long run."""
        if self._plot:
            from ixy.cli import plots

            plots.check(self._plot)
        if self._csv:
            try:
                self._file = open(self._csv, "w", newline="")  # noqa: SIM115
            except OSError as error:
                raise IxyError(f"--csv {self._csv}: {error.strerror}: choose another") from None
            self._rows = csv.writer(self._file)
            self._rows.writerow(COLUMNS)
        if self._prometheus:
            from ixy.cli.metrics import Metrics

            self._metrics = Metrics(self._prometheus)

    def add(self, sample: Sample) -> None:
        """What is known now; the first one is the run's beginning."""
        before = self.samples[-1] if self.samples else None
        if not self._plot:
            self.samples.clear()
        self.samples.append(sample)
        if self._metrics:
            self._metrics.sample = sample
        if self._file and before:
            try:
                self._write(before, sample)
                self._file.flush()  # whoever watches it sees whole rows
            except OSError as error:
                self._close(error)

    def _write(self, before: Sample, sample: Sample) -> None:
        assert self._file
        seconds = sample.seconds - before.seconds
        for port, (old, new) in enumerate(zip(before.ports, sample.ports, strict=True)):
            rx, tx = (rate_of(old, new, way, seconds) for way in ("rx", "tx"))
            self._rows.writerow(
                [round(sample.seconds, 6), port, new["address"]]
                + [new[name] for name in COLUMNS[3:7]]
                + [sum(new["dropped"].values()), round(rx.pps, 3), round(tx.pps, 3)]
                + [round(figure, 6) for figure in (rx.mbit, tx.mbit, rx.wire, tx.wire)]
            )

    def _close(self, error: OSError | None = None) -> None:
        """Closes the CSV file. If it cannot be written the run goes on without it."""
        file, self._file = self._file, None
        try:
            if file:
                file.close()
        except OSError as late:
            error = error or late
        if error:
            self.warning = f"--csv {self._csv}: {error.strerror}: rows are missing"

    def end(self, addresses: Sequence[str]) -> None:
        """Closes file and port, draws the plot of a run that began. Raises IxyError if not."""
        self._close()
        if self._metrics:
            self._metrics.close()
        if self._plot and (self.paint or len(self.samples) > 1):
            from ixy.cli import plots

            title = " ".join(["ixy", self._command, *addresses])
            plots.draw(self._plot, title, self.paint or plots.rates(self.samples))
