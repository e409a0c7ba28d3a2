"""The probes: each one small copy, in the order of the table."""

import os
import resource
import signal
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from probing import acts
from probing.acts import MIB
from probing.place import DATA_BYTES, Ground

NOBODY = 65534
SPARSE_BYTES = 10 << 30
WHOLE = 1 << 40

REFUSALS = (
    "EIO", "EINVAL", "EAGAIN", "ENOTTY", "EPERM", "ENOSPC", "EACCES", "ETXTBSY", "EFBIG", "EROFS", "EBADF",
    "ENOMEM", "EOVERFLOW", "ESTALE", "EDQUOT",
)  # fmt: skip
"""Errnos that a server may answer a copy with, and that the kernel takes for no wish to decline."""

Act = Callable[[Ground, Path], object]


@dataclass(frozen=True, slots=True)
class Probe:
    """One small copy.

    Attributes:
        name: as it is kept.
        asked: what is done, in words.
        act: does it, in a child of this process; given a mount and the destination's name there. What it
            returns or raises is the answer.
        records: how many the log is to get.
        filesystem: of the backing.
        options: of the mount.
        policy: of the mount meanwhile, as for `fusecopy policy`, word by word.
        quick: belongs to those that a test runs.
        counted: how many requests it makes is the same every time; else they are not told.
        before: makes what the act needs, unseen; given the mount and the name that the destination has.
        elsewhere: options of a second mount, in whose root the destination is.
    """

    name: str
    asked: str
    act: Act
    records: int = 0
    filesystem: str = "btrfs"
    options: tuple[str, ...] = ()
    policy: tuple[str, ...] = ("default",)
    quick: bool = True
    counted: bool = True
    before: Callable[[Ground, str], None] | None = None
    elsewhere: tuple[str, ...] = ()


def sections() -> dict[str, list[Probe]]:
    """All of them, under what they have in common."""
    return {
        "copy_file_range that the server carries": list(_calls()),
        "copy_file_range that the kernel answers or cuts short": list(_edges()),
        "copy_file_range that the server declines": list(_declined()),
        "copy_file_range that the server refuses": list(_refused()),
        "The ioctls that share extents, or tell of them": list(_ioctls()),
        "Copies that ask for no offload": list(_moved()),
        "Programs": list(_programs()),
        "A file that grew in the backing since it was opened, where the kernel is to believe nothing": list(
            _believed()
        ),
        "Rights": list(_rights()),
        "Where the kernel reads and writes the backing by itself": list(_passed_through()),
        "Backings other than btrfs": list(_filesystems()),
    }


def _calls() -> Iterator[Probe]:
    """copy_file_range where the server carries it."""
    call = "copy_file_range"
    yield Probe("whole", f"{call}, 8 MiB", lambda g, to: acts.one_call(g.data, to, WHOLE), 1)
    yield Probe("part", f"{call}, the first 70000 bytes", lambda g, to: acts.one_call(g.data, to, 70000), 1)
    yield Probe(
        "unaligned", f"{call}, 70000 bytes from byte 1",
        lambda g, to: acts.one_call(g.data, to, 70000, off_in=1), 1,
    )  # fmt: skip
    yield Probe(
        "same-file",
        f"{call} within a file, 1 MiB further on",
        _within(offset=MIB, length=MIB),
        1,
        before=_twin,
    )
    yield Probe(
        "sparse", f"{call}, 10 GiB of holes by one call",
        lambda g, to: acts.one_call(g.here / "holes", to, WHOLE), 1, before=_holes,
    )  # fmt: skip
    yield Probe(
        "two-mounts", f"{call} from one mount of fusecopy to another",
        lambda g, to: acts.one_call(g.data, to, WHOLE), 1, elsewhere=("noatime",),
    )  # fmt: skip
    yield Probe(
        "out", f"{call} from the mount to the btrfs itself",
        lambda g, to: acts.one_call(g.data, g.backing / "out", WHOLE),
    )  # fmt: skip
    yield Probe(
        "in", f"{call} from the btrfs itself into the mount",
        lambda g, to: acts.one_call(g.backing / "data", to, WHOLE),
    )  # fmt: skip


def _edges() -> Iterator[Probe]:
    """copy_file_range that the kernel answers by itself, or cuts short."""
    call = "copy_file_range"
    yield Probe("length-0", f"{call}, length 0", lambda g, to: acts.one_call(g.data, to, 0))
    yield Probe(
        "past-end", f"{call} from the source's end", lambda g, to: acts.one_call(g.data, to, 4096, DATA_BYTES)
    )
    yield Probe(
        "overlap", f"{call} within a file, ranges overlap", _within(offset=4096, length=MIB), before=_twin
    )
    yield Probe("flags", f"{call} with flags 1", lambda g, to: acts.raw_flags(g.data, to))
    yield Probe(
        "append", f"{call}, the destination opened O_APPEND",
        lambda g, to: acts.one_call(g.data, to, 4096, flags=os.O_APPEND),
    )  # fmt: skip
    yield Probe("directory", f"{call} from a directory", lambda g, to: acts.one_call(g.here, to, 4096))
    yield Probe("limit", f"{call}, RLIMIT_FSIZE is 1 MiB", _limited(0), 1)
    yield Probe("at-limit", f"{call}, to where RLIMIT_FSIZE ends", _limited(MIB))


def _declined() -> Iterator[Probe]:
    """copy_file_range that the server declines."""
    for word in ("EOPNOTSUPP", "EXDEV"):
        yield Probe(
            f"decline-{word}", f"copy_file_range, 8 MiB; the server answers {word}",
            lambda g, to: acts.one_call(g.data, to, WHOLE), 1, policy=("default", f"decline={word.lower()}"),
        )  # fmt: skip
    once = ("decline=enosys",)
    yield Probe(
        "decline-ENOSYS", "copy_file_range, 8 MiB; the server answers ENOSYS for the first time",
        lambda g, to: acts.one_call(g.data, to, WHOLE), 1, options=once, policy=(),
    )  # fmt: skip
    yield Probe(
        "after-ENOSYS", "copy_file_range, 8 MiB; the next one after ENOSYS",
        lambda g, to: acts.one_call(g.data, to, WHOLE), 1, options=once, policy=("decline=",),
    )  # fmt: skip


def _refused() -> Iterator[Probe]:
    """copy_file_range that the server refuses."""
    for word in REFUSALS:
        yield Probe(
            f"refuse-{word}", f"copy_file_range; the server answers {word}",
            lambda g, to: acts.one_call(g.data, to, WHOLE), 1, policy=("default", f"refuse={word}"),
        )  # fmt: skip


def _ioctls() -> Iterator[Probe]:
    """The ioctls that share extents, or tell of them."""
    yield Probe("FICLONE", "FICLONE", lambda g, to: acts.clone(g.data, to))
    yield Probe("FICLONERANGE", "FICLONERANGE, 64 KiB", lambda g, to: acts.clone_range(g.data, to, 64 << 10))
    yield Probe(
        "FICLONE-two-mounts", "FICLONE from one mount of fusecopy to another",
        lambda g, to: acts.clone(g.data, to), elsewhere=("noatime",),
    )  # fmt: skip
    yield Probe(
        "FIDEDUPERANGE", "FIDEDUPERANGE within the mount, 64 KiB",
        lambda g, to: acts.dedupe(g.data, to, 64 << 10), before=_twin,
    )  # fmt: skip
    yield Probe(
        "FIDEDUPERANGE-in", "FIDEDUPERANGE from the btrfs itself into the mount",
        lambda g, to: acts.dedupe(g.backing / "data", to, 64 << 10), before=_twin,
    )  # fmt: skip
    yield Probe("FIEMAP", "FIEMAP", lambda g, to: acts.extents(g.data))


def _moved() -> Iterator[Probe]:
    """Copies that ask for no offload."""
    yield Probe("sendfile", "sendfile, 8 MiB", lambda g, to: acts.sendfile(g.data, to), 1)
    yield Probe(
        "splice-64K",
        "splice, 8 MiB, through a pipe of 64 KiB",
        lambda g, to: acts.splice(g.data, to, 64 << 10),
        1,
    )
    yield Probe(
        "splice-1M", "splice, 8 MiB, through a pipe of 1 MiB", lambda g, to: acts.splice(g.data, to, MIB), 1
    )
    yield Probe(
        "read-write", "read and write of 128 KiB, 8 MiB", lambda g, to: acts.read_write(g.data, to), 1
    )
    yield Probe("mmap", "both files mapped, 8 MiB", lambda g, to: acts.mapped(g.data, to), 1, counted=False)


def _programs() -> Iterator[Probe]:
    """Real programs."""
    for name, words in (
        ("cp", "cp data"),
        ("cp-never", "cp --reflink=never data"),
        ("cp-always", "cp --reflink=always data"),
        ("run-cp-always", "fusecopy run cp --reflink=always data"),
        ("dd-1M", "dd bs=1M status=none if=data"),
        ("dd-direct", "dd bs=1M status=none iflag=direct oflag=direct if=data"),
        ("cp-how-copy", "fusecopy cp -q --how copy data"),
        ("cp-how-reflink", "fusecopy cp -q --how reflink data"),
        ("clone", "fusecopy clone data"),
        ("audit", "fusecopy audit -- cp data"),
    ):
        yield Probe(name, words, _program(words), 1, quick=False)
    yield Probe(
        "cp-how-dedupe", "fusecopy cp -q --how dedupe data, over an equal file",
        _program("fusecopy cp -q --how dedupe data"), 1, quick=False, before=_twin,
    )  # fmt: skip
    trace = "fusecopy trace -- cp data"
    yield Probe(
        "trace", f"{trace}: what it says of the kernel's side",
        lambda g, to: acts.traced(g.here, *trace.split(), to.name), 1, quick=False,
    )  # fmt: skip


def _program(words: str) -> Act:
    last = "of=" if words.startswith("dd") else ""
    return lambda g, to: acts.program(g.here, *words.split(), last + to.name)


def _believed() -> Iterator[Probe]:
    """What the kernel sees of a file that grew since it was opened."""
    for how in ("copy_file_range", "sendfile", "splice", "pread"):
        yield Probe(
            f"grown-{how}", f"{how} of the 4096 bytes that a file grew by in the backing, with -o coherent",
            _grown(how), options=("coherent",), quick=False, before=_small,
        )  # fmt: skip


def _rights() -> Iterator[Probe]:
    yield Probe(
        "setuid", "copy_file_range into a setuid file of root's that everybody may write, by another user",
        _into_setuid, 1, before=_setuid,
    )  # fmt: skip


def _passed_through() -> Iterator[Probe]:
    """Where the kernel reads and writes the backing by itself."""
    more = ("passthrough",)
    yield Probe(
        "passthrough", "copy_file_range with --passthrough",
        lambda g, to: acts.one_call(g.data, to, WHOLE), 1, options=more, quick=False,
    )  # fmt: skip
    yield Probe(
        "passthrough-declined", "the same, the server answers EOPNOTSUPP",
        lambda g, to: acts.one_call(g.data, to, WHOLE), 1, options=more, quick=False,
        policy=("default", "decline=eopnotsupp"),
    )  # fmt: skip
    yield Probe(
        "passthrough-sendfile", "sendfile with --passthrough",
        lambda g, to: acts.sendfile(g.data, to), options=more, quick=False,
    )  # fmt: skip


def _filesystems() -> Iterator[Probe]:
    """Backings other than btrfs."""
    for kind in ("xfs", "ext4"):
        yield Probe(
            kind, f"copy_file_range, 8 MiB, on {kind}", lambda g, to: acts.one_call(g.data, to, WHOLE), 1,
            filesystem=kind, quick=False,
        )  # fmt: skip


def _within(offset: int, length: int) -> Act:
    return lambda g, to: acts.one_call(to, to, length, 0, offset)


def _grown(how: str) -> Act:
    return lambda g, to: acts.grown(to, g.backing / to.name, g.here / "grown-into", how)


def _limited(offset: int) -> Act:
    def act(ground: Ground, to: Path) -> int:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # else it ends the process
        resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, MIB))
        return acts.one_call(ground.data, to, WHOLE, 0, offset)

    return act


def _twin(ground: Ground, name: str) -> None:
    """A file with the same bytes as the data, apart from it."""
    (ground.backing / name).write_bytes((ground.backing / "data").read_bytes())


def _holes(ground: Ground, _: str) -> None:
    with (ground.backing / "holes").open("wb") as file:
        file.truncate(SPARSE_BYTES)


def _small(ground: Ground, name: str) -> None:
    (ground.backing / name).write_bytes(bytes(4096))


def _setuid(ground: Ground, name: str) -> None:
    (ground.backing / name).touch()
    (ground.backing / name).chmod(0o4777)


def _into_setuid(ground: Ground, to: Path) -> str:
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    acts.one_call(ground.data, to, WHOLE)
    return "kept" if (ground.backing / to.name).stat().st_mode & stat.S_ISUID else "cleared"
