"""A wire before another one: what it must hand on."""

import pytest

from ixy.emulator.wire import Wire, plug_in
from ixy.emulator.wire.delay import Delayed
from ixy.emulator.wire.faults import Faulty
from ixy.emulator.wire.loopback import Loopback
from ixy.errors import IxyError
from rig import Bench, Nic, numbered, pump, put_frame, take_frame


class Far(Bench):
    """A far end that notes what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[object] = []
        self.warning = "wet"

    def listen(self, on: bool) -> None:
        self.told.append(on)

    @property
    def ended(self) -> bool:
        return True

    def service(self) -> None:
        super().service()
        self.told.append("service")

    def close(self) -> None:
        super().close()
        self.told.append("closed")


@pytest.fixture
def far() -> Far:
    return Far()


def test_it_hands_on_what_is_asked_and_told(far: Far) -> None:
    wire = Faulty(far, loss=2)
    assert (wire.link, wire.ended, wire.warning) == (True, True, "wet")
    far.up = False
    assert not wire.link
    wire.listen(True)
    wire.service()
    wire.close()
    assert far.told == [True, "service", "closed"]


def test_a_wire_that_keeps_time_before_or_beyond_another_is_one(far: Far) -> None:
    assert [wire.record[0]["punctual"] for wire in (far, Faulty(far, loss=2))] == [0, 0]
    wire = Delayed(far, delay=50)
    assert [wire.record[0]["punctual"] for wire in (wire, Faulty(wire, loss=2))] == [1, 1]
    wire.close()


def test_what_arrives_is_not_touched(far: Far) -> None:
    wire = Faulty(far, loss=1)
    far.arrive(numbered(1), numbered(2))
    pump(wire)
    assert take_frame(int(wire.record[0]["rx"])) == numbered(1)
    assert take_frame(int(wire.record[0]["rx"])) == numbered(2)
    wire.close()


def test_a_wire_that_wants_service_gets_it(far: Far) -> None:
    wire = Faulty(far, loss=2)
    far.record[0]["service"] = 1
    pump(wire)
    assert wire.record[0]["service"] == 1
    wire.service()
    assert (wire.record[0]["service"], far.record[0]["service"]) == (0, 0)
    wire.close()


@pytest.mark.parametrize("patient", [False, True])
def test_it_is_as_patient_as_the_other(patient: bool) -> None:
    wire = Faulty(Bench(patient=patient), loss=2)
    assert bool(wire.record[0]["patient"]) == patient
    wire.close()


def test_losses_are_of_both(far: Far) -> None:
    wire = Faulty(far, loss=2)
    far.record[0]["lost"], wire.record[0]["lost"] = 3, 4
    assert wire.drops() == {"wire_lost": 7, "wire_over_rate": 0, "wire_fault": 0}
    wire.close()


def test_a_full_wire_beyond_loses_nothing() -> None:
    with Nic(Faulty(Loopback(), duplicate=1), ring=64) as nic:
        sent = received = 0
        for _ in range(60):
            sent += nic.device.tx[0].send([numbered(sent, 1514)] * 8)
            nic.step()
        for _ in range(60):
            nic.step()
            received += len(nic.receive())
        total = nic.device.statistics()
        assert received + total.dropped["rx_missed"] == 2 * sent > 0


@pytest.mark.parametrize("wire", ["loopback", "source", "pcap:,", "cable:between"])
def test_any_wire_takes_the_options(wire: str) -> None:
    plugged: Wire = plug_in(wire, {"loss": 1, "delay": 5})
    assert put_frame(int(plugged.record[0]["tx"]), numbered(1))
    pump(plugged)
    assert plugged.planted()["lost"] == 1
    assert plugged.drops()["wire_fault"] == 1
    plugged.close()


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"loss": 0}, "loss=0"), ({"loss": -1}, "loss=-1"), ({"loss": "1.5"}, "probability"),
        ({"corrupt": "x"}, "corrupt=x"), ({"reorder": "nan"}, "reorder=nan"),
        ({"duplicate": "inf"}, "duplicate=inf"), ({"reorder": 5, "behind": 0}, "behind=0"),
        ({"loss": "0.1", "seed": 0}, "seed=0"), ({"loss": "0.1", "seed": "x"}, "seed=x"),
        ({"rate": -5}, "rate=-5"), ({"rate": "fast"}, "rate=fast"), ({"delay": -1}, "delay=-1"),
        ({"rate": 1000, "burst": -1}, "burst=-1"),
        ({"delay": "1:2:3"}, "US:US"), ({"delay": "1e3"}, "microseconds"),
        ({"share": 1}, "delay="),
        ({"delay": 1, "share": 2}, "share=2"), ({"delay": 10**7}, "up to"),
        ({"los": 1}, "no option"),
    ],
    ids=str,
)  # fmt: skip
def test_values_that_there_are_not(options: dict, what: str) -> None:
    with pytest.raises(IxyError, match=what) as error:
        plug_in("loopback", options)
    assert "\n" not in str(error.value)
