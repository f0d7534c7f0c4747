"""Expressions on frames: the verdict must be libpcap's own, each time."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import judge
from corpus import Recorded, corpus
from ixy.compiled import compiled
from ixy.errors import IxyError
from ixy.memory.ordered import address_of
from ixy.pcap import MAXIMUM_SNAPLEN
from ixy.traffic.bpf import interpret
from ixy.traffic.filter import Filter, verdict

LINES = Path(__file__).with_name("expressions.txt").read_text().splitlines()
EXPRESSIONS = [line for line in LINES if not line.startswith("#")]


@compiled
def fill(entry, places, captured, lengths, found):
    for i in range(len(places)):
        found[i] = verdict(entry, places[i], captured[i], lengths[i])


def verdicts(chosen: Filter, frames: Sequence[Recorded]) -> list[int]:
    """What our filter says of each frame."""
    memory = [np.frombuffer(data + b"!", np.uint8) for data, _ in frames]
    places = np.array([address_of(data) for data in memory], np.uint64)
    captured = np.array([len(data) for data, _ in frames], np.uint32)
    lengths = np.array([length for _, length in frames], np.uint32)
    found = np.zeros(len(frames), np.uint32)
    fill(chosen.entry, places, captured, lengths, found)
    return found.tolist()


@pytest.fixture(scope="module")
def frames() -> list[Recorded]:
    return corpus()


def test_the_list_is_long_and_has_no_line_twice() -> None:
    assert len(EXPRESSIONS) >= 200
    assert len(set(EXPRESSIONS)) == len(EXPRESSIONS)


def test_every_verdict_is_that_of_libpcap(frames: list[Recorded]) -> None:
    split = 0
    for expression in EXPRESSIONS:
        found = verdicts(Filter(expression), frames)
        assert found == judge.verdicts(expression, frames, MAXIMUM_SNAPLEN), expression
        split += 0 < sum(map(bool, found)) < len(frames)
    assert split > 200  # of most, some frames are accepted and some are not


def test_plain_python_says_the_same(frames: list[Recorded]) -> None:
    few = frames[::7]
    for expression in EXPRESSIONS:
        program = Filter(expression).program
        found = [interpret(program, data, length) for data, length in few]
        assert found == judge.verdicts(expression, few, MAXIMUM_SNAPLEN), expression


def test_without_an_expression_all_is_accepted(frames: list[Recorded]) -> None:
    assert set(verdicts(Filter(""), frames)) == {MAXIMUM_SNAPLEN}


def test_a_filter_that_cannot_be_run_is_refused() -> None:
    with pytest.raises(IxyError, match="name the protocols instead"):
        Filter("ip6 protochain 17")
    with pytest.raises(IxyError, match="inbound"):
        Filter("udp and inbound")


def test_two_filters_do_not_disturb_each_other() -> None:
    frame = [Recorded(bytes(12) + b"\x08\x06" + bytes(46), 60)]
    arp, ip = Filter("arp"), Filter("ip")
    assert (verdicts(arp, frame), verdicts(ip, frame)) == ([MAXIMUM_SNAPLEN], [0])
    del ip
    assert verdicts(arp, frame) == [MAXIMUM_SNAPLEN]
