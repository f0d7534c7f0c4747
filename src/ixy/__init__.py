"""ixy for Python: user-space network drivers that a student can read in an afternoon and that run
at C speed.

    import ixy

    with ixy.open("emu:loopback") as device:
        device.tx[0].send([b"...a frame of 14 bytes or more..."])
        with device.rx[0].receive(32, timeout=1.0) as batch:
            for packet in batch:
                print(bytes(packet))

Packet loops that run at full speed are functions under `@ixy.compiled` that call `rx_batch`,
`tx_batch` and the pool's words; see `ixy.device` and, as an example, `ixy/apps/forward.py`.
"""

from importlib import import_module

# Name here: where it lives. Loaded when first used, so that `import ixy` and `ixy --help` are
# quick.
_HOMES = {
    "open": ("ixy.address", "open_device"),
    "compiled": ("ixy.compiled", "compiled"),
    "IxyError": ("ixy.errors", "IxyError"),
}
for _home, _names in {
    "ixy.batch": "Batch",
    "ixy.device": "Device RxQueue Statistics TxQueue pool_of rx_batch tx_batch",
    "ixy.memory.pool": "BufferMisuse Mempool alloc_batch free_batch lengths packet_address packets",
}.items():
    _HOMES |= {name: (_home, name) for name in _names.split()}

__all__ = sorted(_HOMES)  # noqa: PLE0605


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'ixy' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
