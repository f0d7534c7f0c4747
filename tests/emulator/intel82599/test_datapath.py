"""The emulated 82599's data path, descriptor by descriptor: bytes in memory, frames on the wire."""

import struct
import zlib

import pytest

from rig import (
    BROADCAST,
    MAC,
    OTHER,
    RX_BUFFERS,
    RX_RING,
    SLOT,
    TX_RING,
    Bare,
    Bench,
    arrived,
    ethernet,
    numbered,
    of_length,
    tagged,
)

EOP, IFCS, RS, DEXT = 1 << 24, 1 << 25, 1 << 27, 1 << 29
DATA, CONTEXT = 3 << 20, 2 << 20
FRAME = EOP | IFCS | RS | DEXT | DATA
LPBK_FREE_MULTICAST = bytes.fromhex("0300aabbccdd")


# Receive descriptors


def test_a_received_descriptor_as_the_device_writes_it(receiver: Bare) -> None:
    assert arrived(receiver, of_length(100))
    #  info (no type), hash 0; status DD | EOP, errors 0; length 100; VLAN 0
    assert receiver.received(0) == bytes.fromhex("00000000 00000000 03000000 6400 0000")
    assert receiver.peek(RX_BUFFERS, 100) == of_length(100)
    assert receiver.peek(RX_BUFFERS + 100, 100) == bytes(100)
    assert receiver.read(0x1010) == 1  # RDH


def test_a_group_address_is_marked_in_the_status(receiver: Bare) -> None:
    receiver.wire.arrive(ethernet(to=BROADCAST), ethernet(to=LPBK_FREE_MULTICAST), ethernet())
    receiver.step()
    assert [receiver.received(slot)[8] for slot in range(3)] == [0x83, 0x83, 0x03]  # PIF


def test_a_vlan_tag_is_marked_and_stays_in_the_frame(receiver: Bare) -> None:
    assert arrived(receiver, tagged(of_length(100)))
    assert receiver.received(0)[8:] == bytes.fromhex("0b000000 6800 0000")  # VP, length 104
    assert receiver.peek(RX_BUFFERS, 104) == tagged(of_length(100))


def test_a_frame_longer_than_a_buffer_takes_several_descriptors(bare: Bare) -> None:
    bare.buffer_kib = 1
    bare.receiver()
    bare.write(0x4240, 0x00010407)  # HLREG0.JUMBOEN
    bare.write(0x4268, 9018 << 16)  # MAXFRS
    frame = of_length(2500)
    bare.wire.arrive(frame, numbered(1))
    bare.step()
    words = [struct.unpack("<QIHH", bare.received(slot)) for slot in range(4)]
    assert [word[1:] for word in words] == [(1, 1024, 0), (1, 1024, 0), (3, 452, 0), (3, 60, 0)]
    parts = [bare.peek(RX_BUFFERS + SLOT * slot, 1024) for slot in range(3)]
    assert b"".join(parts)[:2500] == frame
    assert bare.read(0x1010) == 4


def test_a_frame_waits_until_there_are_descriptors_for_all_of_it(bare: Bare) -> None:
    bare.buffer_kib = 1
    bare.receiver(tail=2)
    bare.write(0x4240, 0x00010407)
    bare.write(0x4268, 9018 << 16)
    bare.wire.arrive(of_length(2500))
    bare.step()
    assert bare.received(0)[8:] == bytes(8)
    bare.write(0x1018, 3)  # RDT
    bare.step()
    assert [bare.received(slot)[8] for slot in range(3)] == [1, 1, 3]


def test_a_frame_that_fills_its_buffer_needs_one_descriptor(bare: Bare) -> None:
    bare.receiver(tail=1)
    bare.write(0x4240, 0x00010407)
    bare.write(0x4268, 9018 << 16)
    bare.wire.arrive(of_length(2048))
    bare.step()
    assert bare.received(0)[8:] == struct.pack("<IHH", 3, 2048, 0)


def test_the_ring_wraps_and_one_descriptor_stays_empty(receiver: Bare) -> None:
    for number in range(20):
        receiver.wire.arrive(numbered(number))
        receiver.step()
        slot = number % 8
        assert receiver.received(slot)[8] == 3, number
        assert receiver.peek(RX_BUFFERS + SLOT * slot, 60) == numbered(number)
        again = struct.pack("<QQ", receiver.iova + RX_BUFFERS + SLOT * slot, 0)
        receiver.poke(RX_RING + 16 * slot, again)
        receiver.write(0x1018, slot)
        assert receiver.read(0x1010) == (number + 1) % 8
    receiver.wire.arrive(*map(numbered, range(10)))
    receiver.step()
    assert sum(receiver.received(slot)[8] & 1 for slot in range(8)) == 7


def test_a_tail_outside_the_ring_offers_no_descriptors(bare: Bare) -> None:
    for tail in (8, 9, 0xFFFF, 0xFFFFFFFF):
        bare.receiver(tail=tail)
        bare.wire.arrive(numbered(1))
        bare.step()
        assert [bare.received(slot)[8] for slot in range(8)] == [0] * 8
        assert bare.model.fault() is None


# CRC


@pytest.mark.parametrize("length", [60, 61, 100, 1514])
def test_a_crc_that_is_not_stripped_follows_the_frame(receiver: Bare, length: int) -> None:
    receiver.write(0x4240, 0x00010401)  # HLREG0.RXCRCSTRP = 0
    receiver.write(0x2F00, 0x00000008)  # RDRXCTL.CRCSTRIP = 0
    frame = of_length(length)
    assert arrived(receiver, frame)
    assert receiver.received(0)[8:] == struct.pack("<IHH", 3, length + 4, 0)
    crc = zlib.crc32(frame).to_bytes(4, "little")
    assert receiver.peek(RX_BUFFERS, length + 4) == frame + crc
    assert receiver.read(0x1034) == length + 4  # QBRC_L: what was posted


def test_a_crc_that_comes_in_a_descriptor_of_its_own(bare: Bare) -> None:
    bare.buffer_kib = 1
    bare.receiver()
    bare.write(0x4240, 0x00010401)
    bare.write(0x2F00, 0x00000008)
    frame = of_length(1022)
    assert arrived(bare, frame)
    lengths = [struct.unpack("<I", bare.received(slot)[12:])[0] for slot in (0, 1)]
    assert lengths == [1024, 2]
    crc = zlib.crc32(frame).to_bytes(4, "little")
    assert bare.peek(RX_BUFFERS, 1024) == frame + crc[:2]
    assert bare.peek(RX_BUFFERS + SLOT, 2) == crc[2:]


# Frame sizes


@pytest.mark.parametrize(
    ("mfs", "jumbo", "longest"), [(1518, False, 1514), (9018, False, 1514), (9018, True, 9014)]
)
@pytest.mark.parametrize("tag", [0, 4])
def test_longer_frames_than_allowed_are_counted_and_dropped(
    bare: Bare, mfs: int, jumbo: bool, longest: int, tag: int
) -> None:
    bare.receiver()
    bare.write(0x4240, 0x00010403 | jumbo << 2)
    bare.write(0x4268, mfs << 16)
    shape = tagged if tag else bytes
    bare.wire.arrive(shape(of_length(longest + 1)), shape(of_length(longest)))
    bare.step()
    assert bare.read(0x40AC) == 1  # ROC
    assert bare.read(0x4074) == 1  # GPRC
    assert bare.read(0x40D0) == 2  # TPR
    parts = [struct.unpack_from("<H", bare.received(slot), 12)[0] for slot in range(8)]
    assert sum(parts) == longest + tag


def test_shorter_frames_than_allowed_are_counted_and_dropped(receiver: Bare) -> None:
    receiver.wire.arrive(of_length(59), of_length(14), of_length(60))
    receiver.step()
    assert receiver.read(0x40A4) == 2  # RUC
    assert receiver.read(0x4074) == 1
    assert struct.unpack_from("<H", receiver.received(0), 12)[0] == 60


# Address filters (7.1.1.1)


UPE, MPE, BAM, AV = 1 << 9, 1 << 8, 1 << 10, 1 << 31


@pytest.mark.parametrize(
    ("to", "fctrl", "accepted"),
    [
        (MAC, 0, True),
        (OTHER, 0, False),
        (OTHER, UPE, True),
        (OTHER, MPE | BAM, False),
        (BROADCAST, 0, False),
        (BROADCAST, BAM, True),
        (BROADCAST, MPE, True),
        (BROADCAST, UPE, False),
        (LPBK_FREE_MULTICAST, 0, False),
        (LPBK_FREE_MULTICAST, UPE | BAM, False),
        (LPBK_FREE_MULTICAST, MPE, True),
    ],
)
def test_filters(receiver: Bare, to: bytes, fctrl: int, accepted: bool) -> None:
    receiver.write(0x5080, fctrl)
    assert arrived(receiver, ethernet(to=to)) is accepted
    assert receiver.read(0x4074) == accepted  # GPRC counts what passes
    assert receiver.read(0x40D0) == 1  # TPR counts all


def set_address(bare: Bare, index: int, address: bytes, valid: bool = True) -> None:
    bare.write(0xA200 + 8 * index, int.from_bytes(address[:4], "little"))
    bare.write(0xA204 + 8 * index, int.from_bytes(address[4:], "little") | valid << 31)


@pytest.mark.parametrize("index", [0, 1, 15, 16, 127])
@pytest.mark.parametrize("address", [OTHER, LPBK_FREE_MULTICAST])
def test_each_receive_address_counts_while_it_is_valid(
    receiver: Bare, index: int, address: bytes
) -> None:
    receiver.write(0x5080, 0)
    set_address(receiver, index, address, valid=False)
    assert not arrived(receiver, ethernet(to=address))
    set_address(receiver, index, address)
    assert arrived(receiver, ethernet(to=address))
    assert not arrived(receiver, ethernet(to=address[:5] + b"\x77"), 1)
    set_address(receiver, index, address, valid=False)
    assert not arrived(receiver, ethernet(to=address), 1)


def group_bits(address: bytes, mode: int) -> int:
    """MCSTCTRL.MO: the datasheet's 12 bits of a group address, its byte 0 being bits 7:0."""
    b4, b5 = address[4], address[5]
    parts = [b4 >> 4 | b5 << 4, b4 >> 3 | b5 << 5, b4 >> 2 | b5 << 6, b4 | b5 << 8]
    return parts[mode] & 0xFFF


@pytest.mark.parametrize("mode", range(4))
@pytest.mark.parametrize("group", ["01005e0000fb", "333300000001", "0180c2fea5ff"])
def test_the_multicast_table(receiver: Bare, mode: int, group: str) -> None:
    address = bytes.fromhex(group)
    receiver.write(0x5080, 0)
    bits = group_bits(address, mode)
    receiver.write(0x5200 + 4 * (bits >> 5), 1 << (bits & 31))
    receiver.write(0x5090, mode)  # MFE = 0: the table is not heeded
    assert not arrived(receiver, ethernet(to=address))
    receiver.write(0x5090, 4 | mode)
    assert arrived(receiver, ethernet(to=address))
    receiver.write(0x5200 + 4 * (bits >> 5), ~(1 << (bits & 31)) & 0xFFFFFFFF)
    assert not arrived(receiver, ethernet(to=address), 1)


def test_the_multicast_table_is_not_for_broadcasts_or_single_stations(receiver: Bare) -> None:
    receiver.write(0x5080, 0)
    receiver.write(0x5090, 4)
    for index in range(128):
        receiver.write(0x5200 + 4 * index, 0xFFFFFFFF)
    assert not arrived(receiver, ethernet(to=BROADCAST))
    assert not arrived(receiver, ethernet(to=OTHER))
    assert arrived(receiver, ethernet(to=LPBK_FREE_MULTICAST))


# Missed frames


def test_without_descriptors_frames_wait_then_the_packet_buffer_is_full(bare: Bare) -> None:
    bare.receiver(tail=0)
    frames = [numbered(i, 1500) for i in range(400)]
    while (taken := bare.wire.arrive(*frames)) == len(frames):
        bare.step()
    assert taken < len(frames)
    for _ in range(20):
        bare.step(1000)
    missed = bare.read(0x3FA0)  # RXMPC
    assert missed > 0
    assert bare.read(0x1430) == 0  # QPRDC
    bare.write(0x1018, 7)
    bare.step()
    assert bare.read(0x1030) == 7  # QPRC: those that waited
    assert bare.received(0)[8] == 3


def test_with_drop_en_frames_without_a_descriptor_are_dropped_at_once(bare: Bare) -> None:
    bare.receiver(tail=2)
    bare.write(0x2100, 0x12000002)  # SRRCTL.DROP_EN
    bare.wire.arrive(*map(numbered, range(5)))
    bare.step()
    assert (bare.read(0x1030), bare.read(0x1430), bare.read(0x3FA0)) == (2, 3, 0)
    assert bare.read(0x4074) == 5  # GPRC counts also what is dropped later


def test_a_frame_that_waits_is_counted_once(bare: Bare) -> None:
    bare.receiver(tail=0)
    bare.wire.arrive(numbered(1))
    for _ in range(5):
        bare.step()
    bare.write(0x1018, 7)
    bare.step()
    assert (bare.read(0x4074), bare.read(0x40D0), bare.read(0x1030)) == (1, 1, 1)


def test_a_queue_that_is_off_drops(bare: Bare) -> None:
    bare.receiver()
    bare.write(0x1028, 0)  # RXDCTL
    bare.wire.arrive(numbered(1), numbered(2))
    bare.step()
    assert bare.read(0x1430) == 2
    assert [bare.received(slot)[8] for slot in range(8)] == [0] * 8


def test_a_patient_wire_loses_nothing() -> None:
    wire = Bench(patient=True)
    bare = Bare(wire=wire)
    bare.receiver(tail=0)
    count = 0
    while wire.arrive(numbered(count, 1500)):
        count += 1
    bare.step()
    got = 0
    for tail in range(1, 8):
        bare.write(0x1018, tail)
        bare.step()
        got += 1
        assert bare.peek(RX_BUFFERS + SLOT * (tail - 1), 1500) == numbered(tail - 1, 1500)
    assert bare.read(0x3FA0) == 0
    assert bare.read(0x1030) == got == 7
    bare.close()


def test_what_a_port_that_does_not_receive_loses_is_counted() -> None:
    bare = Bare(wire=(wire := Bench()))
    count = 0
    while wire.arrive(numbered(count, 1500)):
        count += 1
    bare.step()
    assert wire.drops() == {"wire_lost": count}
    assert count > 300
    bare.close()


@pytest.mark.parametrize("what", ["receiver", "bus"])
def test_nothing_moves_while_the_receiver_or_the_bus_master_is_off(
    receiver: Bare, what: str
) -> None:
    if what == "bus":
        receiver.function.config_write(4, 2, 0x0002)
    else:
        receiver.write(0x3000, 0)
    assert not arrived(receiver, numbered(1))
    receiver.function.config_write(4, 2, 0x0006)
    receiver.write(0x3000, 1)
    receiver.step()
    assert receiver.received(0)[8] == 3


def test_frames_wait_for_a_link_that_takes_its_time() -> None:
    bare = Bare(wire=Bench(patient=True))
    bare.model.link_time = 10**15
    bare.receiver()
    bare.model.restart_link()
    assert not arrived(bare, numbered(1))
    bare.model.link_time = 0
    bare.model.restart_link()
    bare.step()
    assert bare.received(0)[8] == 3
    bare.close()


def test_gio_disable_ends_bus_mastering(receiver: Bare) -> None:
    assert receiver.read(8) & 1 << 19
    receiver.write(0, 1 << 2)  # CTRL.GIO_DIS
    assert not receiver.read(8) & 1 << 19
    assert not arrived(receiver, numbered(1))
    receiver.write(0, 0)
    receiver.step()
    assert receiver.received(0)[8] == 3


# Transmit descriptors


def test_a_sent_descriptor_is_written_back(transmitter: Bare) -> None:
    frame = of_length(100)
    transmitter.describe(0, FRAME | 100, data=frame)
    assert transmitter.send(1) == [frame]
    done = transmitter.peek(TX_RING, 16)
    assert done[12:] == bytes.fromhex("01000000")  # DD
    assert transmitter.read(0x6010) == 1  # TDH
    assert transmitter.read(0x6018) == 1


# Rings that change while they are used, and legacy descriptors


@pytest.mark.parametrize("head", [5, 7, 8, 10])
def test_a_ring_made_shorter_while_it_is_used(head: int) -> None:
    """A head that is outside then must not be used: the queues stop until they are enabled anew."""
    bare = Bare(size=16)
    bare.receiver()
    bare.transmitter()
    for slot in range(head):
        bare.describe(slot, FRAME | 60, data=numbered(slot))
        assert arrived(bare, numbered(slot), slot)
    assert len(bare.send(head)) == head
    bare.describe(head, FRAME | 60, data=numbered(head))
    for length, control, value in ((0x1008, 0x2100, 0x02000002), (0x6008, 0x6028, 1 << 25)):
        bare.write(length, 128)  # RDLEN, TDLEN: 8 descriptors
        bare.write(control, value)  # SRRCTL, TXDCTL
    bare.write(0x1018, (head + 2) % 8)  # RDT
    inside = head < 8
    assert arrived(bare, numbered(head), head) == inside
    assert bare.send((head + 1) % 8) == ([numbered(head)] if inside else [])
    for control in (0x1028, 0x6028):
        bare.write(control, 0)
    bare.receiver()
    bare.write(0x6028, 1 << 25)
    bare.describe(0, FRAME | 60, data=numbered(99))
    assert bare.send(1) == [numbered(99)]
    bare.wire.arrive(numbered(98))
    bare.step()
    assert bare.peek(RX_BUFFERS, 60) == numbered(98)
    assert bare.read(0x1010) == 1
    bare.close()


@pytest.mark.parametrize("length", [60, 100, 2500])
def test_a_legacy_write_back_by_its_bytes(bare: Bare, length: int) -> None:
    """Section 7.1.5: length, no checksum, DD and EOP, no errors, no tag; the address stays."""
    bare.receiver()
    bare.write(0x2100, 2)  # SRRCTL: legacy
    bare.write(0x4240, 0x00010407)  # HLREG0.JUMBOEN
    bare.write(0x4268, 9018 << 16)  # MAXFRS
    frame = of_length(length)
    bare.wire.arrive(frame)
    bare.step()
    for slot, part in enumerate([2048, length - 2048] if length > 2048 else [length]):
        address = struct.pack("<Q", bare.iova + RX_BUFFERS + SLOT * slot)
        status = 1 if length > 2048 and slot == 0 else 3
        assert bare.received(slot) == address + struct.pack("<HHBBH", part, 0, status, 0, 0)
        assert bare.peek(RX_BUFFERS + SLOT * slot, part) == frame[2048 * slot :][:part]


def test_a_legacy_write_back_has_the_tag_and_what_checksums_say(bare: Bare) -> None:
    bare.receiver()
    bare.write(0x2100, 2)
    bare.write(0x1028, 1 << 25 | 1 << 30)  # RXDCTL.ENABLE, VME
    bare.wire.arrive(tagged(of_length(100), 0x2007))
    bare.step()
    assert bare.received(0)[8:] == struct.pack("<HHBBH", 100, 0, 0x0B, 0, 0x2007)  # VP
