"""`bench emulator`: how many frames a second one thread of the emulated 82599 handles.

Device and a driver that does next to nothing take turns in one thread: it hands full receive
descriptors back as they are, and sends the same frames again and again. Its time, some cycles per
frame, is included. The wire is `source`: frames with sequence numbers, and a counting sink.
"""

import itertools
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np

from ixy.bench.machine import describe
from ixy.compiled import JIT, compiled
from ixy.datasheets import intel82599 as sheet
from ixy.drivers.intel.device import DEFAULT_RING
from ixy.drivers.intel.rings import COMMAND
from ixy.drivers.ixgbe.driver import IxgbeDevice
from ixy.emulator.bus import EmulatedFunction
from ixy.emulator.intel82599.datapath import BURST, step
from ixy.emulator.intel82599.model import Intel82599
from ixy.emulator.wire.source import Source
from ixy.errors import IxyError
from ixy.memory.ordered import Word, array_at, load_acquire, store_release
from ixy.memory.pool import Mempool
from ixy.system import now
from ixy.traffic.templates import MIN_SIZE, numbered_frame

ROWS = ("receive", "transmit", "both")  # both: as many frames in as out, and all of them count
GOAL = 40.0  # Mpps: what two devices handle while our driver forwards 20
TURNS = 2000  # of device and driver, in a run


def measure(
    sizes: Sequence[int] = (MIN_SIZE,), rounds: int = 5, seconds: float = 5.0
) -> dict[str, Any]:
    """Measures all rows; returns the JSON object of `ixy bench emulator --json`, in Mpps."""
    if not JIT:
        raise IxyError("a benchmark needs the compiler: unset NUMBA_DISABLE_JIT")
    cells = list(itertools.product(ROWS, sizes))
    budget = int(seconds * 1e9 / rounds / len(cells))
    raw: dict[str, dict[str, list[float]]] = {}
    for _, (row, size) in itertools.product(range(rounds), cells):
        figure = round(rate(row, size, budget), 2)
        raw.setdefault(row, {}).setdefault(str(size), []).append(figure)
    rows = {row: {size: median(rates) for size, rates in of.items()} for row, of in raw.items()}
    bounds = {row: {"goal": GOAL, "met": min(of.values()) >= GOAL} for row, of in rows.items()}
    return {
        "unit": "Mpps",
        "machine": describe(),
        "rows": rows,
        "rounds": raw,
        "bounds": bounds,
    }


def rate(row: str, size: int, nanoseconds: int) -> float:
    """Mpps of one direction, or both together, over about so many ns: the median of the runs."""
    pool = Mempool(4 * DEFAULT_RING)
    model = Intel82599(Source(size=size), bytes([2, 0, 0, 0, 0, 1]))
    function = EmulatedFunction("bench", model, threaded=False)
    device = IxgbeDevice(function, [pool], DEFAULT_RING)
    try:
        device.regs.RXCTRL.update(RXEN=int(row != "transmit"))
        bufs = pool.take(DEFAULT_RING if row != "receive" else 0)
        for buf in bufs:
            pool.fill(buf, numbered_frame(size))
        if len(bufs):
            prepare(device.tx[0].record, bufs, size)
        queues = device.rx[0].record, device.tx[0].record
        rates: list[float] = []
        received = sent = 0
        end = time.monotonic_ns() + nanoseconds
        while time.monotonic_ns() < end or len(rates) < 2:
            counts = exercise(model.port, *queues, bufs, size, TURNS)
            received, sent = received + counts[0], sent + counts[1]
            rates.append(sum(counts[:2]) / counts[2] * 1e3)
        pool.give(bufs)
        check(row, device, received, sent)
        return median(rates[1:])  # the first one compiles
    finally:
        device.close()
        pool.close()


def check(row: str, device: IxgbeDevice, received: int, sent: int) -> None:
    """Raises IxyError unless the device's own counters agree."""
    totals = device.statistics()
    if (totals.rx_packets, totals.tx_packets) != (received, sent):
        found = f"{totals.rx_packets} received and {totals.tx_packets} sent"
        raise IxyError(f"{row}: the device counts {found}, the driver {received} and {sent}")


@compiled
def exercise(port, rx, tx, bufs, size, turns):
    """Lets the driver that does nothing and the device take turns.

    Returns frames received, frames sent, and ns.
    """
    received = 0
    sent = 0
    begin = now()
    for _ in range(turns):
        if len(bufs):
            sent += send_again(tx[0], size)
        step(port[0], BURST)
        received += hand_back(rx[0])
    return received, sent, now() - begin


@compiled
def hand_back(queue):
    """Offers the buffers of received frames again; returns how many there were."""
    ring = array_at(queue.ring, queue.mask + 1, sheet.RxDescriptor)
    slots = array_at(queue.bufs, queue.mask + 1, np.uint32)
    addresses = array_at(queue.addresses, slots[0] + queue.mask + 1, np.uint64)
    mask = np.int64(queue.mask)
    index = np.int64(queue.index)
    count = 0
    while load_acquire(ring[index], "done") & sheet.RX_DD:
        ring[index].buffer = addresses[slots[index]]
        ring[index].header = 0
        index = (index + 1) & mask
        count += 1
    queue.index = index
    store_release(array_at(queue.doorbell, 1, Word)[0], "value", (index - 1) & mask)
    return count


@compiled
def send_again(queue, size):
    """Sends a burst of its frames: the device has sent the last one. Returns how many."""
    ring = array_at(queue.ring, queue.mask + 1, sheet.TxDescriptor)
    mask = np.int64(queue.mask)
    index = np.int64(queue.index)
    for _ in range(BURST):
        ring[index].offload = size << sheet.TX_PAYLEN_SHIFT  # where the device wrote its status
        index = (index + 1) & mask
    queue.index = index
    queue.clean = index  # nothing is ever freed
    store_release(array_at(queue.doorbell, 1, Word)[0], "value", index)
    return BURST


@compiled
def prepare(queues, bufs, size):
    """Fills a transmit ring with descriptors of as many frames, without handing them over."""
    queue = queues[0]
    ring = array_at(queue.ring, queue.mask + 1, sheet.TxDescriptor)
    addresses = array_at(queue.addresses, bufs[0] + len(bufs), np.uint64)
    for i in range(len(bufs)):
        ring[i].buffer = addresses[bufs[i]]
        ring[i].command = COMMAND | size
