"""`--prometheus`: a run's counters, for whoever scrapes them."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ixy.cli.samples import Sample, missing
from ixy.errors import IxyError

if TYPE_CHECKING:
    from prometheus_client.core import Metric

LOOPBACK = "127.0.0.1"


class Metrics:
    """An HTTP server of the latest `sample`. Raises IxyError if it cannot have its port, and
    without the package.
    """

    def __init__(self, where: str) -> None:
        host, port = parse(where)
        try:
            from prometheus_client import CollectorRegistry, start_http_server
        except ImportError:
            raise missing("--prometheus", "prometheus-client") from None
        self.sample: Sample | None = None
        registry = CollectorRegistry()
        registry.register(self)
        try:
            self._server, _ = start_http_server(port, host, registry)
        except OSError as error:
            trouble = f"--prometheus {where}: {error.strerror}: choose another port"
            raise IxyError(trouble) from None
        port = self._server.server_port
        shown = f"[{host}]" if ":" in host else host
        print(f"metrics: http://{shown}:{port}/metrics", file=sys.stderr, flush=True)

    def collect(self) -> "Iterator[Metric]":
        """All metrics: none before the run has begun."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        if self.sample is None:
            return
        labels = ["port", "address"]
        packets = CounterMetricFamily(
            "ixy_packets", "Packets since the run began.", labels=[*labels, "direction"]
        )
        octets = CounterMetricFamily(
            "ixy_bytes", "Their bytes, without the CRC.", labels=[*labels, "direction"]
        )
        dropped = CounterMetricFamily(
            "ixy_dropped_packets", "Packets dropped, by reason.", labels=[*labels, "reason"]
        )
        for index, port in enumerate(self.sample.ports):
            whose = [str(index), port["address"]]
            for way in ("rx", "tx"):
                packets.add_metric([*whose, way], port[f"{way}_packets"])
                octets.add_metric([*whose, way], port[f"{way}_bytes"])
            for reason, count in port["dropped"].items():
                dropped.add_metric([*whose, reason], count)
        app = CounterMetricFamily("ixy_app", "The app's own counts.", labels=["counter"])
        for name, count in self.sample.counters.items():
            app.add_metric([name], count)
        seconds = GaugeMetricFamily(
            "ixy_run_seconds", "How long it had run.", value=self.sample.seconds
        )
        yield from (packets, octets, dropped, app, seconds)

    def close(self) -> None:
        """Ends the server."""
        self._server.shutdown()
        self._server.server_close()


def parse(where: str) -> tuple[str, int]:
    """Host and port: PORT, HOST:PORT or [HOST]:PORT. Raises IxyError for anything else."""
    host, colon, port = where.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon, host = "", "?"
    number: Any = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else -1
    if not 0 <= number <= 65535 or bool(colon) != bool(host):
        raise IxyError(f"--prometheus {where}: give it PORT or HOST:PORT, such as 9100")
    return host or LOOPBACK, number
