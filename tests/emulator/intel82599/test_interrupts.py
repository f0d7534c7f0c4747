"""The emulated 82599's interrupts, by literal offset: causes, masks, vectors, throttling."""

import contextlib
import os
import time
from collections.abc import Iterator

import pytest

from rig import Bare, numbered

EICR, EICS, EIMS, EIMC, EIAC, EIAM, GPIE = 0x800, 0x808, 0x880, 0x888, 0x810, 0x890, 0x898
EICS_EX, EIMS_EX, EIMC_EX, EIAM_EX = 0xA90, 0xAA0, 0xAB0, 0xAD0
EITR, IVAR, IVAR_MISC, LINKS = 0x820, 0x900, 0xA00, 0x42A4
LSC, RX_MISS = 1 << 20, 1 << 17
MULTIPLE_MSIX, OCD, EIMEN, EIAME = 1 << 4, 1 << 5, 1 << 6, 1 << 30


class Ears:
    """An eventfd for each of some vectors."""

    def __init__(self, bare: Bare, kind: str, count: int = 1) -> None:
        self.bare, self.kind = bare, kind
        self.files = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(count)]
        for vector, file in enumerate(self.files):
            bare.model.connect_interrupt(kind, vector, file)

    def heard(self, vector: int = 0) -> int:
        """How many messages have come since the last call."""
        with contextlib.suppress(BlockingIOError):
            return os.eventfd_read(self.files[vector])
        return 0

    def close(self) -> None:
        for vector, file in enumerate(self.files):
            self.bare.model.connect_interrupt(self.kind, vector, None)
            os.close(file)


@pytest.fixture
def msix(bare: Bare) -> Iterator[Ears]:
    bare.write(GPIE, MULTIPLE_MSIX)
    ears = Ears(bare, "msix", 64)
    yield ears
    ears.close()


@pytest.fixture(params=["msix", "msi", "intx"])
def single(request: pytest.FixtureRequest, bare: Bare) -> Iterator[Ears]:
    ears = Ears(bare, request.param)
    yield ears
    ears.close()


@pytest.fixture
def intx(bare: Bare) -> Iterator[Ears]:
    ears = Ears(bare, "intx")
    yield ears
    ears.close()


# Registers


def test_causes_clear_when_they_are_read(bare: Bare) -> None:
    bare.write(EICS, 0x00100005)
    assert bare.read(EICS) == bare.read(EICS) == 0x00100005
    assert bare.read(EICR) == 0x00100005
    assert bare.read(EICR) == 0


def test_causes_clear_where_a_1_is_written(bare: Bare) -> None:
    bare.write(EICS, 0x4010000F)
    bare.write(EICR, 0x00100003)
    assert bare.read(EICS) == 0x4000000C


def test_other_clear_disable_keeps_the_queues_causes(bare: Bare) -> None:
    bare.write(GPIE, OCD)
    bare.write(EICS, 0x0010000F)
    assert bare.read(EICR) == 0x0010000F
    assert bare.read(EICR) == 0x0000000F
    bare.write(EICR, 0xF)
    assert bare.read(EICR) == 0


def test_the_highest_bit_is_reserved(bare: Bare) -> None:
    bare.write(EICS, 0xFFFFFFFF)
    bare.write(EIMS, 0xFFFFFFFF)
    assert (bare.read(EICR), bare.read(EIMS)) == (0x7FFFFFFF, 0x7FFFFFFF)


def test_masks_of_64_vectors(bare: Bare) -> None:
    bare.write(EIMS_EX, 0x00018003)
    bare.write(EIMS_EX + 4, 0x80000001)
    bare.write(EIMS, LSC)
    assert (bare.read(EIMS_EX), bare.read(EIMS_EX + 4)) == (0x00018003, 0x80000001)
    assert bare.read(EIMS) == LSC | 0x8003
    bare.write(EIMC_EX, 0x10001)
    bare.write(EIMC_EX + 4, 1)
    bare.write(EIMC, 2)
    assert (bare.read(EIMS_EX), bare.read(EIMS_EX + 4)) == (0x8000, 0x80000000)
    assert (bare.read(EIMC), bare.read(EIMC_EX), bare.read(EICS_EX)) == (0, 0, 0)


def test_automatic_masks_of_64_vectors(bare: Bare) -> None:
    bare.write(EIAM_EX, 0xFFFF0001)
    bare.write(EIAM_EX + 4, 0x1234)
    assert bare.read(EIAM) == 1
    bare.write(EIAM, LSC | 6)
    assert (bare.read(EIAM_EX), bare.read(EIAM_EX + 4)) == (0xFFFF0006, 0x1234)
    assert bare.read(EIAM) == LSC | 6


def test_a_reset_forgets_causes_and_masks(bare: Bare, msix: Ears) -> None:
    for offset in (EICS, EIMS, EIAM, EIMS_EX + 4, IVAR, IVAR_MISC, EITR):
        bare.write(offset, 0x00100003)
    assert [msix.heard(vector) for vector in range(2)] == [1, 1]
    bare.write(0, 1 << 26)
    registers = (EICR, EIMS, EIAM, EIMS_EX + 4, IVAR, IVAR_MISC, EITR, GPIE)
    assert [bare.read(offset) for offset in registers] == [0] * 8
    bare.write(EICS, 0x00100003)
    assert [msix.heard(vector) for vector in range(2)] == [0, 0]


def test_the_counter_of_an_interval_is_not_stored(bare: Bare) -> None:
    bare.write(EITR, 0x80200FF8)
    assert bare.read(EITR) == 0xFF8
    bare.write(0x12300, 0x28)
    assert bare.read(0x12300) == 0x28


# One vector for all causes: MSI, INTx, and MSI-X without GPIE.Multiple_MSIX


def test_an_enabled_cause_signals_once(bare: Bare, single: Ears) -> None:
    bare.write(EICS, 1)
    assert single.heard() == 0  # masked
    bare.write(EIMS, LSC)
    assert single.heard() == 0  # another one
    bare.write(EICS, LSC)
    assert single.heard() == 1
    bare.step()
    assert single.heard() == 0


def test_unmasking_a_cause_that_is_set_signals(bare: Bare, single: Ears) -> None:
    bare.write(EICS, 4)
    bare.write(EIMS, 4)
    assert single.heard() == 1
    bare.write(EIMC, 4)
    bare.write(EIMS, 4)
    assert single.heard() == 1


def test_a_cause_that_was_cleared_does_not_signal(bare: Bare, single: Ears) -> None:
    bare.write(EICS, 4)
    bare.read(EICR)
    bare.write(EIMS, 4)
    assert single.heard() == 0


def test_reading_causes_masks_what_should_mask_itself(bare: Bare, single: Ears) -> None:
    bare.write(EIAM, 0x0000FFFF)
    bare.write(EIMS, LSC | 3)
    bare.write(EICS, 1)
    assert single.heard() == 1
    assert bare.read(EIMS) == LSC | 3
    assert bare.read(EICR) == 1
    assert bare.read(EIMS) == LSC
    bare.write(EICS, 1)
    assert single.heard() == 0
    bare.write(EIMS, 1)
    assert single.heard() == 1


def test_packets_interrupt(bare: Bare, single: Ears) -> None:
    bare.write(IVAR, 0x00008281)  # rx queue 0: EICR bit 1, tx queue 0: bit 2
    bare.write(EIMS, 6)
    bare.receiver()
    bare.wire.arrive(numbered(1), numbered(2))
    bare.step()
    assert (single.heard(), bare.read(EICR)) == (1, 2)
    bare.transmitter()
    bare.describe(0, 0x2B300000 | 60, data=numbered(1))
    bare.send(1)
    assert (single.heard(), bare.read(EICR)) == (1, 4)


def test_a_queue_without_a_valid_allocation_is_silent(bare: Bare, single: Ears) -> None:
    bare.write(IVAR, 0x00000201)
    bare.write(EIMS, 0xFFFF)
    bare.receiver()
    bare.wire.arrive(numbered(1))
    bare.step()
    assert (single.heard(), bare.read(EICR)) == (0, 0)


def test_a_missed_packet_is_a_cause(bare: Bare) -> None:
    bare.receiver(tail=0)
    while bare.wire.arrive(*[numbered(1, 1500)] * 64) == 64:
        pass
    bare.step()
    assert bare.read(0x3FA0) > 0
    assert bare.read(EICR) == RX_MISS


def test_a_link_change_is_a_cause(bare: Bare, single: Ears) -> None:
    bare.write(EIMS, LSC)
    bare.step()
    assert single.heard() == 0
    for up in (False, True):
        bare.wire.up = up
        bare.step()
        assert (single.heard(), bare.read(EICR)) == (1, LSC)


def test_whoever_reads_the_link_first_is_told_too(bare: Bare, single: Ears) -> None:
    bare.write(EIMS, LSC)
    bare.wire.up = False
    assert bare.read(LINKS) == 0
    assert (single.heard(), bare.read(EICR)) == (1, LSC)


def test_a_line_that_is_still_up_signals_again(bare: Bare, intx: Ears) -> None:
    bare.write(EIMS, 3)
    bare.write(EICS, 3)
    assert intx.heard() == 1
    bare.model.unmask_intx()
    assert intx.heard() == 1
    bare.write(EICR, 1)
    bare.model.unmask_intx()
    assert intx.heard() == 1
    bare.read(EICR)
    bare.model.unmask_intx()
    assert intx.heard() == 0


def test_a_connection_hears_what_was_before_it(bare: Bare) -> None:
    bare.write(EIMS, 1)
    bare.write(EICS, 1)
    ears = Ears(bare, "msi")
    assert ears.heard() == 1
    ears.close()


def test_msi_and_msix_come_before_intx(bare: Bare, intx: Ears) -> None:
    msi = Ears(bare, "msi")
    msix = Ears(bare, "msix")
    bare.write(EIMS, 1)
    for ears in (msix, msi, intx):
        bare.write(EICS, 1)
        assert [each.heard() for each in (msix, msi, intx)] == [
            int(each is ears) for each in (msix, msi, intx)
        ]
        for vector in range(1 if ears is not intx else 0):
            bare.model.connect_interrupt(ears.kind, vector, None)
        for each in (msix, msi, intx):
            each.heard()
    msi.close()
    msix.close()


# MSI-X, a vector per queue


def test_queues_have_their_vectors(bare: Bare, msix: Ears) -> None:
    bare.write(IVAR, 0x0000BF85)  # rx: vector 5, tx: vector 63
    bare.write(EIMS_EX, 1 << 5)
    bare.write(EIMS_EX + 4, 1 << 31)
    bare.receiver()
    bare.wire.arrive(numbered(1))
    bare.step()
    assert [vector for vector in range(64) if msix.heard(vector)] == [5]
    bare.transmitter()
    bare.describe(0, 0x2B300000 | 60, data=numbered(1))
    bare.send(1)
    assert [vector for vector in range(64) if msix.heard(vector)] == [63]


def test_other_causes_share_a_vector(bare: Bare, msix: Ears) -> None:
    bare.write(IVAR_MISC, 0x00008300)
    bare.write(EIMS, LSC)
    bare.wire.up = False
    bare.step()
    assert [vector for vector in range(64) if msix.heard(vector)] == [3]
    assert bare.read(EICR) == LSC
    bare.write(IVAR_MISC, 0x00000300)  # not valid
    bare.wire.up = True
    bare.step()
    assert not any(msix.heard(vector) for vector in range(64))


def test_each_message_needs_an_event(bare: Bare, msix: Ears) -> None:
    bare.write(EIMS, 2)
    bare.write(EICS, 2)
    assert msix.heard(1) == 1
    for _ in range(3):
        bare.step()
    assert msix.heard(1) == 0
    bare.write(EICS, 2)
    assert msix.heard(1) == 1


def test_automatic_clear(bare: Bare, msix: Ears) -> None:
    bare.write(EIAC, 2)
    bare.write(EIMS, 6)
    bare.write(EICS, 6)
    assert (msix.heard(1), msix.heard(2)) == (1, 1)
    assert bare.read(EICR) == 4


def test_vectors_without_a_bit_in_eicr_clear_themselves(bare: Bare, msix: Ears) -> None:
    bare.write(EIMS_EX, 1 << 20)
    bare.write(EICS_EX, 1 << 20)
    assert msix.heard(20) == 1
    bare.write(EIMC_EX, 1 << 20)
    bare.write(EIMS_EX, 1 << 20)
    assert msix.heard(20) == 0


def test_automatic_mask(bare: Bare, msix: Ears) -> None:
    bare.write(GPIE, MULTIPLE_MSIX | EIAME)
    bare.write(EIAM_EX, 1 << 20 | 2)
    bare.write(EIMS_EX, 1 << 20 | 6)
    bare.write(EICS_EX, 1 << 20 | 6)
    assert [vector for vector in range(64) if msix.heard(vector)] == [1, 2, 20]
    assert bare.read(EIMS_EX) == 4
    bare.read(EICR)
    assert bare.read(EIMS_EX) == 4  # reading masks only without EIAME


def test_automatic_mask_of_other_causes(bare: Bare, msix: Ears) -> None:
    bare.write(GPIE, MULTIPLE_MSIX | EIAME)
    bare.write(IVAR_MISC, 0x8100)
    bare.write(EIAM, LSC)
    bare.write(EIMS, LSC | RX_MISS)
    bare.write(EICS, LSC)
    assert (msix.heard(1), bare.read(EIMS)) == (1, RX_MISS)


def test_a_vector_nobody_listens_to_loses_its_message(bare: Bare) -> None:
    ears = Ears(bare, "msix", 2)
    bare.write(GPIE, MULTIPLE_MSIX)
    bare.write(EIMS_EX, 0xFF)
    bare.write(EICS_EX, 0xFF)
    assert (ears.heard(0), ears.heard(1)) == (1, 1)
    assert bare.model.port[0]["pending"] == 0
    ears.close()


# Throttling


def test_messages_keep_their_interval(bare: Bare, msix: Ears) -> None:
    bare.write(EITR + 4, 500 << 3)  # 1.024 ms
    bare.write(EIAC, 0xFFFF)
    bare.write(EIMS, 2)
    begin = time.monotonic()
    messages = events = 0
    while time.monotonic() - begin < 0.1:
        bare.write(EICS, 2)
        events += 1
        bare.step()
        messages += msix.heard(1)
    seconds = time.monotonic() - begin
    assert 2 <= messages <= seconds / 0.001024 + 1
    assert events >= messages  # and many more, where the machine lets this loop run


def test_a_throttled_message_comes_when_its_time_has_come(bare: Bare, msix: Ears) -> None:
    bare.write(EITR, 500 << 3)
    bare.write(EIMS, 1)
    bare.write(EICS, 1)
    bare.write(EICS, 1)
    assert msix.heard() == 1
    bare.step()
    assert msix.heard() == 0
    time.sleep(0.0011)
    bare.step()
    assert msix.heard() == 1


def test_a_throttled_message_is_not_sent_for_a_cause_that_was_cleared(
    bare: Bare, msix: Ears, single: Ears
) -> None:
    bare.write(EITR, 500 << 3)
    bare.write(EIMS, 1)
    for _ in range(2):
        bare.write(EICS, 1)
    msix.heard()
    single.heard()
    bare.read(EICR)
    time.sleep(0.0011)
    bare.step()
    assert (msix.heard(), single.heard()) == (0, 0)


@pytest.mark.parametrize(("word", "heard"), [(500 << 3, 1), (500 << 3 | 1 << 31, 0)])
def test_writing_the_interval_without_cnt_wdis_ends_the_current_one(
    bare: Bare, msix: Ears, word: int, heard: int
) -> None:
    bare.write(EITR, 511 << 3)
    bare.write(EIMS, 1)
    bare.write(EICS, 1)
    assert msix.heard() == 1
    bare.write(EITR, word)
    bare.write(EICS, 1)
    assert msix.heard() == heard


def test_the_counter_can_be_written(bare: Bare, msix: Ears) -> None:
    bare.write(EITR, 127 << 21)  # 508 intervals of 2.048 us are left
    bare.write(EIMS, 1)
    bare.write(EICS, 1)
    assert msix.heard() == 0
    time.sleep(0.0011)
    bare.step()
    assert msix.heard() == 1


def test_what_software_sets_can_be_immediate(bare: Bare, msix: Ears) -> None:
    bare.write(GPIE, MULTIPLE_MSIX | EIMEN)
    bare.write(EITR, 511 << 3)
    bare.write(EIMS, 1)
    for _ in range(3):
        bare.write(EICS, 1)
        assert msix.heard() == 1
