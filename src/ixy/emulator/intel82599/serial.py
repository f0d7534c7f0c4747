"""Memories that software reads bit by bit, over pins: an SPI EEPROM, and an SFP+ module's."""

SPI_READ, SPI_STATUS = 0x03, 0x05  # commands (the 25xx family of EEPROMs); others do nothing here
MODULE = 0x50  # an SFP+ module's address on its I2C bus (SFF-8472, 4.1)


class SpiEeprom:
    """An SPI EEPROM: it takes a bit when the clock rises and shows the next when it falls.

    The master's first byte is a command; READ is followed by an address of 16 bits.
    """

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = data
        self._clock = False
        self._start()

    def _start(self) -> None:
        self._taken = self._word = 0
        self.out = True

    def drive(self, selected: bool, clock: bool, bit: bool) -> None:
        """What the master does to the pins."""
        if not selected:
            self._start()
        elif clock and not self._clock:
            self._taken += 1
            if self._taken <= 24:  # command and address
                self._word = self._word << 1 | bit
        elif self._clock and not clock:
            self._show()
        self._clock = clock

    def _show(self) -> None:
        command = self._word >> max(0, min(self._taken, 24) - 8)
        if command == SPI_STATUS and self._taken >= 8:
            self.out = False  # all bits 0: ready, nothing is protected
        elif command == SPI_READ and self._taken >= 24:
            place, bit = divmod(self._taken - 24, 8)
            byte = self._data[((self._word & 0xFFFF) + place) % len(self._data)]
            self.out = bool(byte >> 7 - bit & 1)


class I2cModule:
    """An SFP+ module's memory: a start, its address and the place to read from; a start, its
    address again, and bytes, as long as the master acknowledges them.

    Both wires are pulled up: `out` is what the module makes of the data wire.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0
        self._clock = self._bit = self.out = True
        self._idle()

    def _idle(self) -> None:
        self._listening = self._sending = self._acknowledged = False
        self._count = self._byte = self._index = 0
        self.out = True

    def drive(self, clock: bool, bit: bool) -> None:
        """What the master does to the wires."""
        if clock and self._clock and bit != self._bit:
            self._idle()
            self._listening = not bit  # start: the data wire falls; stop: it rises
        elif clock and not self._clock:
            self._sample(bit)
        elif self._clock and not clock:
            self._show()
        self._clock, self._bit = clock, bit

    def _sample(self, bit: bool) -> None:
        if self._sending and self._count == 8:
            self._acknowledged = not bit
        elif self._listening and self._count < 8:
            self._byte = (self._byte << 1 | bit) & 0xFF
        self._count += 1

    def _show(self) -> None:
        if self._sending:
            self._send()
        elif self._listening and self._count == 8:
            self._take()
        elif self._listening and self._count == 9:
            self._count, self.out = 0, True
            if self._index == 1 and self._byte & 1:  # the module's turn
                self._listening, self._sending = False, True
                self._send()

    def _take(self) -> None:
        """A byte of the master's: the address, then the place. What follows is not stored."""
        if self._index == 0 and self._byte >> 1 != MODULE:
            self._idle()  # another one's
            return
        if self._index == 1:
            self._place = self._byte
        self._index += 1
        self.out = False  # acknowledged

    def _send(self) -> None:
        if self._count == 9:
            self._place = (self._place + 1) % len(self._data)
            self._count = 0
            if not self._acknowledged:
                self._idle()
                return
        self.out = self._count == 8 or bool(self._data[self._place] >> 7 - self._count & 1)
