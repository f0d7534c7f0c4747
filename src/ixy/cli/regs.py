"""`ixy regs`."""

import json
from typing import Annotated

import typer

from ixy.cli.session import Json

NAME = "regs"
HELP = "Show every register of a device, decoded, after the driver's set-up. Reading clears the statistics."
EXAMPLE = "Example: ixy regs emu:loopback"


def command(
    device: Annotated[str, typer.Argument(metavar="DEV", help="A device, such as emu:loopback.")],
    as_json: Json = False,
) -> int:
    """Opens the device, prints its registers, closes it."""
    from ixy.address import open_device

    with open_device(device) as opened:
        rows = [
            {"offset": offset, "name": name, "value": word, "fields": fields}
            for offset, name, word, fields in opened.registers()
        ]
    if as_json:
        print(json.dumps({"address": device, "registers": rows}))
        return 0
    for row in rows:
        line = f"{row['offset']:#07x}  {row['name']:<15} {row['value']:#010x}  {row['fields']}"
        print(line.rstrip())
    return 0
