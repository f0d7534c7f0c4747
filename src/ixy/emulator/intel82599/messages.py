"""How interrupt causes become messages: masks, throttling, what clears by itself (7.3).

The port holds two sets of causes, each with the set of those that are enabled. `causes` and
`enabled`: a bit per MSI-X vector; with a single vector these are the queue bits of EICR and EIMS.
`other` and `other_enabled`: the upper bits of EICR and EIMS, which share one vector. `pending` are
the vectors that have something new to say. An eventfd takes the place of a message on the bus.
"""

import numpy as np

from ixy.compiled import compiled, inner
from ixy.system import now, write_file

VECTORS = 64


@inner
def raise_causes(port, vectors, other):
    """Sets causes. Those that are enabled want a message."""
    port.causes |= vectors
    port.other |= other
    port.pending |= vectors & port.enabled
    if other & port.other_enabled:
        port.pending |= np.uint64(1) if port.single else port.other_vector


@inner
def asserted(port):
    """Whether any cause is set and enabled: with a single vector, the state of the INTx line."""
    return (port.causes & port.enabled) | (port.other & port.other_enabled) != 0


@inner
def deliver_messages(port):
    """Sends the messages whose vectors' intervals are over (7.3.2); the others stay pending."""
    time = now()
    if port.single:
        if not asserted(port):
            port.pending = 0  # software was faster
        elif time >= port.due[0]:
            port.pending = 0
            signal(port, 0, time)
        return
    valid = port.causes & port.enabled
    if port.other & port.other_enabled:
        valid |= port.other_vector
    port.pending &= valid
    left = port.pending
    vector = 0
    while left:
        if left & np.uint64(1) and time >= port.due[vector]:
            send_message(port, vector, time)
        left >>= np.uint64(1)
        vector += 1


@inner
def send_message(port, vector, time):
    """One MSI-X message, and what clears and masks itself with it (8.2.3.5.5, 8.2.3.5.6)."""
    bit = np.uint64(1) << np.uint64(vector)
    port.pending &= ~bit
    port.causes &= ~(bit & port.auto_clear)
    port.enabled &= ~(bit & port.auto_mask)
    if bit == port.other_vector:
        port.other_enabled &= ~port.other_auto_mask
    signal(port, vector, time)


@inner
def signal(port, vector, time):
    """Tells whoever has connected an eventfd to the vector."""
    port.due[vector] = time + port.interval[vector]
    if port.eventfd[vector] >= 0:
        write_file(port.eventfd[vector], port.one, 8)


@compiled
def raise_and_deliver(ports, vectors, other):
    """`raise_causes`, and what is due, for Python."""
    raise_causes(ports[0], np.uint64(vectors), np.uint64(other))
    if ports[0].pending:
        deliver_messages(ports[0])
