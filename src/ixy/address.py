"""From an address to a device: `KIND:REST?option=value&option=value`."""

import itertools
import re
import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl

from ixy.bus.cards import PCI_ADDRESS
from ixy.bus.function import PciFunction
from ixy.device import Device
from ixy.errors import IxyError
from ixy.memory.pool import DEFAULT_BUFS, Mempool

if TYPE_CHECKING:
    from ixy.drivers.virtio.transport import Transport
    from ixy.emulator.intel82599.model import Intel82599

KINDS = (
    "emu:WIRE",
    "qemu:MODEL:WIRE",
    "0000:03:00.0 (a PCI address)",
    "vfio-user:SOCKET",
    "vhost-user:SOCKET",
)
VIRTIO = ("packed", "mrg", "vlans")  # options that want (1) or refuse (0) a feature
NUMBER = r"-?[0-9]{1,4000}"  # what int() takes
_ports = itertools.count(1)  # ports made here so far: the last byte of their MAC addresses
_shared: list[Mempool] = []  # pool i serves queue i of every device that was opened without pools


def open_device(
    address: str,
    *,
    queues: int | None = None,
    itr: float | None = None,
    pools: Sequence[Mempool] | None = None,
    settle: bool = True,
) -> Device:
    """Opens a network device, ready to send and receive; use it as a context manager.

    `queues` and `itr` stand for the options of these names, if the address does not have them. With
    `itr` the receive queues interrupt, at most every so many microseconds: a worker without work
    sleeps, instead of polling.

    The first emulated one is compiled, which takes seconds: without `settle` it returns before, and
    the device has no link until then.

    Devices that are opened without `pools` (one for each queue) share those of this process, so
    that packets can pass between them without a copy. Raises IxyError for an unknown kind, option
    or value, for a device that is in use, and for one that does not answer.
    """
    kind, rest, options = parse(address)
    for name, value in (("queues", queues), ("itr", itr)):
        if value is not None:
            options.setdefault(name, f"{value:g}")
    reach: Callable[[str, str, dict[str, str]], PciFunction | Transport]
    if kind == "emu":
        reach, others = _emulate, _emulated_options()
    elif kind == "vfio-user":
        reach, others = _reach_process, frozenset()
    elif kind == "qemu":
        reach, others = _reach_qemu, _qemu_options()
    elif kind == "vhost-user":
        reach, others = _reach_back_end, frozenset({"listen", *VIRTIO})
    elif PCI_ADDRESS.fullmatch(f"{kind}:{rest}"):
        reach, others = _reach_card, frozenset(VIRTIO)
    else:
        raise IxyError(f"unknown kind of address {address!r}: give it one of {', '.join(KINDS)}")
    shape = _shape(address, options, others)
    device = _drive(reach(address, rest, options), shape, pools)
    while settle and not device.beyond.settled:
        time.sleep(0.001)
    return device


def parse(address: str) -> tuple[str, str, dict[str, str]]:
    """An address's kind, rest and options. Raises IxyError if they are not of the form."""
    place, _, query = address.rpartition("?") if "?" in address else (address, "", "")
    kind, _, rest = place.partition(":")
    pairs = parse_qsl(query, keep_blank_values=True)
    if query and len(pairs) != query.count("&") + 1:
        raise IxyError(f"{address}: write options as ?name=value&name=value")
    return kind, rest, dict(pairs)


class Shape(NamedTuple):
    """What a driver is asked for. `ring`, `pool`: descriptors and packet buffers of a queue, 0 for
    the usual number; `itr`: microseconds between interrupts, None to poll.
    """

    queues: int
    ring: int
    pool: int
    itr: float | None
    features: dict[str, bool]  # of virtio


def _shape(address: str, options: dict[str, str], others: frozenset[str]) -> Shape:
    """Raises IxyError for an option that is neither of the shape nor one of the `others`."""
    known = others.union(("queues", "ring", "pool", "itr"))
    for name in options:
        if name not in known:
            listed = ", ".join(sorted(known))
            raise IxyError(f"{address}: unknown option {name}: give it one of {listed}")
    queues = _number(address, options, "queues", 1)
    if queues > 64:
        raise IxyError(f"{address}: {queues} queues: give it 1 to 64")
    ring, pool = (_number(address, options, name, 0) for name in ("ring", "pool"))
    features = {name: _switch(address, options, name) for name in VIRTIO if name in options}
    return Shape(queues, ring, pool, _interval(address, options), features)


def _drive(
    reached: "PciFunction | Transport", shape: Shape, pools: Sequence[Mempool] | None
) -> Device:
    """A device's driver, with its pools or those of this process."""
    try:
        driver = _driver_of(reached, shape)
        chosen = pools if pools is not None else _shared_pools(reached, shape)
    except BaseException:
        reached.close()
        raise
    device = driver(chosen)
    try:
        if isinstance(reached, PciFunction):
            reached.begin()
    except BaseException:
        device.close()
        raise
    return device


def _driver_of(
    reached: "PciFunction | Transport", shape: Shape
) -> Callable[[Sequence[Mempool]], Device]:
    """The driver for a device, all but its pools. Raises IxyError if there is none."""
    from ixy.datasheets import intel82576, intel82599, virtio
    from ixy.datasheets.pci import DEVICE_ID, VENDOR_ID
    from ixy.drivers.igb.driver import IgbDevice
    from ixy.drivers.intel.device import DEFAULT_RING
    from ixy.drivers.ixgbe.driver import IxgbeDevice
    from ixy.drivers.virtio.transport import pci_transport

    if not isinstance(reached, PciFunction):
        return _virtio_driver(reached, shape)
    reached.check()
    ids = reached.config_read(VENDOR_ID, 2), reached.config_read(DEVICE_ID, 2)
    if ids in _ids(virtio):
        return _virtio_driver(pci_transport(reached), shape)
    for sheet, driver in ((intel82599, IxgbeDevice), (intel82576, IgbDevice)):
        if ids in _ids(sheet):
            if shape.features:
                option = next(iter(shape.features))
                raise IxyError(f"{reached.address}: {option}= is an option of virtio: leave it out")
            ring, itr = shape.ring or DEFAULT_RING, shape.itr
            return lambda pools: driver(reached, pools, ring, itr)
    names = ", ".join(sheet.NAMES for sheet in (intel82599, intel82576, virtio))
    raise IxyError(f"{reached.address}: no driver for {ids[0]:04x}:{ids[1]:04x}: it is no {names}")


def _ids(sheet: ModuleType) -> set[tuple[int, int]]:
    return {(sheet.VENDOR, device) for device in sheet.MODELS.values()}


def _virtio_driver(transport: "Transport", shape: Shape) -> Callable[[Sequence[Mempool]], Device]:
    """Raises IxyError if it is asked for what the driver does not do."""
    from ixy.datasheets.virtio import Feature
    from ixy.drivers.virtio.driver import DEFAULT_RING, VirtioDevice

    if shape.itr is not None:
        raise IxyError(f"{transport.address}: the virtio driver has no interrupts: poll instead")
    bits = {"packed": Feature.RING_PACKED, "mrg": Feature.MRG_RXBUF, "vlans": Feature.CTRL_VLAN}
    wanted = refused = Feature(0)
    for name, on in shape.features.items():
        wanted, refused = (wanted | bits[name], refused) if on else (wanted, refused | bits[name])
    ring = shape.ring or DEFAULT_RING
    return lambda pools: VirtioDevice(transport, pools, ring, wanted=wanted, refused=refused)


def _emulated_options() -> frozenset[str]:
    from ixy.emulator.wire import OPTIONS

    return OPTIONS | {"mac", "model", "fault"}


def _qemu_options() -> frozenset[str]:
    from ixy.bus import qemu
    from ixy.emulator import wire

    return wire.OPTIONS | qemu.OPTIONS | {"mac"}


def _emulate(address: str, rest: str, options: dict[str, str]) -> PciFunction:
    from ixy.emulator.bus import EmulatedFunction
    from ixy.emulator.runner import compile_ahead

    compile_ahead()
    own = {name: options[name] for name in options if name not in Shape._fields}
    return EmulatedFunction(address, emulated_card(address, rest, own))


def emulated_card(address: str, wire: str, options: dict[str, str]) -> "Intel82599":
    """A card with a wire plugged in. `options` are the wire's, and the card's `mac`, `model` and
    `fault`. Raises IxyError for others, and for values that there are not.
    """
    from ixy.emulator.intel82599.model import Intel82599
    from ixy.emulator.wire import plug_in

    mac = _mac(address, options)
    own = ("mac", "model", "fault")
    others = {name: _value(options[name]) for name in options if name not in own}
    plugged = plug_in(wire, others)
    try:
        faults = options["fault"].split(",") if "fault" in options else ()
        return Intel82599(plugged, mac, options.get("model", "82599"), faults)
    except IxyError:
        plugged.close()
        raise


def _reach_card(address: str, rest: str, options: dict[str, str]) -> PciFunction:
    """A PCI card: through VFIO where the kernel's driver vfio-pci has it, else through sysfs."""
    from ixy.bus.cards import VFIO_PCI, find_card
    from ixy.bus.sysfs import SysfsFunction
    from ixy.bus.vfio import VfioFunction

    card = find_card(address.partition("?")[0])
    return (VfioFunction if card.driver == VFIO_PCI else SysfsFunction)(address, card)


def _reach_process(address: str, rest: str, options: dict[str, str]) -> PciFunction:
    """A card in another process."""
    from ixy.bus.vfio_user import VfioUserFunction

    return VfioUserFunction(address, rest)


def _reach_qemu(address: str, rest: str, options: dict[str, str]) -> PciFunction:
    """One of QEMU's own devices, plugged into one of our wires."""
    from ixy.bus.qemu import OPTIONS, VIRTIO_MODELS, QemuFunction, properties_of
    from ixy.emulator.pump import Pump, TapQueues
    from ixy.emulator.wire import plug_in

    model, _, wire = rest.partition(":")
    properties = properties_of(address, model, options)
    mac = _mac(address, options).hex(":")
    own = {*OPTIONS, "mac", *Shape._fields}
    others = {name: _value(options[name]) for name in options if name not in own}
    queues, (kind, _, interface) = _number(address, options, "queues", 1), wire.partition(":")
    if queues == 1 or model not in VIRTIO_MODELS:
        return QemuFunction(address, model, properties | {"mac": mac}, Pump(plug_in(wire, others)))
    if kind != "tap":
        raise IxyError(
            f"{address}: queues={queues}: QEMU's virtio devices have several queue pairs only at a"
            f" TAP interface: qemu:{model}:tap:IF"
        )
    plug = TapQueues(interface, queues)
    return QemuFunction(address, model, properties | {"mac": mac, "mq": "on"}, plug)


def _reach_back_end(address: str, rest: str, options: dict[str, str]) -> "Transport":
    """A vhost-user back end."""
    from ixy.drivers.virtio.vhost_user import VhostUser

    return VhostUser(address, rest, listener=_switch(address, options, "listen"))


def _shared_pools(function: "PciFunction | Transport", shape: Shape) -> Sequence[Mempool]:
    """This process's pools, made when first needed: of the size asked for, or of the usual one; in
    huge pages if the function that needs them first needs them so.
    """
    _shared[:] = [pool for pool in _shared if pool.memory.file >= 0]  # those not yet closed
    address = function.address
    for pool in _shared[: shape.queues]:
        if shape.pool and _asked(pool) != shape.pool:
            raise IxyError(f"{address}: pool={shape.pool}: a device before it chose {_asked(pool)}")
        if function.huge and not pool.memory.huge:
            raise IxyError(f"{address} needs huge pages, which others do not: open it before them")
    while len(_shared) < shape.queues:
        size = shape.pool or (_asked(_shared[0]) if _shared else DEFAULT_BUFS)
        _shared.append(_make_pool(size, function))
    return _shared[: shape.queues]


def _asked(pool: Mempool) -> int:
    """How many buffers were asked for: in huge pages, those across two of them are not used."""
    return int(pool.record[0]["count"])


def _make_pool(size: int, function: "PciFunction | Transport") -> Mempool:
    """In huge pages if the function needs them, or likes them and there are enough."""
    try:
        return Mempool(size, huge=function.huge or function.likes_huge, owned=False)
    except IxyError:
        if function.huge or not function.likes_huge:
            raise
    return Mempool(size, owned=False)


def _number(address: str, options: dict[str, str], name: str, default: int) -> int:
    text = options.get(name)
    if text is None:
        return default
    if not re.fullmatch(NUMBER, text) or int(text) <= 0:
        raise IxyError(f"{address}: {name}={text}: give it a positive number")
    return int(text)


def _switch(address: str, options: dict[str, str], name: str) -> bool:
    text = options.get(name, "0")
    if text not in ("0", "1"):
        raise IxyError(f"{address}: {name}={text}: give it 0 or 1")
    return text == "1"


def _interval(address: str, options: dict[str, str]) -> float | None:
    text = options.get("itr")
    if text is None or re.fullmatch(r"[0-9]{1,6}(\.[0-9]*)?", text):
        return None if text is None else float(text)
    raise IxyError(f"{address}: itr={text}: give it the microseconds between two interrupts")


def _value(text: str) -> str | int:
    return int(text) if re.fullmatch(NUMBER, text) else text


def _mac(address: str, options: dict[str, str]) -> bytes:
    """The address of a port that is made here: one of its own unless told."""
    text = options.get("mac", f"02:00:00:00:00:{next(_ports) % 256:02x}")
    if not re.fullmatch(r"([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}", text):
        raise IxyError(f"{address}: write mac= as 02:00:00:00:00:01")
    mac = bytes.fromhex(text.replace(":", ""))
    if mac[0] & 1:
        raise IxyError(
            f"{address}: {text} is no address of a single station: mac=02:00:00:00:00:01"
        )
    return mac
