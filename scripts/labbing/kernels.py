"""Debian's kernels: found by version, fetched, unpacked, and made ready to boot."""

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from labbing import cache, initrd
from labbing.archive import Archive
from labbing.commands import LabError, run
from labbing.settings import KERNEL_ONLY, RELEASE, USER_MODE

PACKAGE = re.compile(r"linux-(?:image|binary)-(\d+\.\d+\.\d\S*-cloud-amd64)")
"""Debian's kernels for virtual machines: with every filesystem, and quick to boot."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel of Debian's.

    Attributes:
        version: upstream's, as 6.1.192.
        release: what uname -r says there, as 6.1.0-57-cloud-amd64; or USER_MODE.
        revision: the package's version.
    """

    version: str
    release: str
    revision: str

    @property
    def order(self) -> tuple[int, ...]:
        """By which the newest is found."""
        return numbers(self.revision)


@dataclass(frozen=True, slots=True)
class Bootable:
    """A kernel on disk.

    Attributes:
        kernel: itself.
        boot: the modules that it has to load to find its disks, in order.
        modules: an image of all its modules.
        user_mode: it is a program (user-mode-linux).
    """

    kernel: Path
    boot: Path
    modules: Path
    user_mode: bool


def numbers(version: str) -> tuple[int, ...]:
    """A version's numbers, to sort by."""
    return tuple(int(digits) for digits in re.findall(r"\d+", version))


def known(archive: Archive) -> list[Kernel]:
    """All that the archive has, the oldest first."""
    found = {}
    for prefix in ("linux-image-", "linux-binary-"):
        for package, revision in archive.versions(prefix).items():
            match = PACKAGE.fullmatch(package)
            if match:
                kernel = Kernel(re.split("[-+~]", revision)[0], match[1], revision)
                found[kernel.release] = kernel
    return sorted(found.values(), key=lambda kernel: kernel.order)


USER_MODE_KERNEL = Kernel("uml", USER_MODE, RELEASE)
"""Linux as a program: at nearly the speed of the machine, with one processor and no ftrace. That of the
guests' own release: a later one may want a later C library than the host has."""


def newest(kernels: Iterable[Kernel], wanted: str) -> Kernel:
    """The newest whose version is `wanted` or begins with it, as 6.1 or 6.1.192.

    Raises:
        LabError: there is none.
    """
    kernels = list(kernels)
    fit = [kernel for kernel in kernels if f"{kernel.version}.".startswith(f"{wanted}.")]
    if not fit:
        series = sorted({".".join(kernel.version.split(".")[:2]) for kernel in kernels}, key=numbers)
        raise LabError(f"Debian has no kernel {wanted}; it has {', '.join(series)}")
    return fit[-1]


def bootable(kernel: Kernel, archive: Archive, kept: Path) -> Bootable:
    """The kernel on disk, fetched unless it is there. Raises LabError."""
    where = kept / kernel.release
    if not (where / "boot").is_dir():
        with cache.whole(where) as new:
            _fetch(kernel, archive, new)
            initrd.keep_modules(new / "modules" / _release(new), new / "boot")
            _image(new / "modules", new / "modules.img")
            shutil.rmtree(new / "modules")
    return Bootable(where / "kernel", where / "boot", where / "modules.img", kernel.release == USER_MODE)


def _release(where: Path) -> str:
    (modules,) = (where / "modules").iterdir()
    return modules.name


def _fetch(kernel: Kernel, archive: Archive, where: Path) -> None:
    """Leave `kernel` and `modules/RELEASE`, with their dependencies worked out."""
    packages, root, depmod = where / "packages", where / "root", where / "depmod"
    packages.mkdir()
    for package in archive.download(*_packages(kernel, archive), into=packages):
        run("dpkg-deb", "-x", package, root)
    modules = _only(root, "**/modules/[0-9]*")
    _only(root, "boot/vmlinuz-*", "**/modules/*/vmlinuz", "usr/bin/linux.uml").rename(where / "kernel")
    # depmod looks in lib/, which with newer packages is in usr/.
    (depmod / "lib/modules").mkdir(parents=True)
    modules = modules.rename(depmod / "lib/modules" / modules.name)
    run("depmod", "-b", depmod, modules.name)
    modules.parent.rename(where / "modules")
    for used in (packages, root, depmod):
        shutil.rmtree(used)


def _packages(kernel: Kernel, archive: Archive) -> list[str]:
    if kernel.release == USER_MODE:
        return [f"{USER_MODE}/{RELEASE}"]
    split = archive.versions(f"linux-binary-{kernel.release}")
    return [f"{name}-{kernel.release}" for name in (KERNEL_ONLY if split else ("linux-image",))]


def _only(root: Path, *patterns: str) -> Path:
    for pattern in patterns:
        for path in root.glob(pattern):
            return path
    raise LabError(f"{root}: no {' or '.join(patterns)} in the packages")


def _image(directory: Path, image: Path) -> None:
    """An ext4 with what is in the directory."""
    size = sum(path.lstat().st_size for path in directory.rglob("*")) * 5 // 4 + (32 << 20)
    with image.open("wb") as file:
        file.truncate(size)
    run("mke2fs", "-q", "-t", "ext4", "-O", "^orphan_file,^metadata_csum_seed", "-d", directory, image)
