"""From an address to a device: what is understood, and one line for each way to be wrong."""

import errno
import os
from pathlib import Path

import pytest

from fake_linux import CARD, FakeSysfs
from ixy import address
from ixy.address import open_device, parse
from ixy.bus import cards
from ixy.emulator.wire import WIRES, plug_in
from ixy.errors import IxyError
from ixy.memory import dma
from ixy.memory.pool import Mempool
from rig import Bench

pytestmark = pytest.mark.usefixtures("no_shared_pools")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("emu:loopback", ("emu", "loopback", {})),
        ("emu:tap:ixy0?queues=4&ring=1024", ("emu", "tap:ixy0", {"queues": "4", "ring": "1024"})),
        ("emu:pcap:a?b.pcap,?pace=real", ("emu", "pcap:a?b.pcap,", {"pace": "real"})),
        ("emu:pcap:,C:\\x.pcap", ("emu", "pcap:,C:\\x.pcap", {})),
        ("emu:source?mac=02:00:00:00:00:01", ("emu", "source", {"mac": "02:00:00:00:00:01"})),
        ("0000:03:00.0", ("0000", "03:00.0", {})),
        ("emu:source?", ("emu", "source", {})),
        ("emu:source?size=", ("emu", "source", {"size": ""})),
    ],
)
def test_parts_of_an_address(text: str, parts: tuple) -> None:
    assert parse(text) == parts


BAD = {
    # an unknown kind: the known ones are listed
    "": "emu:WIRE",
    "tap:ixy0": "emu:WIRE",
    "eth0": "emu:WIRE",
    "EMU:loopback": "emu:WIRE",
    "0000:ff:1f.7": "no such PCI device: ixy devices",
    "0000:FF:1F.7": "emu:WIRE",
    "0000:ff:1f.7?mac=02:00:00:00:00:01": "option mac: give it one of itr, mrg, packed, pool",
    "0000:ff:1f.7?queues=65": "1 to 64",
    "03:00.0": "emu:WIRE",
    # an unknown wire: likewise
    "emu": "loopback.*cable:NAME.*pcap:IN,OUT.*tap:IF.*source",
    "emu:": "loopback.*source",
    "emu:wifi": "loopback.*source",
    "emu:loopback:x": "loopback.*source",
    "emu:cable": "cable:NAME",
    "emu:cable:": "cable:NAME",
    "emu:cable:a/b": "letters",
    "emu:pcap:": "pcap:IN,OUT",
    "emu:pcap:x": "pcap:IN,OUT",
    "emu:pcap:no.pcap,": r"no\.pcap",
    "emu:tap:": "tap:IF",
    "emu:tap:a-name-that-is-too-long": "1 to 15",
    # options
    "emu:loopback?colour=red": "mac, model, pace, pool, queues, rate, reorder, ring",
    "emu:loopback?size=60": "loopback has no option size",
    "emu:loopback?pace=real": "loopback has no option pace",
    "emu:source?pace=real": "flows, loss, rate, reorder, seed, share, size, verify",
    "emu:loopback?queues": "positive|name=value",
    "emu:loopback?=4": "option|name=value",
    "emu:loopback?&": "name=value",
    "emu:loopback?queues=4&&ring=64": "name=value",
    # values
    "emu:loopback?queues=0": "positive",
    "emu:loopback?queues=-1": "positive",
    "emu:loopback?queues=4.0": "positive",
    "emu:loopback?queues=": "positive",
    "emu:loopback?queues=four": "positive",
    "emu:loopback?queues=65": "1 to 64",
    "emu:loopback?queues=99999999999999999999": "1 to 64",
    "emu:loopback?ring=0": "positive",
    "emu:loopback?ring=100": "power of two",
    "emu:loopback?ring=32": "64 to 4096",
    "emu:loopback?ring=8192": "64 to 4096",
    "emu:loopback?pool=100": "pool",
    "emu:loopback?pool=575": "pool is too small",
    "emu:loopback?pool=99999999": "1048576",
    "emu:loopback?pool=0": "positive",
    "emu:loopback?mac=2": "02:00:00:00:00:01",
    "emu:loopback?mac=02-00-00-00-00-01": "02:00:00:00:00:01",
    "emu:loopback?mac=02:00:00:00:00:0g": "02:00:00:00:00:01",
    "emu:loopback?mac=": "02:00:00:00:00:01",
    "emu:loopback?mac=01:00:5e:00:00:01": "mac|station",
    "emu:loopback?mac=ff:ff:ff:ff:ff:ff": "mac|station",
    "emu:loopback?model=82575": "82599.*x540.*x550",
    "emu:pcap:,?pace=slow": "fast, real",
    "emu:pcap:,?pace=1": "fast, real",
    "emu:source?size=59": "60 to 1514",
    "emu:source?size=1515": "60 to 1514",
    "emu:source?size=-5": "60 to 1514",
    "emu:source?size=big": "size",
    "emu:source?size=": "size",
    "emu:source?flows=0": "1 to 1024",
    "emu:source?flows=1025": "1 to 1024",
    "emu:source?flows=x": "flows",
    "emu:source?verify=x": "verify",
    "emu:source?verify=-1": "verify",
    "emu:source?size=" + "9" * 5000: "size|60 to 1514",
    "emu:loopback?ring=" + "9" * 5000: "ring",
}


@pytest.mark.parametrize("text", BAD, ids=lambda text: text[:40])
def test_bad_addresses_give_one_line(text: str) -> None:
    with pytest.raises(IxyError, match=BAD[text]) as error:
        open_device(text).close()
    assert "\n" not in str(error.value)
    assert len(str(error.value)) > 10


@pytest.mark.parametrize("text", [text for text in BAD if "loopback?" in text and len(text) < 100])
def test_a_refused_address_leaves_nothing_open(text: str) -> None:
    cable = f"cable:test-{os.getpid()}-{hash(text) & 0xFFFF}"
    counts = []
    for _ in range(3):
        with pytest.raises(IxyError):
            open_device(text.replace("loopback", cable, 1)).close()
        counts.append(len(os.listdir("/proc/self/fd")))
    assert len(set(counts)) == 1
    with open_device(f"emu:{cable}") as a, open_device(f"emu:{cable}") as b:
        assert a.wait_for_link() == b.wait_for_link() == 10000


def test_each_wire_of_the_list_is_there() -> None:
    assert WIRES == ("loopback", "cable:NAME", "pcap:IN,OUT", "tap:IF", "source")
    for text in ("loopback", "source", "cable:test-wire", "pcap:,"):
        plug_in(text, {}).close()


def test_options_reach_the_device() -> None:
    text = "emu:loopback?queues=3&ring=128&pool=400&mac=02:12:34:56:78:9a&model=x540"
    with open_device(text) as device:
        assert len(device.rx) == len(device.tx) == 3
        assert device.ring == 128
        assert [pool.count for pool in device.pools] == [400] * 3
        assert device.mac == bytes.fromhex("02123456789a")
        assert device.function.config_read(2, 2) == 0x1528
        assert device.address == text


def test_queues_as_an_argument_give_way_to_the_address() -> None:
    with open_device("emu:loopback?pool=800", queues=2) as device:
        assert len(device.rx) == 2
    with open_device("emu:loopback?queues=1", queues=2) as device:
        assert len(device.rx) == 1


def test_devices_share_their_pools() -> None:
    with open_device("emu:loopback?ring=64") as a, open_device("emu:loopback?ring=64") as b:
        assert a.rx[0].pool is b.rx[0].pool is a.tx[0].pool
        assert a.mac != b.mac
        with pytest.raises(IxyError, match="pool=99"):
            open_device("emu:loopback?pool=99")


def test_a_device_with_pools_of_its_own(no_shared_pools: list) -> None:
    pools = [Mempool(256), Mempool(256)]
    with open_device("emu:loopback?ring=64", pools=pools) as device:
        assert [queue.pool for queue in device.rx] == pools
    assert no_shared_pools == []
    assert [pool.available for pool in pools] == [256, 256]


def test_a_cable_that_is_in_use_is_refused_and_stays_usable() -> None:
    name = f"emu:cable:test-{os.getpid()}"
    with open_device(name) as a, open_device(name) as b:
        for _ in range(3):
            with pytest.raises(IxyError, match="both are taken"):
                open_device(name)
        assert a.wait_for_link() == b.wait_for_link() == 10000
    with open_device(name) as a:
        assert a.link_speed() == 0


def test_an_error_while_the_device_comes_up_unplugs_its_wire(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import ixy.emulator.wire as wires

    made: list[Bench] = []
    closed: list[bool] = []

    def plug(*_: object) -> Bench:
        wire = Bench()
        close = wire.close
        wire.close = lambda: (closed.append(True), close())
        made.append(wire)
        return wire

    monkeypatch.setattr(wires, "plug_in", plug)
    for text in ("emu:x?ring=100", "emu:x?model=none", "emu:x?queues=2&ring=4096&pool=5000"):
        pools = [Mempool(100)] if "5000" in text else None
        with pytest.raises(IxyError):
            open_device(text, pools=pools)
        assert len(closed) == len(made)


def test_the_pool_setting_of_the_first_device_counts(no_shared_pools: list) -> None:
    with open_device("emu:loopback?pool=1000&ring=64"):
        assert [pool.count for pool in no_shared_pools] == [1000]
        with open_device("emu:loopback?queues=2&ring=64"):
            assert [pool.count for pool in address._shared] == [1000, 1000]


@pytest.fixture
def sysfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSysfs:
    sysfs = FakeSysfs(tmp_path / "sys")
    find = cards.find_card
    monkeypatch.setattr(cards, "find_card", lambda slot: find(slot, sysfs.pci))
    return sysfs


def test_a_card_of_the_kernel_s(sysfs: FakeSysfs) -> None:
    sysfs.add()
    with pytest.raises(IxyError, match=f"ixgbe has it: sudo ixy bind {CARD}"):
        open_device(CARD)


def test_a_free_card_is_opened_through_sysfs(
    sysfs: FakeSysfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_pages(*_: object) -> None:  # however many this machine has
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(dma.os, "ftruncate", no_pages)
    sysfs.add(driver=None)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(2):  # what is refused leaves nothing open
        with pytest.raises(IxyError, match=r"DMA memory .* run: echo \d+ . sudo tee"):
            open_device(f"{CARD}?pool=1000000")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_card_of_vfio_pci_is_opened_through_vfio(sysfs: FakeSysfs) -> None:
    sysfs.add(driver="vfio-pci", group=99999)
    with pytest.raises(IxyError, match=f"^{CARD}: /dev/vfio/99999"):
        open_device(CARD)


def test_pools_in_small_pages_do_not_do_for_a_card(sysfs: FakeSysfs) -> None:
    sysfs.add(driver=None)
    with (
        open_device("emu:loopback"),
        pytest.raises(IxyError, match=f"{CARD} needs huge pages.*open it before them"),
    ):
        open_device(CARD)
