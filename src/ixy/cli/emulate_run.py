"""`ixy emulate --run`: a command that finds emulated cards where it looks for real ones."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ixy.errors import IxyError

if TYPE_CHECKING:
    from ixy.emulator.slot import Slot

ADDRESSES = ("0000:03:00.0", "0000:03:00.1")
WIRE = "loopback"  # in a port for which none is given
TICK = 0.005  # seconds between two looks at what the cards do not notice by themselves
ROUND = 100  # ticks between two looks for memory that is no longer used
ENOUGH = 64  # huge pages
PASSED_ON = (
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2,
)  # fmt: skip


def run(
    command: Sequence[str], wires: Sequence[str], options: dict[str, str], *, as_json: bool
) -> int:
    """Runs a command among two cards until it ends; returns its exit code."""
    from ixy.emulator import namespace
    from ixy.emulator.runner import RUNNER
    from ixy.emulator.slot import build_bus

    if len(wires) > len(ADDRESSES):
        raise IxyError(f"{len(wires)} wires for {len(ADDRESSES)} ports: give --wire once per port")
    namespace.enter()
    must_be_possible(command)
    slots = list(_plug_in([*wires, WIRE, WIRE], options))
    try:
        build_bus(slots)
        for slot in slots:
            slot.card.compile_offloads()
        while not all(slot.card.settled for slot in slots):
            time.sleep(0.001)
        code = _attend(command, slots)
        totals = {"exit_code": code, "ports": [slot.totals() for slot in slots]}
    finally:
        for slot in slots:
            if RUNNER.detach(slot.card):
                slot.close()
    for slot in slots:
        if slot.card.failure:
            raise slot.card.failure
    _report(totals, as_json=as_json)
    return code


def must_be_possible(command: Sequence[str]) -> None:
    """Raises IxyError where there is no such command, or no huge pages."""
    from ixy.system import HUGE_PAGES, more_huge_pages

    if not shutil.which(command[0]):
        raise IxyError(f"{command[0]}: there is no such command")
    free = HUGE_PAGES / "free_hugepages"
    if not free.exists() or not int(free.read_text()):
        raise IxyError(f"no free huge pages, where drivers have packets: {more_huge_pages(ENOUGH)}")


def _plug_in(wires: Sequence[str], options: dict[str, str]) -> "list[Slot]":
    """The cards, running. The second one's MAC address is the next one."""
    from ixy.address import emulated_card, parse
    from ixy.emulator.intel82599.eeprom import mac_of
    from ixy.emulator.runner import RUNNER
    from ixy.emulator.slot import Slot

    slots: list[Slot] = []
    for address, wire in zip(ADDRESSES, wires, strict=False):
        name = f"emu:{wire}"
        _, rest, more = parse(name)
        card = emulated_card(name, rest, more | options)
        slots.append(Slot(address, card, note))
        number = int.from_bytes(mac_of(card.eeprom)) + 1
        options = options | {"mac": number.to_bytes(6).hex(":")}
    for slot in slots:
        RUNNER.attach(slot.card)
    return slots


def _attend(command: Sequence[str], slots: "Sequence[Slot]") -> int:
    """Starts the command and serves it to its end; then nothing in the namespace may live on. It
    ends with us, too: without its cards it would poll for ever.
    """
    from ixy.emulator import namespace

    told: list[int] = []
    for number in PASSED_ON:
        signal.signal(number, lambda number, _: told.append(number))
    process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", *command])
    ticks = 0
    while process.poll() is None:
        while told:
            _pass_on(process, told.pop(0))
        ticks += 1
        for slot in slots:
            slot.attend()
            if ticks % ROUND == 0:
                slot.let_go()
            if slot.card.failure:
                process.terminate()
        time.sleep(TICK)
    for left in namespace.members():
        os.kill(left, signal.SIGKILL)
    code = process.returncode
    return code if code >= 0 else 128 - code


def _pass_on(process: "subprocess.Popen[bytes]", number: int) -> None:
    """A signal is the command's. The keys of a terminal signal all of the foreground: it has been
    told already.
    """
    try:
        typed = os.tcgetpgrp(0) == os.getpgrp()
    except OSError:  # no terminal
        typed = False
    if not (typed and number in (signal.SIGINT, signal.SIGQUIT)):
        process.send_signal(number)


def _report(totals: dict[str, Any], *, as_json: bool) -> None:
    """What the cards counted: on stderr for people, for the other output is the command's."""
    if as_json:
        print(json.dumps(totals), flush=True)
        return
    for port in totals["ports"]:
        drops = ", ".join(f"{count} {name}" for name, count in port["dropped"].items() if count)
        note(
            f"{port['address']}: received {port['rx_packets']}, sent {port['tx_packets']},"
            f" dropped {drops or 0}"
        )


def note(words: str) -> None:
    """Says something on stderr."""
    print(f"ixy: {words}", file=sys.stderr, flush=True)
