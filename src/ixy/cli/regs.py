"""`ixy regs`."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ixy.cli import signals
from ixy.cli.session import Json
from ixy.errors import IxyError

if TYPE_CHECKING:
    from ixy.datasheets.registers import Bound, Registers

NAME = "regs"
HELP = "Show the registers that the driver uses, decoded, as it has set them up."
EXAMPLE = "Example: ixy regs emu:loopback"


def command(
    device: Annotated[str, typer.Argument(metavar="DEV", help="A device, such as emu:loopback.")],
    as_json: Json = False,
) -> int:
    """Opens the device, prints its registers, closes it."""
    signals.leave_at_once()
    from ixy.address import open_device

    with open_device(device) as opened:
        signals.closing.append(opened.close)
        if opened.regs is None:
            raise IxyError(f"{device} has no registers: name a card, such as emu:loopback")
        regs: Registers = opened.regs
        rows = [_read(register) for row in regs.sheet.rows for register in regs[row.name]]
    if as_json:
        print(json.dumps({"address": device, "registers": rows}))
        return 0
    for row in rows:
        line = f"{row['offset']:#07x}  {row['name']:<15} {row['value']:#010x}  {row['fields']}"
        print(line.rstrip())
    return 0


def _read(register: "Bound") -> dict[str, Any]:
    word = register.read()
    fields = register.row.decode(word)
    return {"offset": register.offset, "name": repr(register), "value": word, "fields": fields}
