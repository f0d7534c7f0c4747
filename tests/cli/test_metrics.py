"""Metrics, as the client library's own parser reads them."""

import re
import time
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from command import is_one_line, run_ixy, start_ixy
from ixy.cli.metrics import LOOPBACK, Metrics, parse
from ixy.cli.samples import Sample
from ixy.errors import IxyError

Found = dict[tuple[str, ...], float]


def scrape(url: str) -> Found:
    """Each sample by its name and the values of its labels, port first."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    names = "port", "address", "direction", "reason", "counter"
    found = [sample for family in families for sample in family.samples]
    assert all(set(sample.labels) <= set(names) for sample in found)
    return {
        (sample.name, *(sample.labels[name] for name in names if name in sample.labels)): value
        for sample in found
        for value in [sample.value]
    }


@pytest.fixture
def metrics(capsys: pytest.CaptureFixture[str]) -> Iterator[tuple[Metrics, str]]:
    served = Metrics("0")
    yield served, capsys.readouterr().err.split("metrics: ")[1].strip()
    served.close()


def test_counters_per_port_direction_and_reason(metrics: tuple[Metrics, str]) -> None:
    served, url = metrics
    assert scrape(url) == {}  # it has not begun
    counts = {"rx_packets": 1, "rx_bytes": 60, "tx_packets": 2**40, "tx_bytes": 120}
    port = {"address": 'emu:"x"', **counts, "dropped": {"unread": 3}}
    served.sample = Sample(1.5, [port, port | {"rx_packets": 7}], {"forwarded": 9})
    found = scrape(url)
    assert found["ixy_packets_total", "0", 'emu:"x"', "rx"] == 1
    assert found["ixy_packets_total", "0", 'emu:"x"', "tx"] == 2**40
    assert found["ixy_packets_total", "1", 'emu:"x"', "rx"] == 7
    assert found["ixy_bytes_total", "0", 'emu:"x"', "tx"] == 120
    assert found["ixy_dropped_packets_total", "1", 'emu:"x"', "unread"] == 3
    assert found["ixy_app_total", "forwarded"] == 9
    assert found["ixy_run_seconds",] == 1.5
    assert len(found) == 12


def test_a_port_that_is_taken_is_refused(metrics: tuple[Metrics, str]) -> None:
    _, url = metrics
    (number,) = re.findall(r":(\d+)/", url)
    with pytest.raises(IxyError, match="choose another port"):
        Metrics(number)


def test_hosts_and_ports() -> None:
    assert parse("9100") == (LOOPBACK, 9100)
    assert parse("0.0.0.0:9100") == ("0.0.0.0", 9100)
    assert parse("[::1]:1") == ("::1", 1)
    for wrong in ("", "x", "-1", "70000", "host:", ":9100", "::1:9100", "a:b", "9100x", "\u0663"):
        with pytest.raises(IxyError, match="give it PORT"):
            parse(wrong)


def test_a_run_can_be_watched() -> None:
    run = start_ixy("generate", "emu:loopback", "--rate", 1000, "--time", 30, "--prometheus", 0)
    try:
        url = run.stderr.readline().split("metrics: ")[1].strip()
        assert url.startswith(f"http://{LOOPBACK}:")
        deadline, found = time.monotonic() + 60, {}
        while not found.get(("ixy_packets_total", "0", "emu:loopback", "tx")):
            assert time.monotonic() < deadline
            time.sleep(0.1)
            found = scrape(url)
        assert found["ixy_app_total", "sent"] > 0
    finally:
        run.terminate()
        run.communicate(timeout=30)


def test_a_wrong_port_is_one_line() -> None:
    done = run_ixy("generate", "emu:loopback", "--count", 1, "--prometheus", "nowhere:x")
    assert done.returncode == 1
    assert is_one_line(done.stderr)
