"""Taking a network card from its kernel driver, and giving it back.

A card is taken by its file driver_override (Linux: sysfs-bus-pci): only the driver that it names
may have the card. "none" is no driver's name, so none takes it. The override ends with the next
boot, as does the note in /run of which driver it was.
"""

import errno
import fcntl
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ixy.bus.cards import FREE, VFIO_PCI, Card
from ixy.errors import IxyError

NOTES = Path("/run/ixy")  # a file per card that was taken: the driver it had
AUTOMATIC = ("local", "broadcast", "multicast", "anycast")  # routes that come with an address


def write(file: Path, text: str) -> None:
    """Writes to a file of sysfs: an order to the kernel. Raises IxyError if it is refused."""
    try:
        with file.open("w") as order:
            order.write(text)
    except PermissionError:
        raise IxyError(f"{file}: you may not write this: be root") from None
    except OSError as error:
        raise IxyError(f"{file}: {error.strerror}: see dmesg") from None


def bind(card: Card, driver: str | None = None, *, force: bool = False) -> str:
    """Takes a card for user space: `driver` is vfio-pci, or none (for sysfs), by default vfio-pci
    where there is an IOMMU. Returns which it is now.

    Raises IxyError if it is in use (by the network only without `force`), or if it cannot be.
    """
    driver = driver or (VFIO_PCI if card.group is not None else "none")
    if driver == VFIO_PCI:
        _must_have_vfio(card)
    if card.driver == driver:
        return driver
    _must_be_closed(card)
    if not force and (why := list(burdens(card))):
        raise IxyError(f"{card.address}: {'; '.join(why)}: with --force it is taken all the same")
    if card.driver not in FREE:
        _write_note(card)
    _hand_over(card, driver)
    if card.driver != driver:
        raise IxyError(f"{card.address}: {driver} did not take it: see dmesg")
    return driver


def unbind(card: Card) -> str:
    """Gives a card back to the driver that it had, or to whichever of the kernel's wants it.
    Returns which it is.

    Raises IxyError if it is open, or if the driver is not loaded.
    """
    if card.driver not in FREE:
        raise IxyError(f"{card.address}: the kernel's driver {card.driver} has it already")
    _must_be_closed(card)
    note = _note(card)
    before = note.read_text() if note.exists() else ""
    _hand_over(card, before)
    write(card.path / "driver_override", "\n")
    if card.driver == "none":
        raise IxyError(
            f"{card.address}: no driver wants it: run: sudo modprobe {before or 'DRIVER'}"
        )
    note.unlink(missing_ok=True)
    return card.driver


def _hand_over(card: Card, driver: str) -> None:
    """Gives the card to `driver`; if that is "", to whichever of the kernel's wants it."""
    write(card.path / "driver_override", driver + "\n")
    if card.driver != "none":
        write(card.path / "driver" / "unbind", card.address)
    if driver != "none":
        write(card.bus / "drivers_probe", card.address)


def _must_have_vfio(card: Card) -> None:
    if card.group is None:
        raise IxyError(
            f"{card.address} is behind no IOMMU: boot Linux with intel_iommu=on or amd_iommu=on, or"
            f" use sysfs: sudo ixy bind {card.address} --driver none"
        )
    if not (card.bus / "drivers" / VFIO_PCI).exists():
        raise IxyError("the driver vfio-pci is not loaded: run: sudo modprobe vfio-pci")


def _must_be_closed(card: Card) -> None:
    if is_open(card):
        raise IxyError(f"{card.address}: another process has it open: end that first")


def is_open(card: Card) -> bool:
    """Whether a process drives the card from user space: through VFIO or, if it is ixy, sysfs."""
    path = card.group_file if card.driver == VFIO_PCI else card.path / "config"
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return error.errno == errno.EBUSY
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def burdens(card: Card) -> Iterator[str]:
    """What would be lost with the card's network interfaces: membership in bridges and the like,
    addresses, routes, connections. What Linux gives to every interface that is up does not count.
    """
    for interface in card.interfaces:
        name = interface.name
        for upper in sorted(interface.glob("upper_*")):
            yield f"{name} is part of {upper.name.removeprefix('upper_')}"
        try:
            yield from (f"{name} {burden}" for burden in _traffic(name))
        except (OSError, subprocess.CalledProcessError) as error:
            yield f"what {name} is used for cannot be seen ({error}): install iproute2"


def _traffic(interface: str) -> Iterator[str]:
    addresses = list(_addresses(interface))
    yield from (f"has the address {address}" for address in addresses)
    yield from (f"carries the route to {route}" for route in _routes(interface))
    for local, peer in _connections():
        if local in addresses:
            yield f"carries the connection with {peer}"


def _addresses(interface: str) -> Iterator[str]:
    for entry in _ip("address", "show", "dev", interface):
        for address in entry.get("addr_info", ()):
            if address["scope"] != "link":
                yield address["local"]


def _routes(interface: str) -> Iterator[str]:
    for family in ("-4", "-6"):
        for route in _ip(family, "route", "show", "table", "all"):
            hops = [route, *route.get("nexthops", ())]
            chosen = route.get("type") not in AUTOMATIC and route.get("protocol") != "kernel"
            if chosen and any(hop.get("dev") == interface for hop in hops):
                yield route["dst"]


def _note(card: Card) -> Path:
    return NOTES / card.address


def _write_note(card: Card) -> None:
    """Notes down the driver that a card has. Raises IxyError if that cannot be."""
    try:
        _note(card).parent.mkdir(exist_ok=True)
        _note(card).write_text(card.driver)
    except PermissionError:
        raise IxyError(f"{card.address}: you may not take it from {card.driver}: be root") from None
    except OSError as error:
        raise IxyError(f"{_note(card)}: {error.strerror}: make room for it") from None


def _ip(*arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(_run("ip", "-json", *arguments) or "[]")
    return found


def _connections() -> Iterator[tuple[str, str]]:
    """Local address and peer of each established TCP connection."""
    for line in _run("ss", "-Htn", "state", "established").splitlines():
        local, peer = line.split()[2:4]
        host = local.rpartition(":")[0].strip("[]").partition("%")[0]
        yield host.removeprefix("::ffff:"), peer


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
