"""A program, not a test: makes each call of the table in the current directory and prints what came of it.

Run natively on the backing and under `fusecopy run` in the mount; both must print the same. Arguments: a
directory on another filesystem, and optionally a prefix of the cells' names.
"""

import ctypes
import errno
import json
import os
import resource
import signal
import stat
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

FICLONE = 0x40049409
FICLONERANGE = 0x4020940D
FIDEDUPERANGE = 0xC0189436
FIEMAP = 0xC020660B

BLOCK = 4096
SYNC, XATTR, UNKNOWN = 1, 2, 0x40000000
READ, WRITE, BOTH = os.O_RDONLY, os.O_WRONLY, os.O_RDWR

libc = ctypes.CDLL(None, use_errno=True)
OUTSIDE = Path(sys.argv[1])

Result = list[object]
CELLS: dict[str, Callable[[], Result]] = {}


def cell(name: str, function: Callable[[], Result]) -> None:
    assert name not in CELLS, name
    CELLS[name] = function


def data(size: int, seed: int = 1) -> bytes:
    return b"".join(struct.pack("<QQ", seed, at) * (BLOCK // 16) for at in range(size // BLOCK + 1))[:size]


def make(name: str, size: int, seed: int = 1, mode: int = 0o644) -> Path:
    path = Path(name)
    path.unlink(missing_ok=True)
    path.write_bytes(data(size, seed))
    path.chmod(mode)
    return path


def ioctl(fd: int, command: int, argument: object) -> str:
    failed = libc.ioctl(fd, ctypes.c_ulong(command), argument)
    return errno.errorcode[ctypes.get_errno()] if failed else "0"


def state(path: Path) -> Result:
    content = path.read_bytes()
    digest = sum(content[at] * (at % 65521 + 1) for at in range(0, len(content), 97))
    return [len(content), digest, path.stat().st_size, oct(stat.S_IMODE(path.stat().st_mode))]


def clone(
    source: int | str = 3 * BLOCK,
    destination: int | str = 0,
    flags: tuple[int, int] = (READ, WRITE),
    span: tuple[int, int, int] | None = None,
    prepare: Callable[[Path, Path], None] = lambda one, other: None,
    finish: Callable[[Path, Path], None] = lambda one, other: None,
    mode: int = 0o644,
) -> Callable[[], Result]:
    """FICLONE, or with a span FICLONERANGE; a number makes a file of that size, a name is opened."""

    def call() -> Result:
        one = make("source", source) if isinstance(source, int) else Path(source)
        other = (
            make("destination", destination, 2, mode) if isinstance(destination, int) else Path(destination)
        )
        reading, writing = os.open(one, flags[0]), os.open(other, flags[1])
        prepare(one, other)
        if span is None:
            result = ioctl(writing, FICLONE, ctypes.c_long(reading))
        else:
            result = ioctl(writing, FICLONERANGE, struct.pack("=qQQQ", reading, *(n % 2**64 for n in span)))
        os.close(reading)
        os.close(writing)
        finish(one, other)
        return [result, *(state(path) for path in (one, other) if path.is_file())]

    return call


def chattr(letter: str, which: int) -> Callable[[Path, Path], None]:
    def change(*paths: Path) -> None:
        subprocess.run(["chattr", letter, paths[which]], check=True)

    return change


def limited(size: int) -> tuple[Callable[[Path, Path], None], Callable[[Path, Path], None]]:
    def change(to: int) -> Callable[[Path, Path], None]:
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        return lambda one, other: resource.setrlimit(resource.RLIMIT_FSIZE, (to, hard))

    return change(size), change(resource.RLIM_INFINITY)


def raw(
    command: int, argument: object, opened: str = "destination", flags: int = BOTH
) -> Callable[[], Result]:
    """A call with an argument that makes no sense."""

    def call() -> Result:
        make("destination", BLOCK)
        fd = os.open(opened, flags) if opened else 999
        result = ioctl(fd, command, argument)
        if opened:
            os.close(fd)
        return [result]

    return call


def dedupe(
    targets: list[tuple[int, int, int]],
    source: int = 3 * BLOCK,
    span: tuple[int, int] = (0, 3 * BLOCK),
    flags: int = READ,
    opened: int = BOTH,
    names: list[str] | None = None,
    reserved: tuple[int, int, int] = (0, 0, 0),
    prepare: Callable[[Path, Path], None] = lambda one, other: None,
    finish: Callable[[Path, Path], None] = lambda one, other: None,
) -> Callable[[], Result]:
    """FIDEDUPERANGE into targets (size, seed, offset), or into what names say."""

    def call() -> Result:
        one = make("source", source)
        fd = os.open(one, flags)
        paths = [make(f"target{at}", size, seed) for at, (size, seed, _) in enumerate(targets)]
        paths = [Path(name) for name in names] if names else paths
        fds = [
            os.open(path, READ if path.is_dir() else opened) if str(path) != "none" else 999 for path in paths
        ]
        prepare(one, paths[0] if paths else one)
        request = bytearray(struct.pack("=QQHHI", *span, len(fds), *reserved[:2]))
        for at, target in zip(fds, targets, strict=False):
            request += struct.pack("=qQQiI", at, target[2], 77, 77, reserved[2])
        buffer = (ctypes.c_char * len(request)).from_buffer(request)
        result = ioctl(fd, FIDEDUPERANGE, buffer)
        statuses = [list(struct.unpack_from("=Qi", request, 24 + 32 * at + 16)) for at in range(len(fds))]
        for opened_fd in (fd, *(at for at in fds if at != 999)):
            os.close(opened_fd)
        finish(one, paths[0] if paths else one)
        return [result, statuses, *(state(path) for path in paths if path.is_file())]

    return call


def sparse(pieces: int) -> str:
    """A file of as many blocks with a hole behind each."""
    name = f"map{pieces}"
    if Path(name).exists():
        return name
    with open(name, "wb") as file:
        for piece in range(pieces):
            file.seek(piece * 2 * BLOCK)
            file.write(data(BLOCK, piece + 1))
        file.truncate(pieces * 2 * BLOCK)
        os.fsync(file.fileno())
    return name


def fiemap(
    opened: str = "",
    pieces: int = 5,
    start: int = 0,
    length: int = 2**64 - 1,
    flags: int = SYNC,
    count: int = 1000,
    room: int = 1000,
    mode: int = READ,
) -> Callable[[], Result]:
    """FS_IOC_FIEMAP; of each extent all but where it lies on the device."""

    def call() -> Result:
        request = bytearray(32 + 56 * room)
        struct.pack_into("=QQIIII", request, 0, start, length, flags, 0, count, 0)
        fd = os.open(opened or sparse(pieces), mode)
        result = ioctl(fd, FIEMAP, (ctypes.c_char * len(request)).from_buffer(request))
        os.close(fd)
        _, _, told, mapped, asked, _ = struct.unpack_from("=QQIIII", request)
        extents: Result = []
        for at in range(min(mapped, count, room)):
            logical, _, size, _, _, word = struct.unpack_from("=QQQQQI", request, 32 + 56 * at)
            extents.append([logical, size, word])
        return [result, told, mapped, asked, extents]

    return call


def signalled() -> Result:
    """RLIMIT_FSIZE brings a signal as well as an errno."""
    seen: list[int] = []
    signal.signal(signal.SIGXFSZ, lambda number, frame: seen.append(number))
    prepare, finish = limited(0)
    result = clone(prepare=prepare, finish=finish)()
    return [*result, seen]


def add_clones() -> None:
    for size in (0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 70000):
        cell(f"FICLONE of {size} bytes", clone(size))
    for size, into in ((BLOCK, 5 * BLOCK), (BLOCK + 1, 5 * BLOCK), (BLOCK + 1, BLOCK + 1), (BLOCK, 10)):
        cell(f"FICLONE of {size} bytes over {into}", clone(size, into))
    modes = {"ro": READ, "wo": WRITE, "rw": BOTH, "append": WRITE | os.O_APPEND, "path": os.O_PATH}
    for one, other in (
        ("wo", "wo"), ("rw", "rw"), ("ro", "ro"), ("ro", "append"), ("path", "wo"), ("ro", "path"),
        ("wo", "ro"), ("rw", "append"),
    ):  # fmt: skip
        cell(f"FICLONE from {one} to {other}", clone(flags=(modes[one], modes[other])))
    outside = str(OUTSIDE / "file")
    for name, one, other, flags in (
        ("a file to itself", "same", "same", (READ, WRITE)),
        ("a hard link to itself", "same", "link", (READ, WRITE)),
        ("a directory", ".", "same", (READ, WRITE)),
        ("into a directory", "same", ".", (READ, READ)),
        ("a fifo", "fifo", "same", (BOTH, WRITE)),
        ("into a fifo", "same", "fifo", (READ, BOTH)),
        ("/dev/null", "/dev/null", "same", (READ, WRITE)),
        ("into /dev/null", "same", "/dev/null", (READ, WRITE)),
        ("of another filesystem", outside, "same", (READ, WRITE)),
        ("into another filesystem", "same", outside, (READ, WRITE)),
    ):
        cell(f"FICLONE {name}", clone(one, other, flags))
    cell("FICLONE into immutable", clone(prepare=chattr("+i", 1), finish=chattr("-i", 1)))
    cell("FICLONE of immutable", clone(prepare=chattr("+i", 0), finish=chattr("-i", 0)))
    cell("FICLONE of removed", clone(prepare=lambda one, other: one.unlink()))
    cell("FICLONE into setuid", clone(mode=0o6755))
    cell("FICLONE with RLIMIT_FSIZE 0", signalled)
    prepare, finish = limited(BLOCK)
    cell("FICLONE with RLIMIT_FSIZE of a block", clone(prepare=prepare, finish=finish))


def add_ranges() -> None:
    size = 10 * BLOCK + 100
    for span in (
        (0, 0, 0), (0, BLOCK, 0), (BLOCK, BLOCK, 3 * BLOCK), (100, BLOCK, 0), (0, BLOCK, 100), (0, 100, 0),
        (10 * BLOCK, 100, 0), (10 * BLOCK, 0, 0), (10 * BLOCK, 99, 0), (size, 0, 0), (11 * BLOCK, 0, 0),
        (20 * BLOCK, BLOCK, 0), (0, size + 1, 0), (0, 20 * BLOCK, 0), (0, BLOCK, 1 << 22), (-BLOCK, BLOCK, 0),
        (0, BLOCK, -BLOCK), (0, -BLOCK, 0), (2**63 - BLOCK, BLOCK, 0), (0, BLOCK, 2**63 - BLOCK),
    ):  # fmt: skip
        cell(f"FICLONERANGE {span} into empty", clone(size, 0, span=span))
    for span in ((10 * BLOCK, 100, 0), (0, 0, 0), (0, BLOCK, 2 * BLOCK), (10 * BLOCK, 100, 20 * BLOCK)):
        cell(f"FICLONERANGE {span} into larger", clone(size, 20 * BLOCK, span=span))
    for span in ((0, BLOCK, BLOCK), (0, 2 * BLOCK, BLOCK), (BLOCK, BLOCK, 0), (0, 0, BLOCK)):
        cell(f"FICLONERANGE {span} in one file", clone("same", "same", (READ, WRITE), span=span))


def add_dedupes() -> None:
    whole = (3 * BLOCK, 1, 0)
    other = (3 * BLOCK, 2, 0)
    cell("FIDEDUPERANGE equal", dedupe([whole]))
    cell("FIDEDUPERANGE different", dedupe([other]))
    cell("FIDEDUPERANGE equal, different, equal", dedupe([whole, other, whole]))
    cell("FIDEDUPERANGE read-only target", dedupe([whole], opened=READ))
    cell("FIDEDUPERANGE write-only target", dedupe([whole], opened=WRITE))
    cell("FIDEDUPERANGE no target", dedupe([]))
    cell("FIDEDUPERANGE no target past the end", dedupe([], span=(0, 4 * BLOCK)))
    cell("FIDEDUPERANGE 126 targets", dedupe([whole] * 126))
    cell("FIDEDUPERANGE 128 targets", dedupe([whole] * 128))
    cell("FIDEDUPERANGE past the end", dedupe([whole], span=(0, 4 * BLOCK)))
    cell("FIDEDUPERANGE target too short", dedupe([(BLOCK, 1, 0)]))
    cell("FIDEDUPERANGE of nothing", dedupe([whole], span=(0, 0)))
    cell("FIDEDUPERANGE unaligned source", dedupe([whole], span=(100, BLOCK)))
    cell("FIDEDUPERANGE unaligned target", dedupe([(3 * BLOCK, 1, 100)], span=(0, BLOCK)))
    cell("FIDEDUPERANGE unaligned length", dedupe([whole], span=(0, BLOCK + 100)))
    cell(
        "FIDEDUPERANGE unaligned end",
        dedupe([(2 * BLOCK + 100, 1, 0)], 2 * BLOCK + 100, (0, 2 * BLOCK + 100)),
    )
    cell("FIDEDUPERANGE negative source", dedupe([whole], span=(2**64 - BLOCK, BLOCK)))
    cell("FIDEDUPERANGE negative target", dedupe([(3 * BLOCK, 1, 2**64 - BLOCK)]))
    cell("FIDEDUPERANGE write-only source", dedupe([whole], flags=WRITE))
    cell("FIDEDUPERANGE reserved word of the head", dedupe([whole], reserved=(1, 0, 0)))
    cell("FIDEDUPERANGE reserved words of the head", dedupe([whole], reserved=(0, 1, 0)))
    cell("FIDEDUPERANGE reserved word of a target", dedupe([whole], reserved=(0, 0, 1)))
    for name in ("none", ".", "fifo", "/dev/null", "source", str(OUTSIDE / "file")):
        cell(f"FIDEDUPERANGE into {Path(name).name or name}", dedupe([whole], names=[name]))
    cell("FIDEDUPERANGE immutable", dedupe([whole], prepare=chattr("+i", 1), finish=chattr("-i", 1)))
    cell("FIDEDUPERANGE of a directory", raw(FIDEDUPERANGE, struct.pack("=QQHHI", 0, 0, 0, 0, 0), ".", READ))


def add_maps() -> None:
    cell("FIEMAP", fiemap())
    cell("FIEMAP counted", fiemap(count=0))
    cell("FIEMAP of 600 extents", fiemap(pieces=600))
    cell("FIEMAP of 600 extents counted", fiemap(pieces=600, count=0))
    cell("FIEMAP of 600 extents, 300 asked", fiemap(pieces=600, count=300))
    cell("FIEMAP of 600 extents, 500 asked", fiemap(pieces=600, count=500))
    cell("FIEMAP of one extent", fiemap(count=1))
    cell("FIEMAP of a part", fiemap(start=2 * BLOCK, length=3 * BLOCK))
    cell("FIEMAP of nothing", fiemap(length=0))
    cell("FIEMAP past the end", fiemap(start=1 << 30))
    cell("FIEMAP past all ends", fiemap(start=2**63))
    cell("FIEMAP with an unknown flag", fiemap(flags=SYNC | UNKNOWN))
    cell("FIEMAP of attributes", fiemap(flags=XATTR))
    cell("FIEMAP of an empty file", fiemap(pieces=0))
    cell("FIEMAP write-only", fiemap(mode=WRITE))
    cell("FIEMAP by O_PATH", fiemap(mode=os.O_PATH))
    cell("FIEMAP of too many", fiemap(count=2**32 - 1, room=10))
    cell("FIEMAP of /dev/null", fiemap("/dev/null"))
    cell("FIEMAP of another filesystem", fiemap(str(OUTSIDE / "file")))


def add_nonsense() -> None:
    for name, command in (
        ("FICLONERANGE", FICLONERANGE),
        ("FIDEDUPERANGE", FIDEDUPERANGE),
        ("FIEMAP", FIEMAP),
    ):
        cell(f"{name} at 0", raw(command, ctypes.c_long(0)))
        cell(f"{name} at 1", raw(command, ctypes.c_long(1)))
        cell(f"{name} at -1", raw(command, ctypes.c_long(-1)))
        cell(f"{name} on no descriptor", raw(command, ctypes.c_long(0), ""))
        cell(f"{name} by O_PATH at 0", raw(command, ctypes.c_long(0), flags=os.O_PATH))
    for number in (-1, 999, 2**32 + 999):
        cell(f"FICLONE of descriptor {number}", raw(FICLONE, ctypes.c_long(number)))
    cell("FICLONE on no descriptor", raw(FICLONE, ctypes.c_long(0), ""))
    cell("FICLONE signed as int", raw(FICLONE | 0xFFFFFFFF00000000, ctypes.c_long(-1)))
    room = bytearray(32 + 56)
    cell(
        "FIEMAP signed as int",
        raw(FIEMAP | 0xFFFFFFFF00000000, (ctypes.c_char * len(room)).from_buffer(room)),
    )


def main() -> None:
    prefix = sys.argv[2] if len(sys.argv) > 2 else ""
    make("same", 4 * BLOCK)
    os.link("same", "link")
    os.mkfifo("fifo")
    for add in (add_clones, add_ranges, add_dedupes, add_maps, add_nonsense):
        add()
    print(json.dumps({name: call() for name, call in CELLS.items() if name.startswith(prefix)}))


if __name__ == "__main__":
    main()
