"""`loopback`: a loopback plug. What is sent comes back."""

from ixy.emulator.wire.base import Wire


class Loopback(Wire):
    """Both directions are one ring. Frames that nobody takes fill it; then the port misses some."""

    def __init__(self) -> None:
        super().__init__(patient=False)
        self._set(tx=self.rings.address)
