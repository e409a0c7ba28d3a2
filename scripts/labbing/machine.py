"""A guest: QEMU with four disks, from its start to its power-off, and what the task left."""

import os
import signal
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from labbing.commands import LabError, end
from labbing.guest import Guest
from labbing.kernels import Bootable
from labbing.settings import BOOT_SECONDS, GUEST_MIB, GUEST_PROCESSORS, RESULT_BYTES

QEMU = "qemu-system-x86_64"
EMULATED = "tcg,thread=multi"
TRY_SECONDS = 20.0

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
        result, console = scratch / "result", scratch / "console"
        with result.open("wb") as file:
            file.truncate(RESULT_BYTES)
        _run(_command(kernel, guest, f"TASK={task} LIMIT={seconds}", result, console), BOOT_SECONDS + seconds)
        said = console.read_text(errors="replace") if console.exists() else ""
        return _taken(result, left, said)


def _command(kernel: Bootable, guest: Guest, more: str, result: Path, console: Path) -> list[str]:
    disks = [
        f"file={guest.image},snapshot=on",
        f"file={guest.tree},readonly=on",
        f"file={result}",
        f"file={kernel.modules},readonly=on",
    ]
    return [
        # ends with the lab, however that ends
        "setpriv", "--pdeathsig", "KILL", "--",
        QEMU, "-machine", "q35", "-accel", accelerator(), "-cpu", "max",
        "-smp", str(GUEST_PROCESSORS), "-m", str(GUEST_MIB), "-display", "none", "-monitor", "none",
        "-nic", "none", "-no-reboot", "-serial", f"file:{console}",
        "-kernel", str(kernel.kernel), "-initrd", str(kernel.initrd), "-append", f"{APPEND} {more}",
        *(word for disk in disks for word in ("-drive", f"{disk},format=raw,if=virtio,cache=unsafe")),
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


def _run(command: list[str], seconds: float) -> None:
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True, preexec_fn=lambda: _kindly(),
    )  # fmt: skip
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise LabError(f"the guest did not power off within {seconds:.0f} s") from error
    finally:
        end(process)
    if process.returncode:
        raise LabError(f"QEMU ended with {process.returncode}: {said.strip()}")


def _kindly() -> None:
    """Without KVM a guest takes all the processors there are."""
    os.nice(10)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _taken(result: Path, left: Path, console: str) -> Done:
    try:
        with tarfile.open(result) as tar:
            tar.extractall(left)
        return Done(int((left / "status").read_text()), (left / "output").read_text(errors="replace"))
    except (tarfile.TarError, OSError, ValueError) as error:
        last = "\n".join(console.splitlines()[-30:])
        raise LabError(f"the guest powered off before the task's end; its console:\n{last}") from error
