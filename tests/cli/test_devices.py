"""What `ixy devices`, `ixy bind` and `ixy unbind` say."""

from pathlib import Path

import pytest

from command import totals
from fake_linux import CARD, FakeSysfs
from ixy.bus import binding, cards
from ixy.cli import bind, devices

KEYS = ["address", "model", "driver", "interfaces", "numa_node", "link", "iommu_group", "todo"]


@pytest.fixture
def sysfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSysfs:
    monkeypatch.setattr(cards, "VFIO", tmp_path / "dev")
    return FakeSysfs(tmp_path / "sys")


def test_the_object() -> None:
    found = totals("devices")
    assert list(found) == ["devices"]
    kinds = ("emu:", "vhost-user:", "qemu:")
    emulated = [row for row in found["devices"] if row["address"].startswith(kinds)]
    assert [row["address"] for row in emulated][:2] == ["emu:loopback", "emu:source"]
    assert {row["address"].partition(":")[0] + ":" for row in emulated} == set(kinds)
    assert all(set(row) == {"address", "model", "driver", "todo"} for row in emulated)
    cards = [row for row in found["devices"] if row not in emulated]
    assert all(list(row) == KEYS for row in cards)


def test_a_card(sysfs: FakeSysfs) -> None:
    card = sysfs.add(group=7, numa_node="0\n")
    (card.path / "net" / "ixy-no-such-if").mkdir(parents=True)
    found = devices.describe(card)
    assert found | {"todo": ""} == {
        "address": CARD, "model": "82599", "driver": "ixgbe", "interfaces": ["ixy-no-such-if"],
        "numa_node": 0, "link": "down", "iommu_group": 7, "todo": "",
    }  # fmt: skip
    assert devices._cells(found)[:7] == [
        CARD, "82599", "ixgbe", "ixy-no-such-if", "0", "down", "7",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "todo"),
    [
        ({"device": 0x15F3}, "ixy has no driver for this model"),
        ({"driver": "ixgbe"}, f"sudo ixy bind {CARD}"),
        ({"driver": "ixgbe", "group": 7}, f"sudo ixy bind {CARD}"),
        ({"driver": None}, f"open it as root: sudo ixy regs {CARD}"),
        ({"driver": None, "group": 7}, f"sudo ixy bind {CARD}"),
        (
            {"driver": None, "group": 7, "translated": False},
            f"open it as root: sudo ixy regs {CARD}",
        ),
        ({"driver": "vfio-pci", "group": 8}, "sudo chown $USER "),
        ({"driver": "vfio-pci", "group": 7}, f"open it: ixy regs {CARD}"),
    ],
)
def test_the_next_step(sysfs: FakeSysfs, settings: dict, todo: str) -> None:
    cards.VFIO.mkdir()
    (cards.VFIO / "7").touch()
    assert devices.advice(sysfs.add(**settings)).startswith(todo)


def test_the_next_step_where_a_neighbour_is_in_the_way(sysfs: FakeSysfs) -> None:
    cards.VFIO.mkdir()
    (cards.VFIO / "7").touch()
    sysfs.add("0000:03:00.1", group=7)
    card = sysfs.add(driver="vfio-pci", group=7)
    assert devices.advice(card) == "sudo ixy bind 0000:03:00.1"


def test_the_next_step_for_a_card_in_use(sysfs: FakeSysfs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "burdens", lambda card: iter(["eth0 has the address 10.0.0.2"]))
    words = f"eth0 has the address 10.0.0.2; to take it nevertheless: sudo ixy bind {CARD} --force"
    assert devices.advice(sysfs.add()) == words


def test_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    bind.report(CARD, "ixgbe", "vfio-pci", "sudo chown $USER /dev/vfio/7", as_json=False)
    bind.report(CARD, "vfio-pci", "ixgbe", "nothing", as_json=True)
    assert capsys.readouterr().out.splitlines() == [
        f"{CARD}: ixgbe -> vfio-pci; next: sudo chown $USER /dev/vfio/7",
        f'{{"address": "{CARD}", "before": "vfio-pci", "driver": "ixgbe", "todo": "nothing"}}',
    ]
