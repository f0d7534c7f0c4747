"""From an address to a device: `KIND:REST?option=value&option=value`."""

import itertools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from ixy.bus.cards import PCI_ADDRESS
from ixy.bus.function import PciFunction
from ixy.device import Device
from ixy.errors import IxyError
from ixy.memory.pool import DEFAULT_BUFS, Mempool

if TYPE_CHECKING:
    from ixy.emulator.bus import EmulatedFunction
    from ixy.emulator.intel82599.model import Intel82599

KINDS = ("emu:WIRE", "0000:03:00.0 (a PCI address)", "vfio-user:SOCKET")
NUMBER = r"-?[0-9]{1,4000}"  # what int() takes
_ports = itertools.count(1)  # emulated ports so far: the last byte of their MAC addresses
_shared: list[Mempool] = []  # pool i serves queue i of every device that was opened without pools


def open_device(
    address: str,
    *,
    queues: int | None = None,
    pools: Sequence[Mempool] | None = None,
    settle: bool = True,
) -> Device:
    """Opens a network device, ready to send and receive; use it as a context manager.

    The first emulated one is compiled, which takes seconds: without `settle` it returns before, and
    the device has no link until then.

    Devices that are opened without `pools` (one for each queue) share those of this process, so
    that packets can pass between them without a copy. Raises IxyError for an unknown kind, option
    or value, for a device that is in use, and for one that does not answer.
    """
    kind, rest, options = parse(address)
    if queues is not None:
        options.setdefault("queues", str(queues))
    if kind == "emu":
        device, function = _open_emulated(address, rest, options, pools)
        if settle:
            function.settle()
        return device
    if kind == "vfio-user":
        return _open_remote(address, rest, options, pools)
    if PCI_ADDRESS.fullmatch(slot := f"{kind}:{rest}"):
        return _open_card(address, slot, options, pools)
    raise IxyError(f"unknown kind of address {address!r}: give it one of {', '.join(KINDS)}")


def parse(address: str) -> tuple[str, str, dict[str, str]]:
    """An address's kind, rest and options. Raises IxyError if they are not of the form."""
    place, _, query = address.rpartition("?") if "?" in address else (address, "", "")
    kind, _, rest = place.partition(":")
    pairs = parse_qsl(query, keep_blank_values=True)
    if query and len(pairs) != query.count("&") + 1:
        raise IxyError(f"{address}: write options as ?name=value&name=value")
    return kind, rest, dict(pairs)


def _open_emulated(
    address: str, rest: str, options: dict[str, str], pools: Sequence[Mempool] | None
) -> "tuple[Device, EmulatedFunction]":
    from ixy.drivers.ixgbe.driver import IxgbeDevice
    from ixy.emulator.bus import EmulatedFunction
    from ixy.emulator.runner import compile_ahead
    from ixy.emulator.wire import OPTIONS

    compile_ahead()
    queues, ring, buffers = _sizes(address, options, {"mac", "model"} | OPTIONS)
    chosen = pools if pools is not None else _shared_pools(queues, buffers, address)
    function = EmulatedFunction(address, emulated_card(address, rest, options))
    return IxgbeDevice(function, chosen, ring), function


def emulated_card(address: str, wire: str, options: dict[str, str]) -> "Intel82599":
    """A card with a wire plugged in. `options` are the wire's, and the card's `mac` and `model`;
    others are ignored. Raises IxyError for values that there are not.
    """
    from ixy.emulator.intel82599.model import Intel82599
    from ixy.emulator.wire import OPTIONS, plug_in

    mac = (
        _mac(address, options["mac"])
        if "mac" in options
        else bytes([2, 0, 0, 0, 0, next(_ports) % 256])
    )
    plugged = plug_in(wire, {name: _value(options[name]) for name in options if name in OPTIONS})
    try:
        return Intel82599(plugged, mac, options.get("model", "82599"))
    except IxyError:
        plugged.close()
        raise


def _open_card(
    address: str, slot: str, options: dict[str, str], pools: Sequence[Mempool] | None
) -> Device:
    """A PCI card: through VFIO where the kernel's driver vfio-pci has it, else through sysfs."""
    from ixy.bus.cards import VFIO_PCI, find_card
    from ixy.drivers.ixgbe.driver import IxgbeDevice

    queues, ring, buffers = _sizes(address, options, set())
    card = find_card(slot)
    function: PciFunction
    if card.driver == VFIO_PCI:
        from ixy.bus.vfio import VfioFunction

        function = VfioFunction(address, card)
    else:
        from ixy.bus.sysfs import SysfsFunction

        function = SysfsFunction(address, card)
    try:
        chosen = pools if pools is not None else _shared_pools(queues, buffers, address, function)
    except BaseException:
        function.close()
        raise
    return IxgbeDevice(function, chosen, ring)


def _open_remote(
    address: str, path: str, options: dict[str, str], pools: Sequence[Mempool] | None
) -> Device:
    """A card in another process."""
    from ixy.bus.vfio_user import VfioUserFunction
    from ixy.drivers.ixgbe.driver import IxgbeDevice

    queues, ring, buffers = _sizes(address, options, set())
    chosen = pools if pools is not None else _shared_pools(queues, buffers, address)
    return IxgbeDevice(VfioUserFunction(address, path), chosen, ring)


def _sizes(address: str, options: dict[str, str], others: set[str]) -> tuple[int, int, int]:
    """Queues, descriptors of a ring, and packet buffers (0: the usual number). Raises IxyError for
    an option that is neither of these nor one of the `others`.
    """
    from ixy.drivers.ixgbe.driver import DEFAULT_RING

    known = {"queues", "ring", "pool"} | others
    for name in options:
        if name not in known:
            listed = ", ".join(sorted(known))
            raise IxyError(f"{address}: unknown option {name}: give it one of {listed}")
    queues = _number(address, options, "queues", 1)
    if queues > 64:
        raise IxyError(f"{address}: {queues} queues: give it 1 to 64")
    ring = _number(address, options, "ring", DEFAULT_RING)
    return queues, ring, _number(address, options, "pool", 0)


def _shared_pools(
    queues: int, buffers: int, address: str, function: PciFunction | None = None
) -> Sequence[Mempool]:
    """This process's pools, made when first needed: of `buffers`, or of the usual size; in huge
    pages if the function that needs them first needs them so.
    """
    huge = function is not None and function.huge
    _shared[:] = [pool for pool in _shared if pool.memory.file >= 0]  # those not yet closed
    for pool in _shared[:queues]:
        if buffers and pool.count != buffers:
            raise IxyError(f"{address}: pool={buffers}: a device before it chose {pool.count}")
        if huge and not pool.memory.huge:
            raise IxyError(f"{address} needs huge pages, which others do not: open it before them")
    while len(_shared) < queues:
        size = buffers or (_shared[0].count if _shared else DEFAULT_BUFS)
        _shared.append(Mempool(size, huge=huge, owned=False))
    return _shared[:queues]


def _number(address: str, options: dict[str, str], name: str, default: int) -> int:
    text = options.get(name)
    if text is None:
        return default
    if not re.fullmatch(NUMBER, text) or int(text) <= 0:
        raise IxyError(f"{address}: {name}={text}: give it a positive number")
    return int(text)


def _value(text: str) -> str | int:
    return int(text) if re.fullmatch(NUMBER, text) else text


def _mac(address: str, text: str) -> bytes:
    if not re.fullmatch(r"([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}", text):
        raise IxyError(f"{address}: write mac= as 02:00:00:00:00:01")
    mac = bytes.fromhex(text.replace(":", ""))
    if mac[0] & 1:
        raise IxyError(
            f"{address}: {text} is no address of a single station: mac=02:00:00:00:00:01"
        )
    return mac
