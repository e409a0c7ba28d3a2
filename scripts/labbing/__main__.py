"""The command line of scripts/lab."""

import argparse
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from labbing import cache, columns, kernels, machine, tasks
from labbing.archive import Archive
from labbing.commands import LabError
from labbing.guest import Guest
from labbing.kernels import Kernel
from labbing.machine import Done
from labbing.settings import COLUMN, HERE, TASK_SECONDS, UML
from probing.records import Column


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        "lab", description="The same tasks on Debian's kernels, in QEMU guests, and on this machine's."
    )
    add = parser.add_argument
    add("--kernel", nargs="+", default=[HERE], metavar="V",
        help=f"as 6.1 or 6.1.192: the newest of Debian's; {UML}: as a program, quicker without KVM; "
        f"{HERE}: this machine's, the default")  # fmt: skip
    add("--task", nargs="+", default=["probe"], choices=tasks.names(), metavar="NAME",
        help=", ".join(tasks.names()) + "; probe where none is named")  # fmt: skip
    add("--seconds", type=int, default=TASK_SECONDS, help=f"what a task is given; {TASK_SECONDS}")
    add("--out", type=Path, default=Path("lab-out"), help="where results go: OUT/KERNEL/TASK/")
    add(
        "--record",
        action="store_true",
        help="take a kernel's column into docs/kernels/, and make docs/kernels.md anew",
    )
    add("--docs", action="store_true", help="make docs/kernels.md anew from docs/kernels/, and end")
    add("--list", action="store_true", help="list the kernels that Debian has, and end")
    return parser.parse_args(arguments)


class Lab:
    """Guests are prepared when the first is wanted."""

    def __init__(self, seconds: int, out: Path, record: bool) -> None:
        self._seconds = seconds
        self._out = out
        self._record = record
        self._cache = cache.directory()
        self._archive = Archive(self._cache / "apt")
        self._guest = Guest(self._cache / "guest")

    def known(self) -> list[Kernel]:
        """Debian's kernels. Raises LabError."""
        with cache.locked(self._cache):
            self._archive.prepare()
        return kernels.known(self._archive)

    def run(self, wanted: str, names: Sequence[str]) -> bool:
        """All the tasks on one kernel; whether all went well. Raises LabError."""
        if wanted == HERE:
            return self._all(HERE, names, None)
        known = self.known()
        kernel = kernels.USER_MODE_KERNEL if wanted == UML else kernels.newest(known, wanted)
        say(f"{wanted}: Debian's {kernel.release}, {kernel.revision}")
        with cache.locked(self._cache):
            say("preparing the guest (the first time, some ten minutes)")
            self._guest.prepare()
            ready = kernels.bootable(kernel, self._archive, self._cache / "kernels")
        return self._all(kernel.version, names, ready)

    def _all(self, version: str, names: Sequence[str], ready: kernels.Bootable | None) -> bool:
        """Every task, also after one that failed; whether all went well."""
        failed = [name for name in names if not self._report(version, name, ready)]
        return not failed

    def _report(self, version: str, name: str, ready: kernels.Bootable | None) -> bool:
        """One task: run, say what it said, and whether it went well."""
        left = self._out / version / name
        shutil.rmtree(left, ignore_errors=True)
        left.mkdir(parents=True)
        say(f"{version}: {name}")
        done = self._done(name, ready, left.absolute())
        print(done.output, end="", flush=True)
        became = "passed" if done.status == 0 else f"failed with status {done.status}"
        say(f"{version}: {name} {became}: {left}")
        if self._record and (left / COLUMN).exists():
            say(f"kept as {columns.keep(Column.parse((left / COLUMN).read_text()))}")
        return done.status == 0

    def _done(self, name: str, ready: kernels.Bootable | None, left: Path) -> Done:
        if ready is None:
            return tasks.run_here(name, self._seconds, left)
        return machine.boot(ready, self._guest, name, self._seconds, left)


def say(line: str) -> None:
    """To whoever waits."""
    print(f"lab: {line}", file=sys.stderr, flush=True)


def main() -> int:
    """Run what was asked for; 0 where all tasks went well, 1 where not."""
    given = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # with scratch and guest gone
    if given.docs:
        columns.write()
        return 0
    lab = Lab(given.seconds, given.out, given.record)
    try:
        if given.list:
            print("\n".join(f"{kernel.version:<10} {kernel.release}" for kernel in lab.known()))
            return 0
        failed = [kernel for kernel in given.kernel if not lab.run(kernel, given.task)]
        return 1 if failed else 0
    except LabError as error:
        say(str(error))
    except KeyboardInterrupt:
        return 130
    return 1


if __name__ == "__main__":
    sys.exit(main())
