"""Planted faults: each ends in a named error of the driver within its time-out, none in a hang."""

import contextlib
import time
from collections.abc import Iterator

import pytest

from ixy.address import open_device
from ixy.datasheets.registers import DeviceTimeout
from ixy.emulator.intel82599.faults import FAULTS
from ixy.emulator.intel82599.model import Intel82599
from ixy.errors import IxyError
from ixy.memory.pool import Mempool
from rig import MAC, Bench, numbered


@pytest.fixture
def pool() -> Iterator[Mempool]:
    pool = Mempool(2048)
    yield pool
    assert pool.available == 2048
    pool.close()


def faulty(fault: str, pool: Mempool, wire: str = "loopback"):
    return open_device(f"emu:{wire}?fault={fault}", pools=[pool])


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ("stuck-reset", DeviceTimeout, r"no CTRL.LNK_RST = 0, CTRL.RST = 0 within 1 s.*8\.2\.3"),
        ("rxdctl-stuck", DeviceTimeout, r"no RXDCTL\[0\].ENABLE = 1 within 1 s.*8\.2\.3"),
        ("bad-eeprom", IxyError, r"emu:loopback.*no address from its EEPROM"),
    ],
)
def test_a_device_that_does_not_start(fault: str, error: type, words: str, pool: Mempool) -> None:
    begin = time.monotonic()
    with pytest.raises(error, match=words):
        faulty(fault, pool)
    assert time.monotonic() - begin < 30  # compiling included


def test_no_link(pool: Mempool) -> None:
    with faulty("no-link", pool) as device:
        assert device.link_speed() == 0
        with pytest.raises(IxyError, match="no link"):
            device.wait_for_link(0.1)


def test_a_lost_write_back(pool: Mempool) -> None:
    device = faulty("lost-write-back", pool)
    device.wait_for_link()
    assert device.tx[0].send([numbered(i) for i in range(5)]) == 5
    with pytest.raises(IxyError, match=r"5 sent descriptors not written back \(7\.2\.3\.5\)"):
        device.flush(0.2)
    assert device.statistics().tx_packets == 5  # they have been sent
    with pytest.raises(IxyError, match=r"5 sent descriptors not written back \(7\.2\.3\.5\)"):
        device.close()
    assert device.function.model.port[0]["master"] == 0  # it was stopped nevertheless


def test_a_corrupt_length(pool: Mempool) -> None:
    with faulty("corrupt-length", pool) as device:
        device.wait_for_link()
        device.tx[0].send([numbered(i) for i in range(5)])
        device.flush()
        deadline = time.monotonic() + 5
        while device.statistics().dropped["rx_damaged"] < 5 and time.monotonic() < deadline:
            with device.rx[0].receive(8) as batch:
                assert len(batch) == 0  # never delivered
        totals = device.statistics()
        assert (totals.dropped["rx_damaged"], totals.rx_packets) == (5, 0)


def test_a_dma_fault(pool: Mempool) -> None:
    device = faulty("dma-fault", pool)
    device.wait_for_link()
    device.tx[0].send([numbered(1)])
    device.flush()
    deadline = time.monotonic() + 5
    while not device.function.model.fault() and time.monotonic() < deadline:
        time.sleep(0.001)
    with pytest.raises(IxyError, match="which is not mapped for DMA"):
        device.statistics()
    with contextlib.suppress(IxyError):
        device.close()


def test_an_unknown_fault_is_refused_with_those_that_are_known(pool: Mempool) -> None:
    with pytest.raises(IxyError, match=r"unknown fault 'stuck'.*stuck-reset.*dma-fault"):
        faulty("stuck", pool)


def test_several_faults_at_once(pool: Mempool) -> None:
    with pytest.raises(DeviceTimeout, match="CTRL"):
        faulty("no-link,stuck-reset", pool)


def test_a_bad_eeprom_has_a_wrong_checksum() -> None:
    model = Intel82599(Bench(), MAC, faults=["bad-eeprom"])
    words = []
    for address in range(0x800):
        model.write(0x10014, address << 2 | 1)
        words.append(model.read(0x10014) >> 16)
    total = sum(words[:0x40])
    for pointer in words[3:15]:
        if pointer:
            total += sum(words[pointer : pointer + words[pointer] + 1])
    assert total & 0xFFFF != 0xBABA
    assert model.read(0x5404) >> 31 == 0  # RAH.AV
    assert model.read(0x10010) & 0x300 == 0x300  # it is there, and has been read
    model.close()


def test_faults_have_names_that_an_address_can_hold() -> None:
    assert len(FAULTS) >= 7
    assert all(name.replace("-", "").isalpha() for name in FAULTS)
