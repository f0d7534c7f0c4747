"""The emulated 82599's data path, descriptor by descriptor: bytes in memory, frames on the wire."""

import struct
import zlib

import pytest

from ixy.errors import IxyError
from rig import (
    BROADCAST,
    OTHER,
    RX_BUFFERS,
    RX_RING,
    SLOT,
    TX_BUFFERS,
    TX_RING,
    Bare,
    arrived,
    ethernet,
    numbered,
    of_length,
)

EOP, IFCS, RS, DEXT = 1 << 24, 1 << 25, 1 << 27, 1 << 29
DATA, CONTEXT = 3 << 20, 2 << 20
FRAME = EOP | IFCS | RS | DEXT | DATA
LPBK_FREE_MULTICAST = bytes.fromhex("0300aabbccdd")


# Receive descriptors


def test_only_descriptors_with_rs_are_written_back(transmitter: Bare) -> None:
    transmitter.describe(0, FRAME & ~RS | 60, data=numbered(0))
    transmitter.describe(1, FRAME | 60, data=numbered(1))
    assert transmitter.send(2) == [numbered(0), numbered(1)]
    assert [transmitter.peek(TX_RING + 16 * i + 12, 4) for i in (0, 1)] == [bytes(4), b"\1\0\0\0"]


@pytest.mark.parametrize("length", [14, 17, 59])
def test_short_frames_are_padded_with_zeros(transmitter: Bare, length: int) -> None:
    transmitter.poke(TX_BUFFERS, b"\xee" * 100)
    frame = of_length(length)
    transmitter.describe(0, FRAME | length, data=frame)
    assert transmitter.send(1) == [frame.ljust(60, b"\0")]
    assert transmitter.read(0x40D8) == 1  # PTC64
    assert transmitter.read(0x4090) == 64  # GOTCL


def test_short_frames_stay_short_without_txpaden(transmitter: Bare) -> None:
    transmitter.write(0x4240, 0x00010003)
    transmitter.describe(0, FRAME | 30, data=of_length(30))
    assert transmitter.send(1) == [of_length(30)]


def test_without_ifcs_the_frame_brings_its_own_crc(transmitter: Bare) -> None:
    frame = of_length(80)
    crc = zlib.crc32(frame).to_bytes(4, "little")
    transmitter.describe(0, FRAME & ~IFCS | 84, data=frame + crc)
    assert transmitter.send(1) == [frame]


@pytest.mark.parametrize("length", range(1, 18))
def test_a_frame_of_hardly_any_bytes_does_not_block_the_wire(
    transmitter: Bare, length: int
) -> None:
    """Shorter than the CRC that it should bring: nothing of it may stay in the frame ring."""
    transmitter.describe(0, FRAME & ~IFCS | length, data=bytes(length))
    transmitter.describe(1, FRAME | 60, data=numbered(1))
    sent = transmitter.send(2)
    assert sent[-1:] == [numbered(1)]
    assert all(sent)
    assert transmitter.peek(TX_RING + 16 + 12, 4) == b"\1\0\0\0"


def test_a_frame_in_parts(transmitter: Bare) -> None:
    frame = of_length(300)
    for slot, (begin, end) in enumerate([(0, 14), (14, 200), (200, 300)]):
        command = IFCS | RS | DEXT | DATA | (EOP if end == 300 else 0)
        transmitter.describe(slot, command | end - begin, data=frame[begin:end])
    assert transmitter.send(2) == []  # the last part has not been handed over
    assert transmitter.read(0x6010) == 0
    assert transmitter.send(3) == [frame]
    assert [transmitter.peek(TX_RING + 16 * i + 12, 1) for i in range(3)] == [b"\1"] * 3
    assert transmitter.read(0x4080) == 1  # GPTC


def test_ifcs_belongs_to_the_first_descriptor(transmitter: Bare) -> None:
    """7.2.3.2.4: IFCS is valid in the first descriptor of a frame only."""
    frame = of_length(300)
    transmitter.describe(0, IFCS | RS | DEXT | DATA | 100, data=frame[:100])
    transmitter.describe(1, EOP | RS | DEXT | DATA | 200, data=frame[100:])
    assert transmitter.send(2) == [frame]


def test_a_frame_in_parts_across_the_end_of_the_ring(transmitter: Bare) -> None:
    for slot in range(7):
        transmitter.describe(slot, FRAME | 60, data=numbered(slot))
    assert len(transmitter.send(7)) == 7
    frame = of_length(120)
    transmitter.describe(7, FRAME & ~EOP | 60, data=frame[:60])
    transmitter.describe(0, FRAME | 60, data=frame[60:])
    assert transmitter.send(1) == [frame]
    assert transmitter.read(0x6010) == 1


def test_context_descriptors_send_nothing(transmitter: Bare) -> None:
    transmitter.describe(0, CONTEXT | DEXT | RS)
    transmitter.describe(1, FRAME | 60, data=numbered(1))
    assert transmitter.send(2) == [numbered(1)]
    assert transmitter.peek(TX_RING + 12, 1) == b"\1"
    assert transmitter.read(0x40D4) == 1  # TPT


def test_a_full_wire_makes_the_transmitter_wait(transmitter: Bare) -> None:
    sent: list[bytes] = []
    number = 0
    while len(sent) < 3000:
        for slot in range(7):
            transmitter.describe(
                (number + slot) % 8, FRAME | 1514, data=numbered(number + slot, 1514)
            )
        before = transmitter.read(0x6010)
        transmitter.write(0x6018, (number + 7) % 8)
        transmitter.step()
        if (transmitter.read(0x6010) - before) % 8 != 7:
            break
        number += 7
    handed_over = number + (transmitter.read(0x6010) - before) % 8
    assert 300 < handed_over < 400  # 512 KiB
    sent = transmitter.wire.sent()
    assert sent == [numbered(i, 1514) for i in range(handed_over)]
    transmitter.step()
    assert len(transmitter.wire.sent()) == number + 7 - handed_over


def test_a_transmit_tail_outside_the_ring_sends_nothing(transmitter: Bare) -> None:
    for slot in range(8):
        transmitter.describe(slot, FRAME | 60, data=numbered(slot))
    for tail in (8, 100, 0xFFFFFFFF):
        assert transmitter.send(tail) == []
    assert transmitter.model.fault() is None


@pytest.mark.parametrize("what", ["transmitter", "bus", "link"])
def test_nothing_is_sent_while_something_is_off(transmitter: Bare, what: str) -> None:
    transmitter.describe(0, FRAME | 60, data=numbered(0))
    if what == "transmitter":
        transmitter.write(0x4A80, 0)
    elif what == "bus":
        transmitter.function.config_write(4, 2, 0x0002)
    else:
        transmitter.wire.up = False
        transmitter.step()  # the link is looked at after each round
    assert transmitter.send(1) == []
    transmitter.write(0x4A80, 1)
    transmitter.function.config_write(4, 2, 0x0006)
    transmitter.wire.up = True
    transmitter.step()
    assert transmitter.send(1) == [numbered(0)]


def test_four_transmit_queues_share_the_wire(transmitter: Bare) -> None:
    for queue in range(1, 4):
        ring = TX_RING + 0x1000 * queue
        frame = numbered(queue)
        transmitter.poke(TX_BUFFERS + SLOT * queue, frame)
        where = transmitter.iova + TX_BUFFERS + SLOT * queue
        transmitter.poke(ring, struct.pack("<QII", where, FRAME | 60, 0))
        transmitter.write(0x6000 + 0x40 * queue, (transmitter.iova + ring) & 0xFFFFFFFF)
        transmitter.write(0x6004 + 0x40 * queue, (transmitter.iova + ring) >> 32)
        transmitter.write(0x6008 + 0x40 * queue, 128)
        transmitter.write(0x6028 + 0x40 * queue, 1 << 25)
        transmitter.write(0x6018 + 0x40 * queue, 1)
    transmitter.describe(0, FRAME | 60, data=numbered(0))
    assert sorted(transmitter.send(1)) == [numbered(i) for i in range(4)]
    assert transmitter.read(0x40D4) == 4


# Statistics


def test_receive_statistics(receiver: Bare) -> None:
    receiver.wire.arrive(
        ethernet(), of_length(61), of_length(124), of_length(252), of_length(508), of_length(1020),
        ethernet(to=BROADCAST),
    )  # fmt: skip
    receiver.step()
    sizes = [receiver.read(0x405C + 4 * i) for i in range(6)]  # 64, 65-127, ... 1024 and more
    assert sizes == [2, 1, 1, 1, 1, 1]
    assert receiver.read(0x4074) == 7
    assert receiver.read(0x4078) == 1  # BPRC
    assert receiver.read(0x407C) == 0  # MPRC
    octets = sum([60, 61, 124, 252, 508, 1020, 60]) + 7 * 4
    assert (receiver.read(0x4088), receiver.read(0x408C)) == (octets, 0)  # GORC, with the CRC
    assert (receiver.read(0x1034), receiver.read(0x1038)) == (octets - 28, 0)  # QBRC, without


@pytest.mark.parametrize(
    ("length", "bucket"),
    [(60, 0), (61, 1), (123, 1), (124, 2), (251, 2), (252, 3), (507, 3), (508, 4), (1019, 4)]
    + [(1020, 5), (1514, 5)],
)
def test_frames_are_counted_by_size(receiver: Bare, length: int, bucket: int) -> None:
    receiver.transmitter()
    receiver.describe(0, FRAME | length, data=of_length(length))
    receiver.wire.arrive(of_length(length))
    receiver.send(1)
    expected = [int(i == bucket) for i in range(6)]
    assert [receiver.read(0x405C + 4 * i) for i in range(6)] == expected
    assert [receiver.read(0x40D8 + 4 * i) for i in range(6)] == expected


def test_transmit_statistics(transmitter: Bare) -> None:
    for slot, to in enumerate([OTHER, BROADCAST, LPBK_FREE_MULTICAST, LPBK_FREE_MULTICAST]):
        transmitter.describe(slot, FRAME | 60, data=ethernet(to=to))
    transmitter.send(4)
    counts = {"GPTC": 0x4080, "TPT": 0x40D4, "MPTC": 0x40F0, "BPTC": 0x40F4, "GOTCL": 0x4090}
    first = {name: transmitter.read(offset) for name, offset in counts.items()}
    assert first == {"GPTC": 4, "TPT": 4, "MPTC": 2, "BPTC": 1, "GOTCL": 256}
    assert {transmitter.read(offset) for offset in counts.values()} == {0}


# Memory that was not mapped


def guarded(bare: Bare) -> bytes:
    """All of the mapped memory, to see that nothing in it changes."""
    return bare.peek(0, bare.memory.size)


BAD_BUFFERS = {
    "nowhere": lambda bare: 0xDEAD0000,
    "null": lambda bare: 0,
    "below": lambda bare: bare.iova - 1,
    "across the end": lambda bare: bare.iova + bare.memory.size - 59,
    "behind the end": lambda bare: bare.iova + bare.memory.size,
    "the last byte there is": lambda bare: 2**64 - 1,
    "wrapping round": lambda bare: 2**64 - 30,
    "a host address": lambda bare: bare.memory.address,
}


@pytest.mark.parametrize("which", BAD_BUFFERS)
def test_a_receive_buffer_that_is_not_mapped_is_a_fault(bare: Bare, which: str) -> None:
    bad = BAD_BUFFERS[which](bare)
    bare.receiver(buffers=[bare.iova + RX_BUFFERS, bad, *[bare.iova + RX_BUFFERS] * 6])
    bare.wire.arrive(numbered(1))
    bare.step()
    assert bare.model.fault() is None
    before = guarded(bare)
    bare.wire.arrive(numbered(2), numbered(3))
    bare.step()
    assert guarded(bare) == before
    fault = bare.model.fault()
    assert fault is not None
    assert f"60 bytes at {bad:#x}" in fault
    assert bare.read(0x1010) == 1  # the queue has stopped there
    with pytest.raises(Exception, match=r"^bare: DMA fault: .*not mapped"):
        bare.function.check()


@pytest.mark.parametrize("which", BAD_BUFFERS)
def test_a_transmit_buffer_that_is_not_mapped_is_a_fault(transmitter: Bare, which: str) -> None:
    bad = BAD_BUFFERS[which](transmitter)
    transmitter.describe(0, FRAME | 60, data=numbered(0))
    transmitter.describe(1, FRAME | 60, buffer=bad)
    transmitter.describe(2, FRAME | 60, data=numbered(2))
    assert transmitter.send(3) == [numbered(0)]
    fault = transmitter.model.fault()
    assert fault is not None
    assert f"60 bytes at {bad:#x}" in fault
    assert transmitter.peek(TX_RING + 16 + 12, 1) == b"\0"
    assert transmitter.read(0x6010) == 1
    assert transmitter.read(0x4080) == 1


def test_the_last_bytes_of_a_mapping_are_no_fault(bare: Bare) -> None:
    end = bare.iova + bare.memory.size
    bare.receiver(buffers=[end - 60] * 8)
    assert arrived(bare, numbered(5))
    assert bare.peek(bare.memory.size - 60, 60) == numbered(5)
    assert bare.model.fault() is None


@pytest.mark.parametrize("offset", [-128, 0x80000 - 128, 0x80000, 1 << 40])
def test_a_ring_that_is_not_mapped_is_a_fault_and_stays_off(bare: Bare, offset: int) -> None:
    base = bare.iova + offset
    before = guarded(bare)
    for block, enable in ((0x1000, 0x1028), (0x6000, 0x6028)):
        bare.write(block, base & 0xFFFFFFFF)
        bare.write(block + 4, base >> 32)
        bare.write(block + 8, 256)
        bare.write(enable, 1 << 25)
        bare.write(block + 0x18, 7)
    bare.write(0x3000, 1)
    bare.write(0x4A80, 1)
    bare.wire.arrive(numbered(1))
    bare.step()
    assert guarded(bare) == before
    assert f"256 bytes at {base:#x}" in (bare.model.fault() or "")
    assert bare.wire.sent() == []


@pytest.mark.parametrize("iova", [1 << 53, 1 << 60, (1 << 63) + (1 << 40), 2**64 - 0x80000])
def test_a_ring_at_a_high_device_address(bare: Bare, iova: int) -> None:
    bare.model.dma_unmap(bare.iova)
    bare.model.dma_map(iova, bare.memory.address, bare.memory.size)
    bare.iova = iova
    bare.poke(RX_RING, bytes(0x400))
    for i in range(8):
        bare.poke(0x80 + 16 * i, struct.pack("<QQ", iova + RX_BUFFERS + SLOT * i, 0))
    bare.write(0x1000, iova + 0x80 & 0xFFFFFFFF)  # RDBAL: not at the mapping's start
    bare.write(0x1004, iova + 0x80 >> 32)
    bare.write(0x1008, 128)
    bare.write(0x2100, 0x02000002)
    bare.write(0x1028, 1 << 25)
    bare.write(0x1018, 7)
    bare.write(0x3000, 1)
    bare.wire.arrive(numbered(9))
    bare.step()
    assert bare.model.fault() is None
    assert bare.peek(0x80 + 8, 4) == b"\3\0\0\0"
    assert bare.peek(RX_BUFFERS, 60) == numbered(9)
    bare.function._iovas[bare.memory.address] = iova


def test_unmapping_stops_the_rings_in_it(receiver: Bare) -> None:
    receiver.transmitter()
    receiver.describe(0, FRAME | 60, data=numbered(0))
    receiver.function.dma_unmap(receiver.memory)
    before = guarded(receiver)
    receiver.wire.arrive(numbered(1))
    assert receiver.send(1) == []
    assert guarded(receiver) == before


def test_the_device_never_writes_behind_a_ring_made_smaller() -> None:
    bare = Bare(size=16)
    bare.receiver()
    for number in range(10):
        assert arrived(bare, numbered(number), number)
    bare.write(0x1008, 128)  # RDLEN: 8 descriptors, and the head is 10
    bare.write(0x2100, 0x02000002)  # SRRCTL: the queue is configured anew
    bare.write(0x1018, 4)
    behind = bare.peek(RX_RING + 128, 128)
    bare.wire.arrive(*map(numbered, range(6)))
    bare.step()
    assert bare.peek(RX_RING + 128, 128) == behind
    bare.close()


def test_who_is_asked_before_an_address_is_unknown(bare: Bare) -> None:
    """The ring, then a buffer in another place; each time as often as the table has no answer."""
    base = bare.iova
    asked: list[int] = []
    answers = [[(base, bare.memory.address, bare.memory.size)], [], []]

    def ask() -> list[tuple[int, int, int]]:
        asked.append(len(asked))
        return answers[len(asked) - 1]

    bare.model.dma_unmap(base)
    bare.model.ask_for_memory(ask)
    bare.receiver(buffers=[base + RX_BUFFERS, 1 << 50, *[base + RX_BUFFERS] * 6])
    assert asked == [0]
    bare.wire.arrive(numbered(1))
    bare.step()
    assert asked == [0]
    assert bare.read(0x1010) == 1
    assert bare.model.fault() is None
    bare.wire.arrive(numbered(2))
    bare.step()
    assert asked == [0, 1]
    fault = bare.model.fault()
    assert fault is not None
    assert f"60 bytes at {1 << 50:#x}" in fault


def test_what_goes_wrong_while_it_is_asked(bare: Bare) -> None:
    def ask() -> list[tuple[int, int, int]]:
        raise IxyError("no memory: free some")

    bare.model.dma_unmap(bare.iova)
    bare.model.ask_for_memory(ask)
    bare.receiver()
    assert str(bare.model.failure) == "no memory: free some"
    assert bare.model.fault() is not None


# Legacy descriptors (7.2.3.2.1)

IC, VLE = 1 << 26, 1 << 30
LEGACY = EOP | IFCS | RS


@pytest.mark.parametrize("sizes", [[60], [14, 86], [50, 1, 500]])
def test_a_frame_of_legacy_descriptors(transmitter: Bare, sizes: list[int]) -> None:
    frame, at = of_length(sum(sizes)), 0
    for slot, size in enumerate(sizes):
        last = slot == len(sizes) - 1
        transmitter.describe(slot, LEGACY & ~(0 if last else EOP) | size, data=frame[at:][:size])
        at += size
    assert transmitter.send(len(sizes)) == [frame.ljust(60, b"\0")]
    for slot in range(len(sizes)):
        assert transmitter.peek(TX_RING + 16 * slot + 12, 1) == b"\1"  # DD
    assert transmitter.read(0x6010) == len(sizes)  # TDH


@pytest.mark.parametrize("size", [60, 77])
def test_a_legacy_descriptor_s_checksum_and_tag(transmitter: Bare, size: int) -> None:
    """CSS 14, CSO 20: the sum of all behind byte 14 goes to bytes 20 and 21."""
    frame = ethernet(bytes(range(size - 14)))
    transmitter.write(0x4A80, 0x81000001)  # DMATXCTL.VT, TE
    transmitter.describe(0, LEGACY | IC | VLE | 20 << 16 | size, data=frame)
    transmitter.poke(TX_RING + 12, struct.pack("<BBH", 0, 14, 0x2007))
    data = frame[14:] + bytes(size % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data)) % 0xFFFF
    summed = frame[:20] + struct.pack(">H", 0xFFFF - total) + frame[22:]
    assert transmitter.send(1) == [summed[:12] + b"\x81\0\x20\x07" + summed[12:]]


def test_a_legacy_checksum_outside_the_frame_is_none(transmitter: Bare) -> None:
    for slot, place in enumerate((59, 60, 255)):
        transmitter.describe(slot, LEGACY | IC | place << 16 | 60, data=numbered(slot))
    transmitter.describe(3, LEGACY | IC | 20 << 16 | 60, data=numbered(3))
    transmitter.poke(TX_RING + 16 * 3 + 12, struct.pack("<BBH", 0, 60, 0))  # CSS
    assert transmitter.send(4) == [numbered(slot) for slot in range(4)]
