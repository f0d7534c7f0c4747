"""`cable:NAME`: two ends, in one process or two, and what happens when one of them goes."""

import gc
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ixy.emulator.wire import plug_in
from ixy.emulator.wire.cable import Cable
from ixy.errors import IxyError
from rig import Nic, numbered, of_length, put_frame, take_frame

HERE = Path(__file__).parents[1].parent  # tests/


@pytest.fixture
def name() -> Iterator[str]:
    name = f"test.{os.getpid()}-{time.monotonic_ns()}"
    yield name
    left = Path("/dev/shm", f"ixy-cable-{os.getuid()}-{name}")
    assert not left.exists(), "the cable was left behind"


def rings(cable: Cable) -> tuple[int, int]:
    return int(cable.record[0]["rx"]), int(cable.record[0]["tx"])


def test_each_end_receives_what_the_other_sends(name: str) -> None:
    a, b = Cable(name), Cable(name)
    put_frame(rings(a)[1], of_length(60))
    put_frame(rings(b)[1], of_length(70))
    assert take_frame(rings(b)[0]) == of_length(60)
    assert take_frame(rings(a)[0]) == of_length(70)
    assert take_frame(rings(a)[0]) is None
    assert take_frame(rings(b)[0]) is None
    a.close()
    b.close()


def test_the_link_is_up_while_the_other_end_receives(name: str) -> None:
    a = Cable(name)
    assert not a.link
    b = Cable(name)
    assert not a.link  # b is there, but would lose what is sent to it
    b.listen(True)
    assert a.link
    assert not b.link
    a.listen(True)
    assert b.link
    b.listen(False)
    assert not a.link
    b.listen(True)
    b.close()
    assert not a.link
    c = Cable(name)
    assert not a.link  # whatever b said
    c.listen(True)
    assert a.link
    a.close()
    assert not c.link
    c.close()


def test_a_third_end_is_refused(name: str) -> None:
    a, b = Cable(name), Cable(name)
    gc.collect()  # what earlier tests left open is none of this one's business
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(IxyError, match=r"both are taken: choose another name"):
            Cable(name)
    assert len(os.listdir("/proc/self/fd")) == before
    put_frame(rings(a)[1], of_length(60))
    assert take_frame(rings(b)[0]) == of_length(60)
    a.close()
    b.close()


def test_nothing_of_an_earlier_pair_arrives(name: str) -> None:
    a, b = Cable(name), Cable(name)
    put_frame(rings(a)[1], of_length(60))
    put_frame(rings(b)[1], of_length(60))
    a.close()
    b.close()
    a, b = Cable(name), Cable(name)
    assert take_frame(rings(a)[0]) is None
    assert take_frame(rings(b)[0]) is None
    a.close()
    b.close()


@pytest.mark.parametrize("bad", ["", "a/b", "../x", "a b", "x" * 65, "a\0b", "a\n"])
def test_bad_names(bad: str) -> None:
    with pytest.raises(IxyError, match=r"give it a name of letters"):
        Cable(bad)


def test_a_name_that_is_no_cable(name: str) -> None:
    """A link or a directory in its place is a wrong input, not a traceback."""
    path = Path("/dev/shm", f"ixy-cable-{os.getuid()}-{name}")
    path.symlink_to("/dev/null")
    try:
        with pytest.raises(IxyError):
            Cable(name)
    finally:
        path.unlink()


@given(st.lists(st.tuples(st.booleans(), st.integers(14, 1514)), min_size=1, max_size=60))
@settings(deadline=None, max_examples=10)
def test_two_nics_on_a_cable(script: list[tuple[bool, int]]) -> None:
    name = f"test.{os.getpid()}-{time.monotonic_ns()}"
    with Nic(plug_in(f"cable:{name}", {})) as a, Nic(plug_in(f"cable:{name}", {})) as b:
        a.step()
        b.step()
        assert a.device.link_speed() == b.device.link_speed() == 10000
        expected: dict[bool, list[bytes]] = {True: [], False: []}
        for number, (from_a, length) in enumerate(script):
            frame = numbered(number, max(60, length))
            expected[from_a].append(frame)
            assert (a if from_a else b).device.tx[0].send([frame]) == 1
        for _ in range(3):
            a.step()
            b.step()
        assert b.receive() == expected[True]
        assert a.receive() == expected[False]


def test_without_the_other_end_nothing_is_sent_and_there_is_no_link(name: str) -> None:
    with Nic(Cable(name)) as nic:
        assert nic.device.link_speed() == 0
        nic.device.tx[0].send([numbered(1)])
        nic.step(3)
        assert nic.device.flush(0) == 1
        with pytest.raises(IxyError, match="still no link"):
            nic.device.wait_for_link(0.05)
        other = Nic(Cable(name))
        other.step()
        assert nic.device.wait_for_link(1) == 10000
        nic.step(2)
        assert nic.device.flush(0) == 0
        other.step()
        assert other.receive() == [numbered(1)]
        other.device.close()


def test_a_port_whose_receiver_is_off_is_no_link_for_the_sender(name: str) -> None:
    """RXCTRL.RXEN = 0: nothing is sent that nobody would take."""
    with Nic(Cable(name)) as sender, Nic(Cable(name)) as receiver:
        receiver.step()
        assert sender.device.wait_for_link(1) == 10000
        receiver.device.regs.RXCTRL.update(RXEN=0)
        receiver.step()
        sender.step()
        sender.device.tx[0].send([numbered(1)])
        sender.step(3)
        assert (sender.device.link_speed(), sender.device.flush(0)) == (0, 1)
        receiver.device.regs.RXCTRL.update(RXEN=1)
        receiver.step()
        sender.step(2)
        receiver.step()
        assert receiver.receive() == [numbered(1)]


CHILD = """
import sys
from rig import Nic
from ixy.emulator.wire.cable import Cable
nic = Nic(Cable(sys.argv[1]), ring=256, buffers=1024)  # room for all that is sent back
print("ready", flush=True)
while True:
    nic.step()
    with nic.device.rx[0].receive(32) as batch:
        nic.device.tx[0].send(batch)
"""


@contextmanager
def other_process(name: str, code: str = CHILD) -> Iterator[subprocess.Popen[str]]:
    """A process at the cable's other end, killed at the end of the `with`."""
    path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH", "")]))
    child = subprocess.Popen(
        [sys.executable, "-c", code, name],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        yield child
    finally:
        child.kill()
        child.communicate()


def test_between_processes_and_when_one_is_killed(name: str) -> None:
    frames = [numbered(i, 60 + i % 1400) for i in range(200)]
    with Nic(Cable(name), ring=256, buffers=1024) as nic, other_process(name):
        assert nic.device.wait_for_link(5) == 10000
        assert nic.device.tx[0].send(frames) == len(frames)
        got: list[bytes] = []
        deadline = time.monotonic() + 30
        while len(got) < len(frames) and time.monotonic() < deadline:
            nic.step()
            got += nic.receive()
        assert got == frames
        with pytest.raises(IxyError, match="both are taken"):
            Cable(name)


def test_an_end_whose_process_was_killed_is_free_again(name: str) -> None:
    with Nic(Cable(name)) as nic:
        with other_process(name):
            assert nic.device.wait_for_link(5) == 10000
        assert nic.device.link_speed() == 0
        with other_process(name):
            assert nic.device.wait_for_link(5) == 10000


def test_the_file_is_for_its_owner_alone(name: str) -> None:
    cable = Cable(name)
    path = Path("/dev/shm", f"ixy-cable-{os.getuid()}-{name}")
    assert path.stat().st_mode & 0o777 == 0o600
    cable.close()
