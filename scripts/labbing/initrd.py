"""An initrd: busybox, the few modules that find the guest's disks, and scripts/labbing/guest/initrd."""

import lzma
import shutil
import subprocess
from pathlib import Path

from labbing.commands import LabError
from labbing.settings import BOOT_MODULES

INIT = Path(__file__).with_name("guest") / "initrd"


def keep_modules(modules: Path, kept: Path) -> None:
    """Lay out in `kept`, in their order, what a kernel has to load before it finds its disks.

    Args:
        modules: the kernel's own directory of modules, with modules.dep.
    """
    kept.mkdir()
    for number, module in enumerate(_in_order(modules)):
        # busybox's insmod takes plain modules only
        (kept / f"{number:02}.ko").write_bytes(_plain(module))


def make(initrd: Path, modules: Path, busybox: Path) -> None:
    """Write one with the modules that were kept. Raises LabError."""
    content = initrd.with_name("content")
    shutil.copytree(modules, content / "modules")
    (content / "bin").mkdir()
    shutil.copy(busybox, content / "bin/busybox")
    shutil.copy(INIT, content / "init")
    names = "\0".join(sorted(str(path.relative_to(content)) for path in content.rglob("*")))
    made = subprocess.run(
        ["cpio", "--quiet", "--null", "-o", "-H", "newc"],
        input=names.encode(), cwd=content, capture_output=True, check=False,
    )  # fmt: skip
    if made.returncode:
        raise LabError(f"cpio: {made.stderr.decode(errors='replace').strip()}")
    initrd.write_bytes(made.stdout)


def _in_order(modules: Path) -> list[Path]:
    """The modules to load, each after those it needs; none that the kernel has built in."""
    lines = (modules / "modules.dep").read_text().splitlines()
    needs = {module: others.split() for module, _, others in (line.partition(":") for line in lines)}
    wanted: list[str] = []
    for name in BOOT_MODULES:
        for module, others in needs.items():
            if Path(module).name.split(".")[0].replace("-", "_") == name:
                # modules.dep names what is needed with the nearest first
                wanted += [need for need in (*reversed(others), module) if need not in wanted]
    return [modules / module for module in wanted]


def _plain(module: Path) -> bytes:
    return lzma.decompress(module.read_bytes()) if module.suffix == ".xz" else module.read_bytes()
