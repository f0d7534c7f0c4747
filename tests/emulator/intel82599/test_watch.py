"""Registers written as plain memory, noticed by the model: as writes, once, in a useful order."""

import threading
import time

import numpy as np
import pytest

from ixy.compiled import JIT
from ixy.emulator.intel82599.datapath import run
from ixy.memory.ordered import address_of
from rig import Bare, numbered

WHOLE = (0, 0x20000)
PAGE = (0x6000, 0x1000)


def stores(bare: Bare, *pairs: tuple[int, int]) -> None:
    for offset, value in pairs:
        bare.model.registers[offset // 4] = value


def watched(*ranges: tuple[int, int]) -> tuple[Bare, list[tuple[int, int]]]:
    """A device, and the writes that it is given."""
    bare = Bare()
    seen: list[tuple[int, int]] = []
    write = bare.model.write

    def note(offset: int, value: int) -> None:
        seen.append((offset, value))
        write(offset, value)

    bare.model.watch._write = note
    for start, size in ranges:
        bare.model.watch.add(start, size)
    return bare, seen


def test_nothing_is_noticed_where_nothing_was_written() -> None:
    bare, seen = watched(WHOLE)
    bare.write(0x5200, 7)
    bare.write(0x5080, 0x700)
    bare.write(0x000, 1 << 26)  # a reset
    bare.model.config_write(4, 2, 6)
    bare.model.watch.notice()
    assert seen == []
    bare.model.close()


def test_a_store_is_one_write_in_the_order_of_the_offsets() -> None:
    bare, seen = watched(PAGE)
    stores(bare, (0x6028, 1 << 25), (0x6000, 0x1000), (0x6068, 1 << 25))
    bare.model.watch.notice()
    bare.model.watch.notice()
    assert seen == [(0x6000, 0x1000), (0x6028, 1 << 25), (0x6068, 1 << 25)]
    stores(bare, (0x6028, 1 << 25))  # what is there already
    bare.model.watch.notice()
    assert len(seen) == 3
    bare.model.close()


def test_heads_tails_and_what_is_no_register_are_left_out() -> None:
    bare, seen = watched(PAGE)
    stores(bare, (0x6010, 1), (0x6018, 2), (0x6020, 3))
    bare.model.watch.notice()
    assert seen == []
    bare.model.close()


def test_only_the_ranges_count() -> None:
    bare, seen = watched((0x5200, 8), (0x5210, 4))
    stores(bare, (0x51FC, 1), (0x5200, 2), (0x5204, 3), (0x5208, 4), (0x5210, 5), (0x5214, 6))
    bare.model.watch.notice()
    assert seen == [(0x5200, 2), (0x5204, 3), (0x5210, 5)]
    bare.model.watch.clear()
    stores(bare, (0x5200, 9))
    bare.model.watch.notice()
    assert len(seen) == 3
    bare.model.close()


def test_registers_that_do_not_keep_what_is_written() -> None:
    """Interrupt masks, by stores alone: set by ones here, cleared by ones there."""
    bare, seen = watched(WHOLE)
    stores(bare, (0x0880, 0x30))  # EIMS
    bare.model.watch.notice()
    stores(bare, (0x0888, 0x10))  # EIMC
    bare.model.watch.notice()
    assert bare.read(0x0880) == 0x20
    assert bare.model.registers[0x0888 // 4] == 0  # so that the same again is a change again
    stores(bare, (0x0888, 0x20))
    bare.model.watch.notice()
    assert bare.read(0x0880) == 0
    assert [offset for offset, _ in seen] == [0x0880, 0x0888, 0x0888]
    bare.model.close()


def test_a_reset_by_a_store() -> None:
    bare, _ = watched(WHOLE)
    stores(bare, (0x5200, 7), (0, 1 << 26))
    bare.model.watch.notice()
    assert bare.model.registers[0] & 1 << 26 == 0
    assert bare.read(0x10010) & 1 << 9  # EEC.ARD
    bare.model.watch.notice()
    assert bare.model.registers[0] & 1 << 26 == 0
    bare.model.close()


def test_a_register_written_under_its_other_address() -> None:
    bare, seen = watched(WHOLE)
    stores(bare, (0x2104, 0x02000004))  # SRRCTL[1], as on the 82598
    bare.model.watch.notice()
    bare.model.watch.notice()
    assert seen == [(0x2104, 0x02000004)]
    assert bare.read(0x1054) == 0x02000004
    bare.model.close()


def test_what_is_stored_meanwhile_is_not_lost() -> None:
    """The driver stores again while the first store is being obeyed."""
    bare, seen = watched(PAGE)
    note = bare.model.watch._write

    def race(offset: int, value: int) -> None:
        if value == 0x1000:
            stores(bare, (0x6000, 0x2000))
        note(offset, value)

    bare.model.watch._write = race
    stores(bare, (0x6000, 0x1000))
    bare.model.watch.notice()
    assert bare.model.registers[0x6000 // 4] == 0x2000
    bare.model.watch.notice()
    assert seen == [(0x6000, 0x1000), (0x6000, 0x2000)]
    bare.model.close()


@pytest.mark.parametrize("page", [PAGE, WHOLE])
def test_the_running_data_path_asks_for_help_at_once(page: tuple[int, int]) -> None:
    bare, _ = watched(page)
    ports = np.array([address_of(bare.model.port)], np.uint64)
    run(ports, np.array([time.monotonic_ns() + 1]), 64, 0)  # compiled
    ended: list[float] = []
    seconds = 20

    def slice_() -> None:
        run(ports, np.array([time.monotonic_ns() + seconds * 10**9]), 64, 0)
        ended.append(time.monotonic())

    thread = threading.Thread(target=slice_)
    thread.start()
    time.sleep(0.05)
    assert not ended
    stores(bare, (0x6028, 1 << 25))
    begin = time.monotonic()
    thread.join()
    assert ended[0] - begin < (1 if JIT else 5)
    bare.model.close()


def test_a_ring_that_is_rewound_by_stores_begins_at_its_new_head() -> None:
    bare, _ = watched(PAGE)
    bare.transmitter()
    for slot in range(3):
        bare.describe(slot, 0x2B00003C | 3 << 20, data=numbered(slot))
    assert bare.send(3) == [numbered(i) for i in range(3)]
    assert bare.model.registers[0x6010 // 4] == 3
    bare.describe(0, 0x2B00003C | 3 << 20, data=numbered(7))
    # off and on again before anybody looks: only the head tells
    stores(bare, (0x6028, 0), (0x6010, 0), (0x6018, 0), (0x6028, 1 << 25), (0x6018, 1))
    bare.step()
    assert bare.wire.sent() == [numbered(7)]
    stores(bare, (0x6010, 0xFFFFFFFF))  # no such descriptor
    bare.step()
    assert bare.wire.sent() == []
    bare.model.close()


def test_a_driver_that_has_all_registers_as_memory_is_shown_what_reads_would_give() -> None:
    bare, seen = watched()
    model = bare.model
    model.watch.add_all()
    assert seen == []
    for offset in (0x8, 0x10010, 0x42A4, 0x8D04, 0xA200, 0xA204, 0x5400, 0x5404, 0xA208, 0x2104):
        assert model.registers[offset // 4] == bare.read(offset), hex(offset)
    assert model.registers[0x42A4 // 4] == 0x70000000  # LINKS: up, 10 Gbit/s
    stores(bare, (0x2104, 0x02000004), (0x8D00, 2))  # SRRCTL[1]; SECRXCTRL.RX_DIS
    model.watch.notice()
    assert seen == [(0x2104, 0x02000004), (0x8D00, 2)]
    assert model.registers[0x1054 // 4] == 0x02000004
    assert model.registers[0x8D04 // 4] == 1
    bare.wire.up = False
    model.service()
    assert model.registers[0x42A4 // 4] == 0
    stores(bare, (0, 1 << 26))
    model.service()
    assert model.registers[0x5400 // 4] == 2
    assert model.registers[0x2104 // 4] == bare.read(0x2104) == 0x402
    assert len(seen) == 3
    model.watch.clear()
    bare.wire.up = True
    model.service()
    assert model.registers[0x42A4 // 4] == 0  # nobody looks any more
    bare.model.close()


def test_a_store_that_is_not_noticed_yet_is_not_shown_away() -> None:
    bare, seen = watched()
    bare.model.watch.add_all()
    stores(bare, (0x5404, 7))  # RAH[0] by its other address
    bare.model.watch._show()
    assert bare.model.registers[0x5404 // 4] == 7
    bare.model.watch.notice()
    assert seen == [(0x5404, 7)]
    assert bare.read(0xA204) == 7
    bare.model.close()


def test_statistics_stand_still_in_memory(receiver: Bare) -> None:
    receiver.model.watch.add_all()
    receiver.wire.arrive(numbered(1))
    receiver.step()
    assert receiver.model.registers[0x4074 // 4] == 0
    assert receiver.read(0x4074) == 1
