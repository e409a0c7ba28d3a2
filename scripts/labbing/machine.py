"""A guest with four disks, from its start to its power-off, and what the task left."""

import os
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from labbing import initrd
from labbing.commands import LabError, end, run
from labbing.guest import Guest
from labbing.kernels import Bootable
from labbing.settings import BOOT_SECONDS, GUEST_MIB, GUEST_PROCESSORS, RESULT_BYTES

QEMU = "qemu-system-x86_64"
EMULATED = "tcg,thread=multi"
TRY_SECONDS = 20.0

ALONE = ("setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child", "--")
"""Whatever a guest is made of (user-mode-linux: many processes) ends with the lab, however that ends."""

DISK = "format=raw,if=virtio,cache=unsafe,file.locking=off"
"""No locks: a guest of user-mode-linux locks the image that it reads as well."""

APPEND = "console=ttyS0 quiet panic=-1 random.trust_cpu=on clocksource=hpet"
"""By tsc a guest's clock ran four times too fast without KVM. 5.10 waits long for randomness of its own."""


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a task.

    Attributes:
        status: its exit status; 124 where it did not end in time.
        output: what it said.
    """

    status: int
    output: str


def boot(kernel: Bootable, guest: Guest, task: str, seconds: int, left: Path) -> Done:
    """Run a task on a kernel; the files that it left are in the directory `left` then.

    Raises:
        LabError: the guest did not come as far as the task's end.
    """
    with tempfile.TemporaryDirectory(prefix="fusecopy-lab-") as name:
        scratch = Path(name)
        with (scratch / "result").open("wb") as file:
            file.truncate(RESULT_BYTES)
        initrd.make(scratch / "initrd", kernel.boot, guest.busybox)
        command = _user_mode if kernel.user_mode else _emulated
        _run(command(kernel, guest, scratch, f"TASK={task} LIMIT={seconds}"), scratch, BOOT_SECONDS + seconds)
        return _taken(scratch, left)


def _emulated(kernel: Bootable, guest: Guest, scratch: Path, more: str) -> list[str]:
    disks = [
        f"file={guest.image},snapshot=on",
        f"file={guest.tree},readonly=on",
        f"file={scratch / 'result'}",
        f"file={kernel.modules},readonly=on",
    ]
    return [
        QEMU, "-machine", "q35", "-accel", accelerator(), "-cpu", "max",
        "-smp", str(GUEST_PROCESSORS), "-m", str(GUEST_MIB), "-display", "none", "-monitor", "none",
        "-nic", "none", "-no-reboot", "-serial", f"file:{scratch / 'console'}",
        "-kernel", str(kernel.kernel), "-initrd", str(scratch / "initrd"),
        "-append", f"{APPEND} DISK=vd {more}",
        *(word for disk in disks for word in ("-drive", f"{disk},{DISK}")),
    ]  # fmt: skip


def _user_mode(kernel: Bootable, guest: Guest, scratch: Path, more: str) -> list[str]:
    return [
        str(kernel.kernel), f"mem={GUEST_MIB}M", f"initrd={scratch / 'initrd'}", "con=null", "con0=null,fd:1",
        f"ubd0={scratch / 'changes'},{guest.image}", f"ubd1r={guest.tree}", f"ubd2={scratch / 'result'}",
        f"ubd3r={kernel.modules}", "quiet", "DISK=ubd", *more.split(),
    ]  # fmt: skip


@cache
def accelerator() -> str:
    """KVM where a guest really starts with it: /dev/kvm may be there and fail, inside another guest say."""
    words = "-machine q35 -accel kvm -cpu max -S -display none -nic none -monitor stdio"
    try:
        tried = subprocess.run(
            [QEMU, *words.split()], input=b"quit\n", capture_output=True, timeout=TRY_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return EMULATED
    return EMULATED if tried.returncode else "kvm"


def _run(command: list[str], scratch: Path, seconds: float) -> None:
    """To its end, which is the lab's at the latest."""
    with (scratch / "said").open("wb") as said:
        process = subprocess.Popen(
            [*ALONE, *command],
            stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "TMPDIR": str(scratch)}, start_new_session=True, preexec_fn=_kindly,
        )  # fmt: skip
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired as error:
        raise LabError(f"the guest did not power off within {seconds:.0f} s") from error
    finally:
        end(process)
    if process.returncode:
        raise LabError(f"{Path(command[0]).name} ended with {process.returncode}:\n{_last(scratch)}")


def _last(scratch: Path) -> str:
    """The end of what the guest, or what runs it, said."""
    texts = [
        (scratch / name).read_text(errors="replace")
        for name in ("said", "console")
        if (scratch / name).exists()
    ]
    return "\n".join("\n".join(texts).splitlines()[-30:])


def _kindly() -> None:
    """Without KVM a guest takes all the processors there are."""
    os.nice(10)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _taken(scratch: Path, left: Path) -> Done:
    try:
        run("tar", "-C", left, "--no-same-owner", "-xf", scratch / "result")
        return Done(int((left / "status").read_text()), (left / "output").read_text(errors="replace"))
    except (LabError, OSError, ValueError) as error:
        raise LabError(f"the guest powered off before the task's end:\n{_last(scratch)}") from error
