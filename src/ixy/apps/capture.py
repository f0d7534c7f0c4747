"""`ixy capture`: what arrives, or what a filter chooses of it, goes to a file."""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Self

import numpy as np

from ixy.apps.workers import FINISH, STOP, Workers, begin, claim, refund, told
from ixy.compiled import compiled
from ixy.device import Device, Statistics, pool_of, rx_batch
from ixy.memory.ordered import address_of, array_at, load_acquire, records, store_release
from ixy.memory.pool import BUF_SIZE, free_batch, lengths, packet_address, packets
from ixy.pcap import MAX_OVERHEAD, Counts, FileSet, Interface, ReaderGone, encode
from ixy.system import now, rest, wall_clock
from ixy.traffic.filter import Filter, verdict

BATCH = 64
BLOCK = 1024 * 1024  # bytes that are encoded before they are written
BLOCKS = 4  # per worker: what the disk may lag behind before the device must wait
LATE = 100_000_000  # ns that a frame waits for others to be written with it
STUCK = 0.5  # seconds, at the end, in which whoever reads the output must take some of it

# A block passes between the worker, which fills it, and the thread that writes it, which empties it
Block = np.dtype(
    [("full", "u4"), ("used", "i8"), ("frames", "i8"), ("since", "i8"), ("data", "u8")], align=True
)
Capture = np.dtype(
    [("accepted", "u8"), ("rejected", "u8"), ("filter", "u8"), ("each", "i8")]
    + [("snaplen", "i8"), ("format", "i8"), ("block", "i8")]
)


@compiled
def capture_batch(rx, bufs, blocks, state):
    """Receives a batch and encodes what the filter accepts.

    Returns how many packets there were, 0 if the block must be written first, and of these how many
    were accepted.
    """
    block = blocks[state.block]
    if load_acquire(block, "full"):
        # the disk is behind: packets wait in the ring, then the device drops and counts them
        return 0, 0
    received = rx_batch(rx, bufs)
    if received == 0:
        return 0, 0
    pool = pool_of(rx)
    packet = packets(pool)
    length = lengths(pool)
    moment = np.uint64(wall_clock())
    out = array_at(block.data, BLOCK, np.uint8)
    used = block.used
    accepted = 0
    for buf in bufs[:received]:
        size = np.int64(length[buf])
        if state.filter and not verdict(state.filter, packet_address(pool, buf), size, size):
            continue
        if state.each:
            moment = np.uint64(wall_clock())
        captured = min(size, state.snaplen)
        used = encode(out, used, packet[buf].bytes, captured, size, moment, state.format)
        accepted += 1
    if block.frames == 0:
        block.since = now()
    block.used = used
    block.frames += accepted
    free_batch(pool, bufs[:received])
    state.accepted += np.uint64(accepted)
    state.rejected += np.uint64(received - accepted)
    if BLOCK - used < BATCH * (BUF_SIZE + MAX_OVERHEAD):
        hand_over(blocks, state)
    return received, accepted


@compiled
def hand_over(blocks, state):
    """Gives the block to the thread that writes, and goes on with the next one."""
    store_release(blocks[state.block], "full", 1)
    state.block = (state.block + 1) % BLOCKS


@compiled
def capture_until_told(rx, bufs, blocks, state, control, events):
    """One worker: a queue, until it is told to stop; then it takes what is left in the ring."""
    begin(control[0])
    idle = 0
    word = told(control[0])
    while word != STOP:
        room = claim(control[0], len(bufs))
        received, accepted = capture_batch(rx[0], bufs[:room], blocks, state[0])
        refund(control[0], room - accepted)
        block = blocks[state[0].block]
        behind = load_acquire(block, "full")  # the disk is: no packet would tell
        if not behind and block.frames and now() - block.since > LATE:
            hand_over(blocks, state[0])
        if received:
            idle = 0
        elif word == FINISH and not behind:
            break
        else:
            idle += 1
            rest(idle, -1 if behind else events)
        word = told(control[0])
    store_release(blocks[state[0].block], "full", 1)


class Capturer:
    """Captures from an open device to a file, or to several in turn: a worker per queue, and one
    thread that writes.

    `path` is a file's name, or an open descriptor. `filter` is an expression of pcap-filter(7) that
    chooses from what arrives; None takes all. A frame's time is that of its batch, or, with
    `each_time`, its own. `rotation` are the keywords of FileSet that make several files.

    Raises PcapError if a file cannot be made, IxyError for a wrong filter; `check` raises it when
    the file cannot be written.
    """

    def __init__(
        self,
        device: Device,
        path: str | int,
        *,
        snaplen: int | None = None,
        count: int | None = None,
        filter: str | None = None,
        each_time: bool = False,
        format: int | None = None,
        **rotation: Any,
    ) -> None:
        self.device, self.count = device, count
        self.filter = Filter(filter) if filter is not None else None  # its code must not go
        self.interface = Interface(device.address, filter=filter or "")
        self.totals: Statistics | None = None
        """What the device has counted when the run ends; by default what it says at `close`."""
        self.reader_gone = False
        """Whether who read the output has gone, which ends the run."""
        self._streams, self._began = isinstance(path, int), time.time_ns()
        kept = {"snaplen": snaplen, "format": format}
        settings = {name: value for name, value in kept.items() if value is not None}
        self.writer = FileSet(path, self._counts, interface=self.interface, **rotation, **settings)
        self.workers = Workers(count)
        self._memory = np.zeros((len(device.rx), BLOCKS, BLOCK), np.uint8)
        self._blocks = [records(BLOCKS, Block) for _ in device.rx]
        self._states = [records(1, Capture) for _ in device.rx]
        self._loops = []
        for queue, blocks, state, memory in zip(
            device.rx, self._blocks, self._states, self._memory, strict=True
        ):
            blocks["data"] = [address_of(data) for data in memory]
            state["snaplen"], state["format"] = self.writer.file.snaplen, self.writer.file.format
            state["filter"] = self.filter.entry if self.filter else 0
            state["each"] = each_time
            bufs = np.zeros(BATCH, np.uint32)
            words = queue.record, bufs, blocks, state, self.workers.control
            events = self.workers.events_of(queue)
            self._loops.append(partial(capture_until_told, *words, events))
        self._closing = threading.Event()
        self._writing = threading.Thread(target=self._write, daemon=True)
        self._failure: Exception | None = None
        self._shown = False  # whether `check` has raised it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Starts the workers and the writer."""
        self.workers.start(self._loops, self.device)
        self._writing.start()

    def _write(self) -> None:
        next_block = [0] * len(self._blocks)
        while True:
            ended = not self.workers.busy
            wrote = False
            for queue, blocks in enumerate(self._blocks):
                block, data = blocks[next_block[queue]], self._memory[queue, next_block[queue]]
                if block["full"]:
                    self._try(
                        partial(self._write_block, data[: int(block["used"])], int(block["frames"]))
                    )
                    block["used"] = block["frames"] = 0
                    block["full"] = 0
                    next_block[queue] = (next_block[queue] + 1) % BLOCKS
                    wrote = True
            self._try(self.writer.tick)
            if not wrote:
                if ended:
                    break
                time.sleep(0.001)
        self._closing.wait()  # there are totals to note down
        self._end()

    def _end(self) -> None:
        """Ends the file. A reader that has gone by now has got all frames."""
        try:
            self.writer.close()
        except ReaderGone:
            pass
        except Exception as failure:
            self._failure = self._failure or failure

    def _write_block(self, data: "np.ndarray[tuple[int], np.dtype[np.uint8]]", frames: int) -> None:
        if not self.interface.speed:
            self.interface.speed = self.device.link_speed() * 10**6
        if frames:
            self.writer.write_block(data, frames)

    def _try(self, write: Callable[[], object]) -> None:
        """Writes something; the first time that it fails, the run ends."""
        if self._failed:
            return
        try:
            write()
        except ReaderGone:
            self.reader_gone = True
        except Exception as failure:  # shown by `check`, in the thread that waits
            self._failure = failure
        if self._failed:
            self.workers.stop()

    @property
    def _failed(self) -> bool:
        return self.reader_gone or self._failure is not None

    def _counts(self) -> Counts:
        """What a file says at its end. While the run goes on, packets in the ring are none."""
        total = self.totals or self.device.statistics()
        dropped = sum(total.dropped.values())
        accepted = self.accepted  # once: the workers go on
        taken = accepted + self.rejected
        if not self.workers.busy:
            dropped += max(0, total.rx_packets - taken)
        times = self._began, time.time_ns()
        return Counts(*times, taken + dropped, dropped, accepted, self.writer.written)

    def check(self) -> None:
        """Raises what the file's disk or a worker has raised."""
        self.workers.check()
        if self._failure is not None:
            self._shown = True
            raise self._failure

    def close(self) -> None:
        """Writes the rest. The workers have been told to stop. Raises what `check` raises."""
        self._closing.set()
        if self._writing.ident is None:
            self._end()
        elif not self.workers.busy:
            self._join()
        if not self._shown:
            self.check()

    def _join(self) -> None:
        """Waits for the thread that writes, but not for a reader that takes nothing for a while."""
        before = -1
        while self._writing.is_alive() and not (
            self._streams and self.writer.file.position == before
        ):
            before = self.writer.file.position
            self._writing.join(STUCK)

    @property
    def taken(self) -> int:
        """Packets taken from the rings so far."""
        return self.accepted + self.rejected

    @property
    def accepted(self) -> int:
        """Of these, those that the filter let pass."""
        return sum(int(state[0]["accepted"]) for state in self._states)

    @property
    def rejected(self) -> int:
        """Of those taken, the ones that it did not."""
        return sum(int(state[0]["rejected"]) for state in self._states)

    @property
    def done(self) -> bool:
        """Whether as many as were asked for have been accepted, or nothing more will come or go."""
        enough = self.count is not None and self.accepted >= self.count
        return enough or self._failed or self.device.beyond.ended is True
