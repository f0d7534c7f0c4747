"""A stream of packets: a template that lies in buffers of the stream's own, and what varies.

Each buffer is filled once. From then on a packet costs what varies in it: its fields, its lengths,
its checksums. Behind the template are zeros, which add nothing to a checksum, so one filling serves
all sizes.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ixy.compiled import compiled, inner
from ixy.errors import IxyError
from ixy.memory.ordered import address_of, array_at, copy_bytes, records
from ixy.memory.pool import alloc_batch, lengths, packet_address
from ixy.traffic.chance import draw_below, seeded
from ixy.traffic.fields import (
    MOST,
    SIZE,
    Field,
    Vary,
    halves,
    next_value,
    parse,
    put,
    set_field,
    share,
)
from ixy.traffic.headers import Layout, Place
from ixy.traffic.reserve import Reserve
from ixy.traffic.sizes import Sizes
from ixy.traffic.templates import MIN_SIZE, set_number

StreamRecord = np.dtype(
    [
        ("frame", "u8"),  # what a buffer is filled with, as long as the longest packet,
        ("longest", "u8"),
        ("filled", "u8"),  # and whether it is: u1, where the buffer with the number 0 would be
        ("random", "u8"),
        ("size", "u8"),  # of the packet that is written, without the CRC
        ("first", "u8"),  # sizes: the first of a range, and a table (0: none),
        ("table", "u8"),
        ("choices", "u8"),  # and of how many sizes one is chosen
        ("numbered", "u8"),  # whether packets bear a number (see `templates.Numbered`),
        ("number", "u8"),  # and the next one's
        ("ip_at", "u8"),  # the offset of each checksum, 0 if it stays as it is,
        ("ip", "u8"),  # and the sum of what does not vary
        ("l4_at", "u8"),
        ("l4", "u8"),
        ("udp", "u8"),  # l4 is UDP's: 0 would mean that there is none (RFC 768)
    ],
    align=True,
)
SUMS = "ip", "l4"
ALL = 0xFFFF
WORD, HALF, BYTE, EIGHT = np.uint64(ALL), np.uint64(16), np.uint64(0xFF), np.uint64(8)


@inner
def prepare(pool, bufs, stream, fields):
    """Takes buffers of the stream's own and writes the next packets; returns how many."""
    count = alloc_batch(pool, bufs)
    length = lengths(pool)
    filled = array_at(stream.filled, pool.first + pool.count, np.uint8)
    for buf in bufs[:count]:
        target = packet_address(pool, buf)
        if not filled[buf]:
            copy_bytes(target, stream.frame, stream.longest)
            filled[buf] = 1
        write_packet(target, stream, fields)
        length[buf] = stream.size
    return count


@inner
def write_packet(target, stream, fields):
    """Makes the packet at an address, which holds the template, the stream's next one."""
    if stream.choices > 1:
        choice = draw_below(stream, stream.choices)
        if stream.table:
            stream.size = array_at(stream.table, stream.choices, np.uint64)[choice]
        else:
            stream.size = stream.first + choice
    if stream.numbered:
        set_number(target, stream.number)
        stream.number += np.uint64(1)
    ip = stream.ip
    l4 = stream.l4
    for i in range(len(fields)):
        field = fields[i]
        number = next_value(field, stream) << field.shift
        put(field, target, number)
        ip += share(number, field.ip, field.ip_shift)
        l4 += share(number, field.l4, field.l4_shift)
    if stream.ip_at:
        put_sum(target + stream.ip_at, ip, False)
    if stream.l4_at:
        put_sum(target + stream.l4_at, l4, stream.udp)


@inner
def put_sum(place, total, udp):
    """Writes the complement of a sum of 16-bit words, which is not 0."""
    for _ in range(3):
        total = (total & WORD) + (total >> HALF)
    total ^= WORD
    if total == 0 and udp:
        total = WORD
    array_at(place, 1, np.uint16)[0] = (total & BYTE) << EIGHT | total >> EIGHT


@compiled
def _write(target, stream, fields):
    write_packet(target, stream[0], fields)


class Stream:
    """What a queue sends: `record` and `fields` for `prepare`, and the `frame` that its buffers are
    filled with.

    `sizes` None: packets are as long as the template. `vary` are texts such as
    `ip.src=inc(10.0.0.1,10.0.0.9)`. `part` is (i, n): of n streams with the same settings this is
    the i-th, with random numbers of its own. Raises IxyError for what the template cannot be.
    """

    def __init__(
        self,
        template: bytes,
        *,
        sizes: Sizes | None = None,
        vary: Sequence[str] = (),
        seed: int = 1,
        part: tuple[int, int] = (0, 1),
        numbered: bool = False,
    ) -> None:
        if sizes:
            template = resized(template, sizes.least)
        else:
            template = template.ljust(MIN_SIZE, b"\0")
            sizes = Sizes(len(template))
        layout = Layout(template)
        varied = [half for text in vary for half in halves(parse(text, layout))]
        _must_not_overlap(varied, numbered)
        if sizes.count > 1:
            varied += _lengths(layout)
        if len(varied) > MOST:
            raise IxyError(f"{len(varied)} fields vary: give it {MOST} at most")
        self.frame, self.sizes = template.ljust(sizes.most, b"\0"), sizes
        self.record, self.fields, self._tables = _compose(layout, varied, part)
        table, content = np.array(sizes.table, np.uint64), np.frombuffer(self.frame, np.uint8)
        self._tables += [table, content]
        for name, value in {
            "random": seeded("fields", seed, part[0]), "numbered": numbered,
            "size": sizes.first, "first": sizes.first, "choices": sizes.count,
            "table": address_of(table) if sizes.table else 0,
            "frame": address_of(content), "longest": len(content),
        }.items():  # fmt: skip
            self.record[0][name] = value

    def live_in(self, reserve: Reserve) -> None:
        """Before `prepare`: whose buffers are used."""
        self._tables.append(reserve.filled)
        first = int(reserve.record[0]["first"])
        self.record[0]["filled"] = address_of(reserve.filled) - first

    def write(self, memory: bytearray) -> bytes:
        """Makes the next packet in memory that holds the `frame`, or an earlier packet."""
        return _written(memory, self.record, self.fields)


def resized(template: bytes, size: int) -> bytes:
    """A template with zeros behind it, or without the padding that it has; its lengths and
    checksums right. Raises IxyError if it does not fit.
    """
    layout = Layout(template)
    if layout.end == len(template) == size:
        return template
    if layout.end > size:
        raise IxyError(f"a template of {layout.end} bytes: a size of {size} would cut it")
    if layout.fragment:
        raise IxyError("a template that is a fragment keeps its size: leave out --size")
    layout = Layout(template[: layout.end])
    record, fields, _ = _compose(layout, _lengths(layout), (0, 1))
    record[0]["size"] = size
    return _written(bytearray(layout.frame.ljust(size, b"\0")), record, fields)


def _written(memory: bytearray, record: Any, fields: Any) -> bytes:
    _write(address_of(np.frombuffer(memory, np.uint8)), record, fields)
    return bytes(memory[: int(record[0]["size"])])


def _compose(layout: Layout, varied: Sequence[Vary], part: tuple[int, int]) -> tuple[Any, Any, Any]:
    """The records of a stream and of its fields, and the tables that these point to."""
    record, fields = records(1, StreamRecord), records(len(varied), Field)
    tables = [
        set_field(field, vary, layout, part) for field, vary in zip(fields, varied, strict=True)
    ]
    for name in SUMS:
        found = layout.sums.get(name)
        if found is None or not any(int(field[name]) for field in fields):
            continue
        if any(_covers(vary.place, found.offset) for vary in varied):
            continue  # somebody wants it otherwise
        record[0][f"{name}_at"] = found.offset
        record[0][name] = _sum_of_the_rest(name, found.offset, layout.frame, fields)
        if name == "l4":
            record[0]["udp"] = found.udp
    return record, fields, tables


def _sum_of_the_rest(name: str, offset: int, frame: bytes, fields: Any) -> int:
    """What a checksum says that all words add up to, less those that vary: 1 to 0xFFFF."""
    total = ~int.from_bytes(frame[offset : offset + 2], "big") & ALL
    for field in fields:
        begin, width = int(field["offset"]), int(field["width"])
        window = int.from_bytes(frame[begin : begin + width], "big")
        total -= (window & int(field[name])) << int(field[f"{name}_shift"])
    return total % ALL or ALL


def _covers(place: Place, offset: int) -> bool:
    return place.bit < 8 * (offset + 2) and place.bit + place.bits > 8 * offset


def _lengths(layout: Layout) -> list[Vary]:
    return [
        Vary(f"--size and {name}", layout.places[name], SIZE, [less])
        for name, less in layout.lengths
    ]


def _must_not_overlap(varied: Sequence[Vary], numbered: bool) -> None:
    """Raises IxyError if two fields share bits."""
    places = [(vary.place, vary.text) for vary in varied]
    if numbered:
        places.append((Place(8 * 42, 8 * 16), "the number of a numbered frame"))
    places.sort()
    for (place, text), (other, other_text) in itertools.pairwise(places):
        if place.bit + place.bits > other.bit:
            raise IxyError(f"--vary {other_text}: its bits vary already: {text}")
