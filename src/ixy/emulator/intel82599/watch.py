"""Registers that a driver writes as plain memory: what has changed behind the model's back?

Where a driver maps pages of registers, its writes are stores, which call nobody. So the words of
such ranges are compared with those that the model itself has stored: by compiled code in each round
of the data path, and before each access that is a call. A difference is a write.

What plain memory cannot imitate stays so: two writes to a register between two looks are one, a
write of what was there is none, and a read has no side effects. Heads and tails are the data path's
own affair. A driver that has all registers as memory, and so no reads that are calls, is shown what
some of them would answer; statistics, which clear when they are read, stand still there.
"""

from collections.abc import Callable

import numpy as np

from ixy.compiled import compiled, in_machine_code, inner
from ixy.datasheets import intel82599_device as sheet
from ixy.datasheets.registers import Register
from ixy.emulator.intel82599.storage import Storage
from ixy.memory.ordered import address_of, array_at

Words = np.ndarray[tuple[int], np.dtype[np.uint32]]
Range = np.dtype(  # addresses of three arrays of so many words: those that the driver sees, those
    # that the model has stored, and the bits that count
    [("registers", "u8"), ("known", "u8"), ("mask", "u8"), ("words", "i8")]
)
MAX_RANGES = 64
GAP = 256  # bytes between two ranges at least: less is watched with them
HOT = ("RDH", "RDT", "TDH", "TDT")
SHOWN = ("STATUS", "EEC", "ESDP", "I2CCTL", "LINKS", "SECRXSTAT", "SECTXSTAT")  # what a read gives
LOOKS = 10  # for two that are alike: of a driver that never pauses the last one counts


class Watch:
    """Watches ranges of a model's registers; what is written there goes to `write`."""

    def __init__(
        self, storage: Storage, read: Callable[[int], int], write: Callable[[int, int], None]
    ) -> None:
        self._storage, self._read, self._write = storage, read, write
        self._ranges = np.zeros(MAX_RANGES, Range)
        self._watched: list[tuple[int, Words]] = []  # the first word's number, and the mask
        self._shows = False
        storage.port[0]["ranges"] = address_of(self._ranges)

    def add(self, offset: int, size: int) -> None:
        """From now on a driver may write these bytes of BAR 0 as memory."""
        first, mask = offset // 4, np.zeros(size // 4, np.uint32)
        for i in range(len(mask)):
            found = sheet.WHOLE.at(offset + 4 * i)
            if found and _is_watched(found[0]):
                mask[i] = 0xFFFFFFFF
        with self._storage:
            live, known = (
                address_of(words[first:])
                for words in (self._storage.registers, self._storage.known)
            )
            self._ranges[len(self._watched)] = live, known, address_of(mask), len(mask)
            self._watched.append((first, mask))
            self._storage.port[0]["watched"] = len(self._watched)

    def add_all(self) -> None:
        """A driver has all of BAR 0 as memory from now on, and reads it there, too."""
        for begin, end in _written():
            self.add(begin, end - begin)
        self._shows = True
        self.notice()

    def clear(self) -> None:
        """No driver has any of it mapped any more."""
        with self._storage:
            self._shows = False
            self._watched.clear()
            self._storage.port[0]["watched"] = 0

    def notice(self) -> None:
        """Does what was written, in the order of the offsets: what enables a queue stands behind
        what describes it.
        """
        with self._storage:
            stale = self._watched and _changed(self._storage.port)
            for first, mask in self._watched if stale else ():
                words = self._look(first, len(mask))
                known = self._storage.known[first : first + len(mask)]
                for i in np.flatnonzero((words ^ known) & mask):
                    self._obey(first + int(i), int(words[i]))
            if self._shows:
                self._show()

    def _show(self) -> None:
        """Brings up to date what a driver sees: registers that a read would compute, and those that
        have two places. Where a write stands that has not been noticed, it stays.
        """
        live, known = self._storage.registers, self._storage.known
        twins, originals = ALIASES
        places = np.concatenate([COMPUTED, twins])
        words = np.concatenate([[self._read(4 * int(at)) for at in COMPUTED], known[originals]])
        new = (live[places] == known[places]) & (words != known[places])
        known[places[new]] = live[places[new]] = words[new]

    def _look(self, first: int, count: int) -> Words:
        """The words as they were at one moment, for a second look shows the same."""
        live = self._storage.registers[first : first + count]
        words = live.copy()
        for _ in range(LOOKS):
            before, words = words, live.copy()
            if (before == words).all():
                break
        return words

    def _obey(self, place: int, word: int) -> None:
        """A store becomes a write. The driver may have stored the next one meanwhile: where the
        model keeps what it is given, it leaves the memory alone.
        """
        self._storage.stored = place, word
        self._write(4 * place, word)
        self._storage.stored = None
        found = sheet.WHOLE.at(4 * place)
        if found and found[0].offsets[found[1]] != 4 * place:  # the model stores it elsewhere
            self._storage.known[place] = word


def _is_watched(row: Register) -> bool:
    return row.access not in ("RO", "RC") and row.name not in HOT


def _written() -> list[list[int]]:
    """The stretches of BAR 0, [begin, end], in which drivers write registers."""
    stretches: list[list[int]] = []
    rows = [row for row in sheet.WHOLE.rows if _is_watched(row)]
    for offset in sorted(offset for row in rows for offset in row.offsets + row.aliases):
        if stretches and offset <= stretches[-1][1] + GAP:
            stretches[-1][1] = offset + 4
        else:
            stretches.append([offset, offset + 4])
    return stretches


# The numbers of words: of the registers that are SHOWN; of aliases, and of what they stand for
COMPUTED = np.array([sheet.WHOLE.registers[name].offsets[0] // 4 for name in SHOWN])
ALIASES = np.array(
    [(alias // 4, row.offsets[i] // 4) for row in sheet.WHOLE.rows
     for i, alias in enumerate(row.aliases) if row.access != "RC"]
).T  # fmt: skip


@compiled
def _differ(registers, known, mask):
    difference = np.uint32(0)
    for i in range(len(mask)):
        difference |= (registers[i] ^ known[i]) & mask[i]
    return difference != 0


@in_machine_code(_differ)
def differ(registers: Words, known: Words, mask: Words) -> bool:
    """Whether two arrays are not alike in the bits that count."""
    return bool(((registers ^ known) & mask).any())


@inner
def changed(port):
    """Whether a watched register is not as the model has stored it."""
    ranges = array_at(port.ranges, port.watched, Range)
    for i in range(port.watched):
        count = ranges[i].words
        registers = array_at(ranges[i].registers, count, np.uint32)
        known = array_at(ranges[i].known, count, np.uint32)
        if differ(registers, known, array_at(ranges[i].mask, count, np.uint32)):
            return True
    return False


@compiled
def _changed(port):
    return changed(port[0])
