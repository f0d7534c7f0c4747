"""A template in scapy's words: `Ether()/IP(dst="10.0.0.1")/UDP()`.

The text is never run. Python's own parser reads it, and of what that finds only this is understood:
layers by their names, their fields, `/`, and literals. scapy itself is asked for nothing but to put
the layers into bytes; it reads no addresses from this machine, and asks nobody for any.
"""

import ast
import ipaddress
import logging
import re
import warnings
from importlib import import_module
from typing import Any

from ixy.errors import IxyError

LAYERS = {
    "packet": "Raw Padding",
    "layers.l2": "Ether Dot1Q Dot1AD LLC SNAP ARP GRE",
    "layers.inet": "IP ICMP TCP UDP",
    "layers.inet6": "IPv6 IPv6ExtHdrHopByHop IPv6ExtHdrDestOpt IPv6ExtHdrRouting IPv6ExtHdrFragment"
    " ICMPv6EchoRequest ICMPv6EchoReply ICMPv6ND_NS ICMPv6ND_NA ICMPv6ND_RS ICMPv6ND_RA",
    "layers.dns": "DNS DNSQR",
    "layers.sctp": "SCTP SCTPChunkData SCTPChunkInit",
    "layers.vxlan": "VXLAN",
}
MODULES = {name: module for module, names in LAYERS.items() for name in names.split()}
LONGEST = 4096  # characters
MAC = re.compile("([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}")
# What scapy would ask this machine for, if it is left open
OPEN = {
    "IP": {"src": "10.0.0.1"},
    "IPv6": {"src": "fd00::1"},
    "ARP": {"psrc": "10.0.0.1"},
}


def build(text: str, source: bytes) -> bytes:
    """The bytes of an expression; `source` is the sender's MAC address. Raises IxyError, one line
    that says what is not understood.
    """
    try:
        if len(text) > LONGEST:
            raise IxyError(f"it has {len(text)} characters: give it {LONGEST} at most")
        with warnings.catch_warnings():  # of escapes that Python does not know
            warnings.simplefilter("ignore")
            tree = ast.parse(text.strip(), mode="eval").body
        _load("packet")
        packet = _packet(tree, source.hex(":"))
        if type(packet).__name__ != "Ether":
            raise IxyError("it is no frame: let it begin with Ether()")
        return bytes(packet)
    except IxyError as error:
        raise IxyError(f"--template {_short(text)}: {error}") from None
    except SyntaxError as error:
        raise IxyError(f"--template {_short(text)}: {error.msg}") from None
    except Exception as error:  # scapy's, of any kind, for a value that is none
        raise IxyError(f"--template {_short(text)}: {type(error).__name__}: {error}") from error


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."


def _load(module: str) -> Any:
    logging.getLogger("scapy").setLevel(logging.ERROR)  # it warns of machines without a route
    try:
        return import_module(f"scapy.{module}")
    except ImportError:
        raise IxyError("this needs scapy: pip install scapy") from None


def _packet(node: ast.expr, mac: str) -> Any:
    """Layers, the upper ones behind each `/`."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        lower, upper = _packet(node.left, mac), _packet(node.right, mac)
        if isinstance(lower, bytes):
            raise IxyError(f"nothing comes behind {ast.unparse(node.left)}: it is payload")
        return lower / upper
    if isinstance(node, ast.Call):
        return _layer(node, mac)
    payload = _literal(node, mac)
    if not isinstance(payload, str | bytes):
        raise IxyError(f"{ast.unparse(node)} is neither a layer nor a text")
    return payload.encode("latin-1") if isinstance(payload, str) else payload


def _layer(node: ast.Call, mac: str) -> Any:
    name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
    if name not in MODULES:
        raise IxyError(f"{name} is none of the layers {', '.join(MODULES)}")
    layer = getattr(_load(MODULES[name]), name)
    values = {word.arg: word.value for word in node.keywords if word.arg}
    if name == "Raw" and len(node.args) == 1 and not values:
        values = {"load": node.args[0]}
    elif node.args or len(values) < len(node.keywords):
        raise IxyError(f"write fields of {name} as {name}(field=value)")
    known = {field.name: field for field in layer.fields_desc}
    given = {"Ether": {"src": mac, "dst": "ff:ff:ff:ff:ff:ff"}, "ARP": {"hwsrc": mac}}.get(name, {})
    fields: dict[str, Any] = {**OPEN.get(name, {}), **given}
    for field, value in values.items():
        if field not in known:
            raise IxyError(f"{name} has no field {field}: it has {', '.join(known)}")
        found = _literal(value, mac)
        if found is not None:  # None leaves it open
            _must_be_one(name, known[field], found)
            fields[field] = found
    return layer(**fields)


def _must_be_one(layer: str, field: Any, value: Any) -> None:
    """Refuses what scapy takes for many packets, and a name that it would look up."""
    kinds = _kinds(field)
    if isinstance(value, list | tuple) and not field.islist and "FlagsField" not in kinds:
        raise IxyError(f"{layer}.{field.name} takes one value: use --vary for several")
    if not isinstance(value, str):
        return
    if any(kind.endswith(("IPField", "IP6Field")) for kind in kinds):
        try:
            ipaddress.ip_address(value)
        except ValueError:
            raise IxyError(f"{layer}.{field.name}: {value} is no address: write numbers") from None
    elif any(kind.endswith("MACField") for kind in kinds) and not MAC.fullmatch(value):
        raise IxyError(f"{layer}.{field.name}: {value} is no address: write 02:00:00:00:00:01")


def _kinds(field: Any) -> list[str]:
    """The names of the classes of a field, and of what it may stand for."""
    choices = [choice for choice, _ in getattr(field, "flds", ())]
    return [type(each).__name__ for each in (field, getattr(field, "fld", field), *choices)]


def _literal(node: ast.expr, mac: str) -> Any:
    """A number, text, bytes, a list or tuple of them, or a layer that is a field's value."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str | bytes | None):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _literal(node.operand, mac)
        if isinstance(value, int | float):
            return -value
    if isinstance(node, ast.List | ast.Tuple):
        values = [_literal(each, mac) for each in node.elts]
        return values if isinstance(node, ast.List) else tuple(values)
    if isinstance(node, ast.Call) or (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)):
        return _packet(node, mac)
    raise IxyError(f"{ast.unparse(node)} is no literal: give it a number, text, bytes or a list")
