"""Threads that are left out of a trace buffer are not in it, nor what they start later; others are."""

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from fusecopy.observe import tracefs
from tests.conftest import require
from tests.tracepoints import tracefs_mounted

pytestmark = pytest.mark.root

FIGETBSZ = 2
ASKS = f"import fcntl, os; fcntl.ioctl(os.open('/', os.O_RDONLY), {FIGETBSZ}, bytes(4))"


def ask() -> None:
    root = os.open("/", os.O_RDONLY)
    fcntl.ioctl(root, FIGETBSZ, bytes(4))
    os.close(root)


@pytest.fixture
def mounted() -> Iterator[None]:
    with tracefs_mounted():
        require("tracefs")
        yield


@pytest.mark.usefixtures("mounted")
def test_threads_left_out() -> None:
    later = [sys.executable, "-S", "-E", "-c", f"input(); {ASKS}"]
    other = subprocess.Popen(later, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    with tracefs.instance(tracefs.find(["syscalls/sys_enter_ioctl"]), "left-out", 64) as instance:
        instance.leave_out(map(int, os.listdir("/proc/self/task")))
        instance.enable("syscalls/sys_enter_ioctl", f"cmd == {FIGETBSZ}")
        ask()
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        other.communicate(b"\n", timeout=60)
        assert other.returncode == 0
        pipe = instance.open()
        lines = os.read(pipe, 65536).decode().splitlines()
        os.close(pipe)
    asked = [line for line in lines if "sys_ioctl" in line]
    assert any(f"-{other.pid} " in line for line in asked)
    assert not any(f"-{os.getpid()} " in line or f"-{thread.native_id} " in line for line in asked)
