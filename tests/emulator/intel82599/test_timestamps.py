"""Time stamps of IEEE 1588, register by register; by literal offsets and bytes."""

import struct
import time

import pytest

from rig import Bare, ethernet

TSYNCRXCTL, TSYNCTXCTL, RXMTRL, ETQF, TIMINCA = 0x5188, 0x8C00, 0x5120, 0x5128, 0x8C14
RXSTMPL, RXSTMPH, RXSATRH, TXSTMPL, TXSTMPH = 0x51E8, 0x51A4, 0x51A8, 0x8C04, 0x8C08
SYSTIML, SYSTIMH = 0x8C0C, 0x8C10
COMMAND = 0x2B000000 | 3 << 20  # DEXT, RS, IFCS, EOP; a data descriptor
STAMP = 1 << 19
TENTHS = 1 << 24 | 64  # each clock of 6.4 ns counts 64


def ptp(message: int = 0, sequence: int = 7, version: int = 2) -> bytes:
    """A PTP message over Ethernet."""
    header = struct.pack(">BBHBBHQI8sHHBb", message, version, 44, 0, 0, 0, 0, 0, b"clock id", 1,
                         sequence, 0, 0)  # fmt: skip
    return ethernet(header, 0x88F7)


def system_time(bare: Bare) -> int:
    low = bare.read(SYSTIML)
    return bare.read(SYSTIMH) << 32 | low


def on(bare: Bare, kind: int = 0) -> None:
    bare.write(TIMINCA, TENTHS)
    bare.write(ETQF + 4, 1 << 31 | 1 << 30 | 0x88F7)
    bare.write(TSYNCRXCTL, 1 << 4 | kind << 1)
    bare.write(TSYNCTXCTL, 1 << 4)


def test_the_time_runs_at_the_speed_that_is_set(bare: Bare) -> None:
    assert system_time(bare) == 0
    time.sleep(0.001)
    assert system_time(bare) == 0  # nobody has started it
    before = time.monotonic_ns()
    bare.write(TIMINCA, TENTHS)
    begin = time.monotonic_ns()
    time.sleep(0.01)
    end = time.monotonic_ns()
    found = system_time(bare) / 10
    assert end - begin - 13 <= found <= time.monotonic_ns() - before + 13
    bare.write(TIMINCA, 0)  # it stands still where it is
    assert system_time(bare) == system_time(bare) >= found * 10
    bare.write(TIMINCA, 10 << 24 | 640)  # the same speed in larger steps
    first = system_time(bare)
    time.sleep(0.001)
    later = system_time(bare) - first
    assert later % 640 == 0
    assert later >= 10_000 - 640


def test_the_time_can_be_set(bare: Bare) -> None:
    bare.write(SYSTIML, 0x89ABCDEF)
    bare.write(SYSTIMH, 0xF1234567)
    assert system_time(bare) == 0xF123456789ABCDEF
    bare.write(TIMINCA, TENTHS)
    assert 0 <= system_time(bare) - 0xF123456789ABCDEF < 10**11


def test_a_sent_packet_is_stamped_when_its_descriptor_asks_for_it(transmitter: Bare) -> None:
    bare = transmitter
    on(bare)
    bare.describe(0, COMMAND | 60, data=ethernet())
    bare.send(1)
    assert bare.read(TSYNCTXCTL) == 1 << 4
    before = system_time(bare)
    bare.describe(1, COMMAND | STAMP | 60, data=ethernet())
    assert len(bare.send(2)) == 1
    after = system_time(bare)
    assert bare.read(TSYNCTXCTL) == 1 << 4 | 1
    bare.describe(2, COMMAND | STAMP | 60, data=ethernet())
    assert len(bare.send(3)) == 1  # the stamp before has not been read: this one has none
    stamp = bare.read(TXSTMPL) | bare.read(TXSTMPH) << 32
    assert before <= stamp <= after
    assert bare.read(TSYNCTXCTL) == 1 << 4


def test_without_the_enable_bit_none_is_stamped(transmitter: Bare) -> None:
    transmitter.describe(0, COMMAND | STAMP | 60, data=ethernet())
    transmitter.send(1)
    assert transmitter.read(TSYNCTXCTL) == 0


def status(bare: Bare, slot: int) -> int:
    return struct.unpack_from("<I", bare.received(slot), 8)[0]


def test_a_received_message_is_stamped(receiver: Bare) -> None:
    bare = receiver
    on(bare)
    before = system_time(bare)
    bare.wire.arrive(ptp(sequence=0x1234), ptp(sequence=0x1235))
    bare.step()
    after = system_time(bare)
    assert bare.read(TSYNCRXCTL) == 1 << 4 | 1
    assert bare.read(RXSATRH) == 0x1234 << 16
    assert [status(bare, slot) >> 16 & 1 for slot in (0, 1)] == [1, 0]  # one at a time
    stamp = bare.read(RXSTMPL) | bare.read(RXSTMPH) << 32
    assert before <= stamp <= after
    assert bare.read(TSYNCRXCTL) == 1 << 4
    bare.wire.arrive(ptp(sequence=0x1236))
    bare.step()
    assert bare.read(RXSATRH) == 0x1236 << 16


CASES = [  # type in TSYNCRXCTL, message in RXMTRL, frame, whether it is stamped
    (0, 0, ptp(0), True), (0, 0, ptp(1), False), (0, 1, ptp(1), True), (2, 0, ptp(0), True),
    (5, 0, ptp(0), True), (5, 0, ptp(3), True), (5, 0, ptp(8), False), (5, 0, ptp(0x13), True),
    (1, 0, ptp(0), False), (0, 0, ptp(0, version=1), False), (0, 0, ptp(0, version=0x12), True),
    (0, 0, ethernet(ptp()[14:]), False),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "message", "frame", "stamped"), CASES)
def test_which_messages(receiver: Bare, kind: int, message: int, frame: bytes, stamped) -> None:
    on(receiver, kind)
    receiver.write(RXMTRL, message << 8)
    receiver.wire.arrive(frame)
    receiver.step()
    assert receiver.read(TSYNCRXCTL) & 1 == stamped
    assert status(receiver, 0) >> 16 & 1 == stamped


@pytest.mark.parametrize("word", [0, 1 << 31 | 0x88F7, 1 << 30 | 0x88F7, 3 << 30 | 0x88F8])
def test_a_filter_must_know_the_ethertype(receiver: Bare, word: int) -> None:
    on(receiver)
    receiver.write(ETQF + 4, word)
    receiver.wire.arrive(ptp())
    receiver.step()
    assert receiver.read(TSYNCRXCTL) & 1 == 0


def test_a_reset_ends_it_all(receiver: Bare) -> None:
    on(receiver)
    receiver.wire.arrive(ptp())
    receiver.step()
    receiver.write(0, 1 << 26)
    assert receiver.read(TSYNCRXCTL) == 0
    assert system_time(receiver) == 0
