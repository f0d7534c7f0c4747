"""A PCI function that writes down what a driver does to it, and lies where a test wants it to."""

from collections.abc import Callable

from ixy.datasheets.intel82599_device import WHOLE
from ixy.emulator.bus import EmulatedBar, EmulatedFunction
from ixy.emulator.intel82599.model import Intel82599
from ixy.memory.dma import DmaMemory

Access = tuple[str, str, int]  # read or write, register, word


class Recorder(EmulatedFunction):
    """Writes down each access, and answers reads with a lie where a test wants it."""

    def __init__(self, address: str, model: Intel82599, *, threaded: bool = False) -> None:
        super().__init__(address, model, threaded=threaded)
        self.log: list[Access] = []
        self.lies: dict[int, Callable[[int], int]] = {}
        self.closed = 0

    def bar(self, index: int) -> EmulatedBar:
        bar = super().bar(index)
        own_read, own_write = bar.read, bar.write

        def read(offset: int, size: int) -> int:
            word = own_read(offset, size)
            word = self.lies[offset](word) if offset in self.lies else word
            self.log.append(("read", self.name(offset), word))
            return word

        def write(offset: int, size: int, value: int) -> None:
            self.log.append(("write", self.name(offset), value))
            own_write(offset, size, value)

        bar.read, bar.write = read, write
        return bar

    @staticmethod
    def name(offset: int) -> str:
        row, index = WHOLE.at(offset) or (None, 0)
        assert row is not None, f"{offset:#x} is no register"
        return f"{row.name}[{index}]" if len(row.offsets) > 1 else row.name

    def config_write(self, offset: int, size: int, value: int) -> None:
        self.log.append(("write", f"config {offset:#x}", value))
        super().config_write(offset, size, value)

    def dma_map(self, memory: DmaMemory):
        self.log.append(("map", "", memory.size))
        return super().dma_map(memory)

    def dma_unmap(self, memory: DmaMemory) -> None:
        self.log.append(("unmap", "", memory.size))
        super().dma_unmap(memory)

    def close(self) -> None:
        self.closed += 1
        super().close()

    def first(self, kind: str, name: str, bits: int = 0) -> int:
        """When a register was first accessed so, with these bits set."""
        for when, (done, what, word) in enumerate(self.log):
            if (done, what) == (kind, name) and word & bits == bits:
                return when
        raise AssertionError(f"no {kind} of {name} with {bits:#x}")

    def last(self, kind: str, name: str) -> int:
        return (
            len(self.log)
            - 1
            - self.log[::-1].index(
                next(entry for entry in reversed(self.log) if entry[:2] == (kind, name))
            )
        )


def clear(bits: int) -> Callable[[int], int]:
    """A lie: these bits read as 0."""
    return lambda word: word & ~bits
