"""`ixy capture`: what arrives goes to a file, with the time of its batch."""

import threading
import time
from functools import partial
from typing import Any, Self

import numpy as np

from ixy.apps.workers import FINISH, STOP, Workers, begin, claim, refund, told
from ixy.compiled import compiled
from ixy.device import Device, pool_of, rx_batch
from ixy.memory.ordered import address_of, array_at, load_acquire, records, store_release
from ixy.memory.pool import BUF_SIZE, free_batch, lengths, packets
from ixy.pcap import MAX_OVERHEAD, Writer, encode
from ixy.system import SPINS, YIELDS, rest, wall_clock

BATCH = 64
BLOCK = 1024 * 1024  # bytes that are encoded before they are written
BLOCKS = 4  # per worker: what the disk may lag behind before the device must wait
PAUSE = 2000  # rounds of polling in vain, some milliseconds: then the file gets what there is

# A block passes between the worker, which fills it, and the thread that writes it, which empties it
Block = np.dtype([("full", "u4"), ("used", "i8"), ("frames", "i8"), ("data", "u8")], align=True)
Capture = np.dtype([("received", "u8"), ("snaplen", "i8"), ("format", "i8"), ("block", "i8")])


@compiled
def capture_batch(rx, bufs, blocks, state):
    """Receives a batch and encodes it; returns how many packets there were, 0 if the block must be
    written first.
    """
    block = blocks[state.block]
    if load_acquire(block, "full"):
        return (
            0  # the disk is behind: packets wait in the ring, then the device drops and counts them
        )
    received = rx_batch(rx, bufs)
    if received == 0:
        return 0
    pool = pool_of(rx)
    packet = packets(pool)
    length = lengths(pool)
    moment = np.uint64(wall_clock())
    out = array_at(block.data, BLOCK, np.uint8)
    used = block.used
    for buf in bufs[:received]:
        size = np.int64(length[buf])
        captured = min(size, state.snaplen)
        used = encode(out, used, packet[buf].bytes, captured, size, moment, state.format)
    block.used = used
    block.frames += received
    free_batch(pool, bufs[:received])
    state.received += np.uint64(received)
    if BLOCK - used < BATCH * (BUF_SIZE + MAX_OVERHEAD):
        hand_over(blocks, state)
    return received


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
        received = capture_batch(rx[0], bufs[:room], blocks, state[0])
        refund(control[0], room - received)
        behind = load_acquire(blocks[state[0].block], "full")  # the disk is: no packet would tell
        if received:
            idle = 0
        elif word == FINISH and not behind:
            break
        else:
            idle += 1
            if idle == (PAUSE if events < 0 else SPINS + YIELDS) and blocks[state[0].block].frames:
                hand_over(blocks, state[0])
            rest(idle, -1 if behind else events)
        word = told(control[0])
    store_release(blocks[state[0].block], "full", 1)


class Capturer:
    """Captures from an open device to a file, a worker per queue and one thread that writes.

    Raises PcapError if the file cannot be made; `check` raises it when the file cannot be written.
    """

    def __init__(
        self, device: Device, path: str, *, snaplen: int | None = None, count: int | None = None
    ) -> None:
        self.device, self.count = device, count
        kept: dict[str, Any] = {} if snaplen is None else {"snaplen": snaplen}
        self.writer = Writer(path, interface=device.address, **kept)
        self.workers = Workers(count)
        self._memory = np.zeros((len(device.rx), BLOCKS, BLOCK), np.uint8)
        self._blocks = [records(BLOCKS, Block) for _ in device.rx]
        self._states = [records(1, Capture) for _ in device.rx]
        self._loops = []
        for queue, blocks, state, memory in zip(
            device.rx, self._blocks, self._states, self._memory, strict=True
        ):
            blocks["data"] = [address_of(data) for data in memory]
            state["snaplen"], state["format"] = self.writer.snaplen, self.writer.format
            bufs = np.zeros(BATCH, np.uint32)
            words = queue.record, bufs, blocks, state, self.workers.control
            events = self.workers.events_of(queue)
            self._loops.append(partial(capture_until_told, *words, events))
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
                    self._write_block(data[: int(block["used"])], int(block["frames"]))
                    block["used"] = block["frames"] = 0
                    block["full"] = 0
                    next_block[queue] = (next_block[queue] + 1) % BLOCKS
                    wrote = True
            if not wrote:
                if ended:
                    return
                time.sleep(0.001)

    def _write_block(self, data: "np.ndarray[tuple[int], np.dtype[np.uint8]]", frames: int) -> None:
        if self._failure is None:
            try:
                self.writer.write_block(data, frames)
            except Exception as failure:  # shown by `check`, in the thread that waits
                self._failure = failure

    def check(self) -> None:
        """Raises what the file's disk or a worker has raised."""
        self.workers.check()
        if self._failure is not None:
            self._shown = True
            raise self._failure

    def close(self) -> None:
        """Writes the rest. The workers have been told to stop. Raises what `check` raises."""
        if self._writing.ident is not None and not self.workers.busy:
            self._writing.join()
        self.writer.close()
        if not self._shown:
            self.check()

    @property
    def taken(self) -> int:
        """Packets taken from the rings so far."""
        return sum(int(state[0]["received"]) for state in self._states)

    @property
    def done(self) -> bool:
        """Whether as many as were asked for have been received, or nothing more will come."""
        return self.device.beyond.ended is True or (
            self.count is not None and self.taken >= self.count
        )
