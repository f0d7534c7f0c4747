"""The 82599's data path: ports in turns, each a round of transmit and receive."""

import numpy as np

from ixy.compiled import JIT, call, compiled, inner
from ixy.emulator.intel82599.messages import deliver_messages, raise_causes
from ixy.emulator.intel82599.port import Port
from ixy.emulator.intel82599.receive import receive
from ixy.emulator.intel82599.transmit import transmit
from ixy.emulator.intel82599.watch import changed
from ixy.emulator.wire.base import WireRecord
from ixy.emulator.wire.frames import drop_all, is_full
from ixy.memory.ordered import array_at, lock, unlock
from ixy.system import back_off, nap, now, pause

# A driver that waits for interrupts can wait for the device, too: after DOZE idle rounds (some ms)
# each nap is longer than the last one, by DEEPER and up to DEEPEST ns
DOZE, DEEPER, DEEPEST = 500, 20_000, 10_000_000
BURST = 64  # frames per round and direction: long enough to be fast, short enough for low latency


@compiled
def run(ports, until, burst, idle):
    """Runs ports (their addresses, u8) until a time (i8[1], ns), which others may set meanwhile, or
    until one needs the model's help. Takes and returns how many rounds in a row were idle.
    """
    while now() < until[0]:
        handled = 0
        polled = False  # by any driver
        punctual = False
        for address in ports:
            port = array_at(address, 1, Port)[0]
            if port.watched and changed(port):
                return idle
            handled += step(port, burst)
            polled = polled or port.enabled == 0
            if not JIT:
                nap(1)  # or nobody who waits for the port's lock would be interpreted in time
            wire = array_at(port.wire, 1, WireRecord)[0]
            if port.offload_wanted or wire.service:
                return idle
            punctual = punctual or wire.punctual != 0
        idle = 0 if handled else idle + 1
        if punctual:
            pause()
        elif idle > DOZE and not polled:
            nap(min((idle - DOZE) * DEEPER, DEEPEST))
        elif idle:
            back_off(idle)
    return idle


@inner
def step(port, burst):
    """One round of a port: up to `burst` frames per queue and direction. Returns how many there
    were.
    """
    lock(port)
    wire = array_at(port.wire, 1, WireRecord)[0]
    pump = wire.pump
    handled = 0
    if port.loopback:  # the wire does not reach the MAC (8.2.3.22.8)
        drop_all(wire.rx)
        wire = array_at(port.loopback, 1, WireRecord)[0]
    if (port.link or port.loopback) and port.transmitting and port.master:
        for i in range(port.tx_active):
            port.offload.queue = port.tx_queues[i]
            handled += transmit(port, wire, port.tx[port.tx_queues[i]], burst)
    call(pump, port.wire)
    if port.receiving and port.master and not port.link_awaited:
        handled += receive(port, wire, burst)
    elif not wire.patient and is_full(wire.rx):
        wire.lost += np.uint64(drop_all(wire.rx))  # nobody listens: the other end must not wait
    if port.raised:
        raise_causes(port, port.raised, np.uint64(0))
        port.raised = 0
    if port.pending:
        deliver_messages(port)
    unlock(port)
    return handled
