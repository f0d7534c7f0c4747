"""Interrupts of the ixgbe driver: which registers are written, and who is woken by what."""

import select

import pytest

from ixy.drivers.ixgbe.driver import IxgbeDevice
from ixy.emulator.bus import EmulatedFunction
from ixy.emulator.intel82599.model import Intel82599
from ixy.errors import IxyError
from ixy.memory.pool import Mempool
from recorder import Recorder
from rig import MAC, Bench, numbered


def writes(recorder: Recorder, *names: str) -> list[tuple[str, int]]:
    """What was written to these registers, in order."""
    return [
        (name, word)
        for kind, name, word in recorder.log
        if kind == "write" and name.partition("[")[0] in names
    ]


def rings(event: int) -> bool:
    """Whether an eventfd has counted something."""
    poll = select.poll()
    poll.register(event, select.POLLIN)
    return bool(poll.poll(0))


def test_each_queue_gets_a_vector_that_clears_itself(recorder: Recorder) -> None:
    device = IxgbeDevice(recorder, [Mempool(512) for _ in range(3)], 64, itr=20)
    log = writes(recorder, "GPIE", "IVAR", "EITR", "EIAC", "EIMS")
    assert log == [
        ("GPIE", 0x10),  # a vector per cause
        ("IVAR[0]", 0x0000_0080),
        ("EITR[0]", 0x8000_0000 | 10 << 3),  # 10 * 2.048 us, the counter as it is
        ("IVAR[0]", 0x0081_0080),
        ("EITR[1]", 0x8000_0000 | 10 << 3),
        ("IVAR[1]", 0x0000_0082),
        ("EITR[2]", 0x8000_0000 | 10 << 3),
        ("EIAC", 7),
        ("EIMS", 7),
    ]
    assert len({queue.event for queue in device.rx}) == 3
    device.close()


def test_without_an_interval_nothing_is_enabled(recorder: Recorder) -> None:
    device = IxgbeDevice(recorder, [Mempool(512)], 64)
    assert writes(recorder, "GPIE", "IVAR", "EITR", "EIAC", "EIMS") == []
    assert device.rx[0].event == -1
    device.close()


@pytest.mark.parametrize(("itr", "queues"), [(-1, 1), (1047, 1), (20, 17)])
def test_what_the_device_does_not_have(itr: float, queues: int) -> None:
    function = EmulatedFunction("nic", Intel82599(Bench(), MAC), threaded=False)
    pools = [Mempool(256) for _ in range(queues)]
    with pytest.raises(IxyError, match=r"^nic: .* give it (0 to 1046|1 to 16)$"):
        IxgbeDevice(function, pools, 64, itr=itr)


def test_a_packet_wakes_its_queue_and_no_other() -> None:
    wire = Bench()
    model = Intel82599(wire, MAC)
    pools = [Mempool(256), Mempool(256)]
    with IxgbeDevice(EmulatedFunction("nic", model, threaded=False), pools, 64, itr=0) as device:
        events = [queue.event for queue in device.rx]
        assert not any(map(rings, events))
        wire.arrive(numbered(1))  # no flow that RSS knows: queue 0
        model.step()
        with device.rx[0].receive() as first, device.rx[1].receive() as second:
            counts = [len(first), len(second)]
        assert [rings(event) for event in events] == [bool(count) for count in counts]
        assert sum(counts) == 1


def test_it_wakes_again_and_again_without_a_register() -> None:
    wire = Bench()
    model = Intel82599(wire, MAC)
    function = Recorder("nic", model)
    with IxgbeDevice(function, [Mempool(256)], 64, itr=0) as device:
        event = device.rx[0].event
        poll = select.epoll()
        poll.register(event, select.EPOLLIN | select.EPOLLET)
        function.log.clear()
        for number in range(5):
            assert poll.poll(0) == []
            wire.arrive(numbered(number))
            model.step()
            assert poll.poll(0) == [(event, select.EPOLLIN)]
            with device.rx[0].receive() as batch:
                assert [bytes(view) for view in batch] == [numbered(number)]
        assert function.log == []
        poll.close()
