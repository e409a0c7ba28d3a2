"""What systemd is told of a mount in the foreground."""

import os
import socket
from pathlib import Path

import pytest

from tests.mounted import mounted

pytestmark = pytest.mark.fuse


@pytest.mark.parametrize("abstract", [False, True])
def test_readiness_and_end_are_told(tmp_path: Path, abstract: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"fusecopy-test-{os.getpid()}"
    address, told = ("\0" + name, "@" + name) if abstract else (str(tmp_path / name),) * 2
    (tmp_path / "backing").mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", told)
        with mounted(tmp_path / "backing") as mount:
            assert manager.recv(100) == b"READY=1"
            assert os.listdir(mount.path) == []
        assert manager.recv(100) == b"STOPPING=1"


def test_a_manager_that_is_gone_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    (tmp_path / "backing").mkdir()
    with mounted(tmp_path / "backing") as mount:
        assert os.listdir(mount.path) == []
