"""What sysfs says of network cards."""

from pathlib import Path

import pytest

from fake_linux import CARD, FakeSysfs
from ixy.bus.cards import find_card, network_cards
from ixy.errors import IxyError


@pytest.fixture
def sysfs(tmp_path: Path) -> FakeSysfs:
    return FakeSysfs(tmp_path / "sys")


def test_ethernet_controllers_in_the_order_of_their_addresses(sysfs: FakeSysfs) -> None:
    for address in ("0000:81:00.0", "0000:03:00.1", "0000:03:00.0"):
        sysfs.add(address)
    sysfs.add("0000:00:1f.0", kind=0x060100)
    found = [card.address for card in network_cards(sysfs.pci)]
    assert found == ["0000:03:00.0", "0000:03:00.1", "0000:81:00.0"]


def test_no_pci_no_cards(tmp_path: Path) -> None:
    assert list(network_cards(tmp_path)) == []


def test_what_a_card_says_of_itself(sysfs: FakeSysfs) -> None:
    card = sysfs.add(group=7, numa_node="1\n")
    assert (card.address, card.model, card.is_known, card.driver) == (CARD, "82599", True, "ixgbe")
    assert (card.group, card.node, card.link, card.translated) == (7, 1, None, True)
    assert card.bus == sysfs.pci


def test_a_card_of_another_kind(sysfs: FakeSysfs) -> None:
    card = sysfs.add(device=0x15F3, driver=None, numa_node="-1\n")
    assert (card.model, card.is_known, card.driver) == ("8086:15f3", False, "none")
    assert (card.group, card.node, card.translated) == (None, None, False)


def test_an_iommu_that_does_not_translate(sysfs: FakeSysfs) -> None:
    assert not sysfs.add(group=7, translated=False).translated


@pytest.mark.parametrize(
    ("carrier", "speed", "link"),
    [("1", "10000", "up 10000"), ("1", "-1", "up"), ("0", "-1", "down"), (None, None, "down")],
)
def test_link(sysfs: FakeSysfs, carrier: str | None, speed: str | None, link: str) -> None:
    card = sysfs.add()
    interface = card.path / "net" / "eth0"
    interface.mkdir(parents=True)
    for name, text in ("carrier", carrier), ("speed", speed):
        if text is not None:  # Linux: an interface that is down has neither
            (interface / name).write_text(text + "\n")
    assert card.link == link
    assert card.interfaces == [interface]


def test_the_interface_of_a_virtio_card(sysfs: FakeSysfs) -> None:
    card = sysfs.add(driver="virtio-pci")
    (card.path / "virtio0" / "net" / "eth0").mkdir(parents=True)
    assert [interface.name for interface in card.interfaces] == ["eth0"]


def test_neighbours_are_who_keeps_a_group_from_user_space(sysfs: FakeSysfs) -> None:
    card = sysfs.add(group=7, driver="vfio-pci")
    sysfs.add("0000:03:00.1", group=7)
    sysfs.add("0000:03:00.2", group=7, driver="vfio-pci")
    sysfs.add("0000:03:00.3", group=7, driver=None)
    sysfs.add("0000:00:01.0", group=7, kind=0x060400, driver="pcieport")
    sysfs.add("0000:04:00.0", group=8)
    assert [other.address for other in card.neighbours] == ["0000:03:00.1"]


@pytest.mark.parametrize(
    "address", ["0000:09:00.0", "", "..", "0000:03:00.0/net", "eth0", CARD[5:]]
)
def test_no_such_card(sysfs: FakeSysfs, address: str) -> None:
    sysfs.add()
    with pytest.raises(IxyError, match="no such PCI device: ixy devices"):
        find_card(address, sysfs.pci)


def test_find(sysfs: FakeSysfs) -> None:
    card = sysfs.add()
    sysfs.add("0000:00:1f.0", kind=0x010601, driver="ahci")
    assert find_card(CARD, sysfs.pci) == card
    with pytest.raises(IxyError, match="no Ethernet controller"):
        find_card("0000:00:1f.0", sysfs.pci)
