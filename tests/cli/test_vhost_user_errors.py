"""What can be wrong with a vhost-user socket: one line each, with what to do."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import ixy
from command import is_one_line, run_ixy
from ixy.device import Device
from ixy.errors import IxyError
from rig import run_python
from vhost_backend import IN_ORDER, OFFERED, PROTOCOL, VERSION_1, Backend

NOBODY = 65534


@contextmanager
def server(path: Path, answer: bytes) -> Iterator[None]:
    """Who listens, takes what comes, answers this, and hangs up."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(1024)
                        connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def complaint(address: str) -> str:
    """The command's one line."""
    done = run_ixy("forward", address, "emu:source")
    assert done.returncode == 1
    assert not done.stdout
    assert is_one_line(done.stderr)
    return done.stderr


def refusal(address: str) -> str:
    """The same without a process of its own."""
    with pytest.raises(IxyError) as error, ixy.open(address):
        pass
    assert "\n" not in str(error.value)
    return str(error.value)


def test_no_socket(tmp_path: Path) -> None:
    said = complaint(f"vhost-user:{tmp_path}/none")
    assert f"{tmp_path}/none: No such file or directory: start it" in said
    assert "?listen=1" in said


def test_a_file_that_is_no_socket(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("not ours")
    assert "Connection refused: start it" in refusal(f"vhost-user:{path}")
    assert "a file that is no socket" in refusal(f"vhost-user:{path}?listen=1")
    assert path.read_text() == "not ours"


def test_a_socket_that_another_serves(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with Backend(path):
        assert "another server serves it" in refusal(f"vhost-user:{path}?listen=1")


def test_who_hangs_up_is_no_back_end(tmp_path: Path) -> None:
    with server(tmp_path / "sock", b""):
        said = complaint(f"vhost-user:{tmp_path}/sock")
    assert "GET_FEATURES: it has closed the connection: does a vhost-user back end run" in said


def test_who_speaks_something_else_is_no_back_end(tmp_path: Path) -> None:
    with server(tmp_path / "sock", b"HTTP/1.1 400 Bad Request\r\n\r\n"):
        said = refusal(f"vhost-user:{tmp_path}/sock")
    assert "GET_FEATURES: answered by" in said
    assert "does a vhost-user back end run there?" in said


def test_who_says_nothing_is_no_back_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ixy.drivers.virtio import vhost_user

    monkeypatch.setattr(vhost_user, "PATIENCE", 0.2)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
        listener.listen()
        assert "GET_FEATURES: it does not answer" in refusal(f"vhost-user:{tmp_path}/sock")


def test_nobody_connects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ixy.drivers.virtio import vhost_user

    monkeypatch.setattr(vhost_user, "LISTENING", 0.1)
    path = tmp_path / "sock"
    assert "start it as the client" in refusal(f"vhost-user:{path}?listen=1")
    assert not path.exists()


def test_no_permission(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with Backend(path):
        path.chmod(0o600)
        code = f"""
import os, ixy
from contextlib import suppress
from ixy.errors import IxyError
with suppress(IxyError):
    ixy.open("vhost-user:/none")  # imports all that it takes
if os.geteuid() == 0:
    os.setuid({NOBODY})
else:
    os.chmod({str(path)!r}, 0)
try:
    ixy.open("vhost-user:{path}")
except IxyError as error:
    print(error)
"""
        done = run_python(code)
    assert f"no permission on {path}: sudo chown $USER {path}" in done.stdout
    assert done.stdout.count("\n") == 1


def test_a_back_end_without_what_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with Backend(path, features=(PROTOCOL, VERSION_1)):
        assert "does not offer RING_PACKED" in refusal(f"vhost-user:{path}?packed=1")
        assert "does not offer MQ" in refusal(f"vhost-user:{path}?queues=2")
        assert "a ring of 100: give it a power of two" in refusal(f"vhost-user:{path}?ring=100")


def test_a_back_end_with_fewer_queues(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with Backend(path, queues=2):
        assert "4 queues: the device has 2" in refusal(f"vhost-user:{path}?queues=4")


@pytest.mark.usefixtures("no_shared_pools")
def test_a_back_end_without_any_feature_is_one(tmp_path: Path) -> None:
    """Legacy: a header of 10 bytes, in a descriptor of its own."""
    path = tmp_path / "sock"
    with Backend(path, features=()) as back, ixy.open(f"vhost-user:{path}") as device:
        back.wait()
        assert back.session.header == 10
        frames = [bytes([i]) * 60 for i in range(20)]
        assert device.tx[0].send(frames) == 20
        assert back.take() == frames
        assert back.give(frames) == 20
        with device.rx[0].receive(32, timeout=5) as batch:
            assert [bytes(packet) for packet in batch] == frames


def ask_again(device: Device) -> None:
    """Until it has something to say, for ten seconds."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        device.statistics()
        time.sleep(0.002)


@pytest.mark.usefixtures("no_shared_pools")
def test_a_new_back_end_that_offers_less(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    back = Backend(path)
    with ixy.open(f"vhost-user:{path}") as device:
        back.wait()
        back.close()
        with (
            Backend(path, features=set(OFFERED) - {IN_ORDER}),
            pytest.raises(IxyError, match="does not offer IN_ORDER: restart both"),
        ):
            ask_again(device)
        assert device.link_speed() == 0
        with Backend(path) as right:
            right.wait()
            device.wait_for_link()
            device.statistics()
