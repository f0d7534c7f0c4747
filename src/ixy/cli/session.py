"""What the subcommands that move packets have in common: open, run, show, stop, report."""

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Protocol, Self, TextIO

import typer

from ixy.cli import signals
from ixy.cli.output import Output
from ixy.cli.samples import Rate, Sample, rate_of

TICK = 0.02  # seconds between two looks at what is going on
LOOK = 0.25  # and between two looks at whether the devices are well
LINK_TIMEOUT = 10.0  # seconds
DRAIN = 1.0  # seconds for the last packets at the end of a run,
LAST_MOMENT = 0.05  # and when it was cut short
LONGEST_WAY = 1.5  # seconds: an emulated wire's longest delay, and more

NOTHING: dict[str, Any] = {  # a Statistics before there is any; the class would import the compiler
    "rx_packets": 0, "rx_bytes": 0, "tx_packets": 0, "tx_bytes": 0, "dropped": {},
}  # fmt: skip

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")]
Seconds = Annotated[
    float | None, typer.Option("--time", help="Stop after so many seconds.", min=0.001, max=1e9)
]
Count = Annotated[
    int | None, typer.Option("--count", help="Stop after so many packets.", min=1, max=10**18)
]
Queues = Annotated[int, typer.Option("--queues", help="Queue pairs per device.", min=1, max=64)]

Interrupts = Annotated[
    bool, typer.Option("--interrupts", help="Sleep while no packets come, until one interrupts.")
]
Itr = Annotated[
    float, typer.Option("--itr", help="Microseconds from one interrupt to the next.", min=0)
]
DEFAULT_ITR = 50.0


class App(Protocol):
    """What `Session.run` needs of an app."""

    workers: Any

    def start(self) -> None:
        """Starts the workers."""

    @property
    def done(self) -> bool:
        """Whether all has been done that was asked for."""


class Session:
    """One run of a command, as a context: devices, the time it took, how it ended. Leaving it
    prints the totals.

    `results` are the command's own totals, set anew when they are known; `report` (stdout) is where
    all totals go, `output` what else the run leaves. `bounded`: the run has an end of its own,
    which a signal would cut short. `exit_code` tells, afterwards, whether all was done that was
    asked.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        as_json: bool,
        bounded: bool,
        results: dict[str, Any],
        output: Output | None = None,
        report: TextIO | None = None,
    ) -> None:
        self.addresses, self.as_json, self.bounded, self.results, self.report = (
            addresses,
            as_json,
            bounded,
            results,
            report or sys.stdout,
        )
        self.output = output or Output()
        self._counters: Callable[[], dict[str, int]] = dict
        self.devices: list[Any] = []
        self.seconds = 0.0
        self.statistics: list[Any] = []
        self.drops: list[dict[str, int]] = [
            {} for _ in addresses
        ]  # those that the command knows of
        self.exit_code = 0

    def __enter__(self) -> Self:
        self.output.begin()
        # until there is something to finish
        signals.abandon = self._report
        if signals.received:
            self._report()
            signals.leave(128 + signals.received)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        signals.abandon = None
        with contextlib.ExitStack() as closing:  # all of them, though one may fail
            for device in self.devices:
                closing.callback(device.close)
        if signals.received and self.bounded:
            self.exit_code = 128 + signals.received
        if kind is None:
            self._report()

    def open(self, queues: int = 1, itr: float | None = None) -> list[Any]:
        """Opens the devices, with interrupts if `itr` is given (see `open_device`). They may have
        no link yet, and may still be compiled: see `run`.
        """
        from ixy.address import open_device

        for address in self.addresses:
            self.devices.append(open_device(address, queues=queues, itr=itr, settle=False))
            signals.closing.append(self.devices[-1].close)
        return self.devices

    def run(
        self,
        app: App,
        seconds: float | None = None,
        counters: Callable[[], dict[str, int]] = dict,
    ) -> None:
        """Runs an app until it is done, until the time is over, or until a signal comes; shows it
        each second. `counters` are the app's own, for metrics.
        """
        self._counters = counters
        signals.abandon = None
        app.workers.hold()  # what they do while others are compiled would be in no time at all
        app.start()
        begin = self._begin(app)
        try:
            self._watch(app, begin, seconds)
        finally:
            app.workers.finish(DRAIN if app.done else LAST_MOMENT)
        self.seconds = time.monotonic() - begin
        app.workers.check()
        if not signals.received:
            for device in self.devices:
                device.flush()
            self._await_arrival()
        self.statistics = [device.statistics() for device in self.devices]
        for device in self.devices:
            if device.beyond.warning:
                self.warn(device.beyond.warning)

    def _await_arrival(self) -> None:
        """Waits until what was sent has got through wires that hold it back on purpose."""
        deadline = time.monotonic() + LONGEST_WAY
        while any(device.beyond.under_way for device in self.devices):
            if signals.received or time.monotonic() > deadline:
                break
            time.sleep(0.001)

    def _begin(self, app: App) -> float:
        """Waits for the compiler, lets the workers go and waits for a link. Returns when the run
        began. Raises IxyError if a device has no link.
        """
        while not (app.workers.running and all(device.beyond.settled for device in self.devices)):
            if signals.received:
                return time.monotonic()
            app.workers.check()
            time.sleep(TICK)
        begin = time.monotonic()
        app.workers.go()
        deadline = begin + LINK_TIMEOUT
        while not signals.received and not all(device.link_speed() for device in self.devices):
            if app.done and not any(device.flush(0) for device in self.devices):
                break  # so soon that the other end has gone again
            if time.monotonic() > deadline:
                for device in self.devices:
                    device.wait_for_link(0)
            app.workers.check()
            time.sleep(TICK)
            begin = time.monotonic()
        return begin

    def warn(self, message: str) -> None:
        """Says on stderr what the totals do not; the command has not done all it was asked."""
        print(f"ixy: warning: {message}", file=sys.stderr)
        self.exit_code = 1

    def _watch(self, app: App, begin: float, seconds: float | None) -> None:
        looked = begin
        due = begin + 1.0
        before = self._sample(0.0)
        while not signals.received and not app.done and app.workers.busy:
            app.workers.check()
            time.sleep(TICK)
            moment = time.monotonic()
            if seconds is not None and moment - begin >= seconds:
                break
            if moment - looked >= LOOK:
                for device in self.devices:
                    device.beyond.check()
                looked = moment
            if moment >= due:
                due += 1.0
                after = self._sample(moment - begin)
                for device, old, new in zip(self.devices, before.ports, after.ports, strict=True):
                    if old["tx_packets"] == new["tx_packets"]:
                        device.flush(LAST_MOMENT)  # raises if it will never go on
                self._show(before, after)
                before = after

    def _sample(self, seconds: float) -> Sample:
        """What is known so many seconds after the beginning."""
        known = zip(self.addresses, self.devices, strict=True)
        ports = [{"address": a, **dataclasses.asdict(d.statistics())} for a, d in known]
        sample = Sample(seconds, ports, self._counters())
        self.output.add(sample)
        return sample

    def _show(self, before: Sample, after: Sample) -> None:
        seconds = after.seconds - before.seconds
        for old, new in zip(before.ports, after.ports, strict=True):
            rx, tx = (in_words(rate_of(old, new, way, seconds)) for way in ("rx", "tx"))
            print(f"{new['address']}  rx {rx}  tx {tx}", file=sys.stderr, flush=True)

    def _report(self) -> None:
        """Prints the totals, and leaves what else was asked for."""
        ports = list(self._port_totals())
        self._print(ports)
        if self.seconds:
            self.output.add(Sample(self.seconds, ports, self._counters()))
        self.output.end(self.addresses)
        if self.output.warning:
            self.warn(self.output.warning)

    def _print(self, ports: Sequence[dict[str, Any]]) -> None:
        """Totals are lines for people, or one JSON object."""
        if self.as_json:
            totals = {"seconds": round(self.seconds, 6), "ports": ports, **self.results}
            print(json.dumps(totals), file=self.report, flush=True)
            return
        for port in ports:
            drops = ", ".join(f"{count} {name}" for name, count in port["dropped"].items() if count)
            print(
                f"{port['address']}: received {port['rx_packets']}, sent {port['tx_packets']},"
                f" dropped {drops or 0}",
                file=self.report,
            )
        words = ", ".join(f"{name} {value}" for name, value in self.results.items())
        print(f"{words} in {self.seconds:.3f} s", file=self.report, flush=True)

    def _port_totals(self) -> Iterator[dict[str, Any]]:
        """Each port's part of the JSON object."""
        for index, address in enumerate(self.addresses):
            known = dataclasses.asdict(self.statistics[index]) if self.statistics else dict(NOTHING)
            known["dropped"] = known["dropped"] | self.drops[index]
            speeds = {f"{way}_mpps": self.mpps(known[f"{way}_packets"]) for way in ("rx", "tx")}
            yield {"address": address, **known, **speeds}

    def unread(self, port: int, taken: int) -> int:
        """Packets left in a port's receive ring, of which the app has taken so many. None where a
        card's counters stand still, as those that `ixy emulate --run` shows to drivers.
        """
        received: int = self.statistics[port].rx_packets
        return max(0, received - taken)

    def mpps(self, packets: int) -> float:
        """Millions of packets per second of the run."""
        return round(packets / self.seconds / 1e6, 6) if self.seconds else 0.0


def in_words(rate: Rate) -> str:
    """A rate in a live line."""
    return f"{rate.pps / 1e6:.3f} Mpps {rate.mbit:.1f} Mbit/s ({rate.wire:.1f} on the wire)"
