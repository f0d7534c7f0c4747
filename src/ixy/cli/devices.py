"""`ixy devices`."""

import json

from ixy.cli import signals
from ixy.cli.session import Json
from ixy.cli.tables import print_table

NAME = "devices"
HELP = "List what can be opened here, who drives it, and what to do to use it."
EXAMPLE = "Example: ixy devices"


def command(as_json: Json = False) -> int:
    """Lists PCI network cards and emulated devices."""
    signals.leave_at_once()
    from ixy.bus.sysfs import network_functions

    rows = [
        {"address": card.address, "model": card.model, "driver": card.driver, "todo": TODO}
        for card in network_functions()
    ]
    rows += [
        {"address": f"emu:{wire}", "model": "82599, emulated", "driver": "ixy", "todo": todo}
        for wire, todo in EMULATED
    ]
    if as_json:
        print(json.dumps({"devices": rows}))
        return 0
    columns = "address", "model", "driver", "to use it"
    print_table(columns, [[str(value) for value in row.values()] for row in rows])
    return 0


TODO = "real cards cannot be opened yet: try an emulated device"
EMULATED = (
    ("loopback", "nothing: what is sent comes back"),
    ("source", "nothing: saturated with frames, counts what is sent"),
    ("cable:NAME", "open a second device with the same name, in any process"),
    ("pcap:IN,OUT", "name capture files (either may be empty)"),
    ("tap:IF", "be root, or: sudo ip tuntap add IF mode tap user $USER"),
)
