"""What varies from packet to packet: `FIELD=inc(a,b,step)`, `random(a,b)` or `list(a,b,...)`.

A field is a window of 1 to 8 bytes of the frame, and how the next value is found. What it changes
in a checksum is added up as RFC 1624 (equation 3) says: a number's 16-bit words add up to the
number itself, modulo 2**16 - 1, wherever it ends at a whole word; a byte further to the left, to
256 times that. So no old value is ever read.
"""

import ipaddress
import re
from typing import Any, NamedTuple

import numpy as np

from ixy.compiled import inner
from ixy.errors import IxyError
from ixy.memory.ordered import address_of, array_at
from ixy.traffic.chance import draw_below
from ixy.traffic.headers import OTHER_FIELDS, OTHER_HEADERS, TURNED, TWICE, Layout, Place
from ixy.traffic.templates import big_endian

INC, DEC, RANDOM, LIST, SIZE = range(5)
MOST = 16  # fields, of which some are two: an IPv6 address is of 16 bytes
HALF, LOW = np.uint64(32), np.uint64(0xFFFFFFFF)

Field = np.dtype(
    [
        ("kind", "u4"),
        ("width", "u4"),  # bytes of the window: 1, 2, 4 or 8
        ("offset", "u8"),  # where it begins
        ("shift", "u8"),  # from the value to the window's number, in network byte order,
        ("lift", "u8"),  # and from there to the upper end of 64 bits
        ("keep", "u8"),  # the window's other bits, as they are in memory
        ("value", "u8"),  # the next one
        ("first", "u8"),
        ("last", "u8"),
        ("step", "u8"),  # random: how many values, 0 for all of 64 bits
        ("table", "u8"),  # list: its u8 values, how many, and which is next
        ("count", "u8"),
        ("index", "u8"),
        ("ip", "u8"),  # the window's bits that the checksums cover, and by how many more bits they
        ("ip_shift", "u8"),  # are to the left there
        ("l4", "u8"),
        ("l4_shift", "u8"),
    ],
    align=True,
)


@inner
def next_value(field, state):
    """A field's value for the packet to be written; `state` has a `size` and a `random`."""
    if field.kind == SIZE:
        return state.size - field.first
    if field.kind == RANDOM:
        return field.first + draw_below(state, field.step)
    if field.kind == LIST:
        value = array_at(field.table, field.count, np.uint64)[field.index]
        field.index += np.uint64(1)
        if field.index == field.count:
            field.index = 0
        return value
    value = field.value
    if value == field.last:
        field.value = field.first
    elif field.kind == INC:
        field.value = value + field.step
    else:
        field.value = value - field.step
    return value


@inner
def put(field, target, number):
    """Writes a field, given its window's number, into the packet at an address."""
    word = big_endian(number << field.lift)
    place = target + field.offset
    if field.width == 2:
        two = array_at(place, 1, np.uint16)
        two[0] = np.uint64(two[0]) & field.keep | word
    elif field.width == 4:
        four = array_at(place, 1, np.uint32)
        four[0] = np.uint64(four[0]) & field.keep | word
    elif field.width == 8:
        eight = array_at(place, 1, np.uint64)
        eight[0] = eight[0] & field.keep | word
    else:
        one = array_at(place, 1, np.uint8)
        one[0] = np.uint64(one[0]) & field.keep | word


@inner
def share(number, covered, shift):
    """What a window's number adds to a sum of 16-bit words, as one of less than 42 bits."""
    number &= covered
    return ((number & LOW) + (number >> HALF)) << shift


class Vary(NamedTuple):
    """A field that varies: what the user calls it, where it is, how and by what values."""

    text: str
    place: Place
    kind: int
    values: list[int]  # first, last and step; first and last; or all of them


def parse(text: str, layout: Layout) -> Vary:
    """Understands one `--vary`. Raises IxyError for what it cannot mean in this frame."""
    found = re.fullmatch(r"\s*(.+?)\s*=\s*(inc|random|list)\s*\((.*)\)\s*", text)
    if not found:
        raise IxyError(
            f"--vary {text}: give it FIELD=inc(A,B), inc(A,B,STEP), random(A,B) or list(A,B,...)"
        )
    name, how, inside = found.groups()
    place = find(name, layout)
    words = inside.split(",")
    count = {"inc": (2, 3), "random": (2, 2), "list": (1, 2**20)}[how]
    if not count[0] <= len(words) <= count[1]:
        raise IxyError(f"--vary {text}: {how} of {len(words)} values: give it {count[0]} or more")
    values = [number(word, text, place.bits) for word in words[:2] if how != "list"]
    if how == "list":
        return Vary(text, place, LIST, [number(word, text, place.bits) for word in words])
    first, last = values
    if how == "random":
        if first > last:
            raise IxyError(f"--vary {text}: the first value is the smaller one: turn them round")
        return Vary(text, place, RANDOM, values)
    step = number(words[2].strip().lstrip("-"), text, place.bits) if len(words) > 2 else 1
    if step == 0 or (len(words) > 2 and words[2].strip().startswith("-") != (first > last)):
        raise IxyError(f"--vary {text}: no step leads from {words[0]} to {words[1]} like that")
    kind, way = (INC, 1) if first <= last else (DEC, -1)
    last = first + way * (abs(last - first) // step * step)
    return Vary(text, place, kind, [first, last, step])


def find(name: str, layout: Layout) -> Place:
    """Where a field is, by our name, scapy's or tshark's. Raises IxyError for one that the frame
    does not have.
    """
    raw = re.fullmatch(r"at\((\d{1,5}),(\d{1,5})\)", name.replace(" ", ""))
    if raw:
        offset, size = map(int, raw.groups())
        if not 1 <= size <= 8 or offset + size > len(layout.frame):
            size_now = len(layout.frame)
            raise IxyError(f"--vary {name}: 1 to 8 bytes of a frame that has {size_now}")
        return Place(8 * offset, 8 * size)
    header, _, field = name.lower().partition(".")
    header = OTHER_HEADERS.get(header, header)
    place = layout.places.get(f"{header}.{OTHER_FIELDS.get(field, field)}")
    if place is None and f"{header}.{field}" == "ip.tos" and "ip.dscp" in layout.places:
        place = Place(layout.places["ip.dscp"].bit, 8)
    if place is None:
        known = ", ".join(layout.places)
        raise IxyError(f"--vary {name}: this frame has {known}, and at(OFFSET,BYTES)")
    return place


def number(word: str, text: str, bits: int) -> int:
    """A number, a MAC address or an IP address. Raises IxyError for what is none, or too large."""
    word = word.strip()
    value = _number(word)
    if value is None:
        kinds = "a number, 0x..., or an address such as 10.0.0.1, fd00::1, 02:00:00:00:00:01"
        raise IxyError(f"--vary {text}: {word or 'nothing'} is no value: give it {kinds}")
    if not 0 <= value < 1 << bits:
        raise IxyError(f"--vary {text}: {word} does not fit into the field's {bits} bits")
    return value


def _number(word: str) -> int | None:
    if re.fullmatch(r"-?(0[xX][0-9a-fA-F]{1,40}|[0-9]{1,40})", word):
        return int(word, 16 if "x" in word.lower() else 10)
    if re.fullmatch(r"([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}", word):
        return int(re.sub("[:-]", "", word), 16)
    try:
        return int(ipaddress.ip_address(word))
    except ValueError:
        return None


def halves(vary: Vary) -> list[Vary]:
    """An IPv6 address as its two halves, since a field is of 64 bits at most. Raises IxyError if a
    range has addresses of several networks of 64 bits.
    """
    place, values = vary.place, vary.values
    if place.bits <= 64:
        return [vary]
    upper, lower = Place(place.bit, place.bits - 64), Place(place.bit + place.bits - 64, 64)
    high, low = [value >> 64 for value in values], [value & 2**64 - 1 for value in values]
    if vary.kind == LIST:
        return [Vary(vary.text, upper, LIST, high), Vary(vary.text, lower, LIST, low)]
    if high[0] != high[1] or (vary.kind != RANDOM and high[2]):
        raise IxyError(f"--vary {vary.text}: a range of addresses varies their last 64 bits only")
    return [Vary(vary.text, upper, LIST, high[:1]), Vary(vary.text, lower, vary.kind, low)]


def set_field(record: Any, vary: Vary, layout: Layout, share_of: tuple[int, int]) -> Any:
    """Fills in a Field record. Returns what must live as long: the table of a list.

    `share_of` is (i, n): the i-th of n queues begins its part of the way through the values.
    """
    values, (turn, turns) = vary.values, share_of
    _set_window(record, vary, layout)
    record["kind"], table = vary.kind, None
    if vary.kind == LIST:
        table = np.array(values, np.uint64)
        record["table"], record["count"] = address_of(table), len(table)
        record["index"] = len(table) * turn // turns
    elif vary.kind == RANDOM:
        record["first"] = values[0]
        record["step"] = (values[1] - values[0] + 1) % 2**64
    elif vary.kind == SIZE:
        record["first"] = values[0]
    else:
        first, last, step = values
        way = 1 if vary.kind == INC else -1
        begin = first + way * step * ((abs(last - first) // step + 1) * turn // turns)
        record["first"], record["last"], record["step"], record["value"] = first, last, step, begin
    return table


def _set_window(record: Any, vary: Vary, layout: Layout) -> None:
    place, size = vary.place, len(layout.frame)
    offset, end = place.bit // 8, (place.bit + place.bits + 7) // 8
    width = next(width for width in (1, 2, 4, 8) if width >= end - offset)
    offset = max(min(offset, size - width), 0)
    shift = 8 * (offset + width) - place.bit - place.bits
    mask = (1 << place.bits) - 1 << shift
    rest = (1 << 8 * width) - 1 & ~mask
    record["width"], record["offset"], record["shift"] = width, offset, shift
    record["lift"] = 64 - 8 * width
    record["keep"] = int.from_bytes(rest.to_bytes(width, "big"), "little")
    turned = 8 * ((offset + width) % 2)
    for name, found in layout.sums.items():
        how = {found.counts[byte] for byte in range(place.bit // 8, end)} - {0}
        covered = sum(
            0xFF << 8 * (offset + width - 1 - byte)
            for byte in range(place.bit // 8, end)
            if found.counts[byte]
        )
        if len(how) > 1:
            raise IxyError(f"--vary {vary.text}: it covers several fields: vary each by its name")
        record[name] = covered & mask
        record[f"{name}_shift"] = (8 - turned if TURNED in how else turned) + (TWICE in how)
