"""What went wrong with copies in the field, each under a name to have it again.

A row tells what the call answered, to whom it happened and where that is written. None of them touches the
source; the wrong counts among them are told to the program only, and only where their name was asked for.
"""

import errno
from dataclasses import dataclass
from enum import Enum

from fusecopy.copying import errnos


class SystemCall(str, Enum):
    """A call that asks the kernel for a copy."""

    COPY_FILE_RANGE = "copy_file_range"
    FICLONE = "FICLONE"
    """FICLONERANGE, too."""
    SENDFILE = "sendfile"

    __hash__ = str.__hash__
    __str__ = str.__str__


@dataclass(frozen=True, slots=True)
class Refuse:
    """Nothing is copied, and an errno is answered."""

    errno: int

    def __str__(self) -> str:
        return errnos.name(self.errno)


@dataclass(frozen=True, slots=True)
class Shorten:
    """At most so many bytes are copied, and the true count is answered."""

    size: int

    def __str__(self) -> str:
        return f"at most {self.size} bytes"


@dataclass(frozen=True, slots=True)
class Zero:
    """Nothing is copied, and 0 is answered, as at the source's end: a wrong count."""

    def __str__(self) -> str:
        return "0 before the end"


@dataclass(frozen=True, slots=True)
class Wrap:
    """All is copied, and the lower 32 bits of the count are answered: a wrong count."""

    def __str__(self) -> str:
        return "the count modulo 4 GiB"


@dataclass(frozen=True, slots=True)
class Delay:
    """The call is made after so many seconds."""

    seconds: int

    def __str__(self) -> str:
        return f"{self.seconds} s late"


Effect = Refuse | Shorten | Zero | Wrap | Delay


@dataclass(frozen=True, slots=True)
class Fault:
    """One row.

    Attributes:
        name: of the fault.
        call: which call it answers.
        effect: how.
        happened: to whom, in one sentence.
        source: where that is written: project, number, versions.
        after: bytes of the destination before which it does not strike.
    """

    name: str
    call: SystemCall
    effect: Effect
    happened: str
    source: str
    after: int = 0

    @property
    def answer(self) -> str:
        """What the call answers, in a few words."""
        return f"{self.effect} from byte {self.after} on" if self.after else str(self.effect)


_COPY, _CLONE, _SENDFILE = SystemCall.COPY_FILE_RANGE, SystemCall.FICLONE, SystemCall.SENDFILE

_ROWS = (
    Fault(
        "ecryptfs-einval", _COPY, Refuse(errno.EINVAL),
        "Copying to eCryptfs failed, and left an empty file, because no other way was tried after EINVAL.",
        "boostorg/filesystem#184 (Linux 5.10); oven-sh/bun#25534",
    ),
    Fault(
        "cifs-eio", _COPY, Refuse(errno.EIO),
        "On CIFS the call said EIO, while read and write worked.",
        "golang/go#42334 (Go 1.15.3, Linux 3.10.0-1127 of CentOS 7); php/php-src#10548 (PHP 8.2.2)",
    ),
    Fault(
        "cifs-enoent", _COPY, Refuse(errno.ENOENT),
        "Between CIFS shares the call said ENOENT of files that were open.",
        "GNU coreutils NEWS: since 9.0, mended in 9.2",
    ),
    Fault(
        "mounts-exdev", _COPY, Refuse(errno.EXDEV),
        "Between filesystems the call said EXDEV, and copying ended there.",
        "landley/toybox#382; transmission/transmission#3756",
    ),
    Fault(
        "share-exdev-midway", _COPY, Refuse(errno.EXDEV),
        "On a network share the call copied the beginning, then said EXDEV; some counted that part twice.",
        "oven-sh/bun#43398 (Bun 1.4.3); rust-lang/rust#91152",
        after=64 << 10,
    ),
    Fault(
        "nfs-eopnotsupp", _COPY, Refuse(errno.EOPNOTSUPP),
        "On NFS before 4.2 the call said EOPNOTSUPP, where programs knew ENOSYS, EXDEV and EINVAL only.",
        "golang/go#40731, #41064 (Go 1.15, CentOS 7.8); rust-lang/rust#75387; libuv/libuv#3069 (1.40)",
    ),
    Fault(
        "qemu-enosys", _COPY, Refuse(errno.ENOSYS),
        "Under qemu's user emulation the call said ENOSYS, on kernels that have it.",
        "golang/go#58592 (Go 1.20)",
    ),
    Fault(
        "container-eperm", _COPY, Refuse(errno.EPERM),
        "In containers whose seccomp profile did not know the call it said EPERM.",
        "rust-lang/rust#51266; golang/go#40893 (Go 1.15, Linux 4.10)",
    ),
    Fault(
        "append-ebadf", _COPY, Refuse(errno.EBADF),
        "To a file that had become O_APPEND after it was opened the call said EBADF.",
        "golang/go#79660",
    ),
    Fault(
        "swapfile-etxtbsy", _COPY, Refuse(errno.ETXTBSY),
        "Of a swap file in use the call says ETXTBSY, which a library took for another error.",
        "ziglang/zig#12485; copy_file_range(2) (Linux 5.3 and later)",
    ),
    Fault(
        "offset-efbig", _COPY, Refuse(errno.EFBIG),
        "With a large length the call said EFBIG at the source's end.",
        "GNU coreutils, comment in src/copy-file-data.c (Linux 6.17.0-8 of Ubuntu 25.10)",
    ),
    Fault(
        "length-eoverflow", _COPY, Refuse(errno.EOVERFLOW),
        "A length without limit and an offset above 0 made the call say EOVERFLOW.",
        "ziglang/zig#25737",
    ),
    Fault(
        "nfsd-short-4m", _COPY, Shorten(4 << 20),
        "Linux's NFS server copies 4 MiB for each request, and says so.",
        "Linux, commit 8d915bbf3926 (fs/nfsd)",
    ),
    Fault(
        "short-2g", _COPY, Shorten(0x7FFFF000),
        "One call copies 2147479552 bytes at most; who called once lost the rest.",
        "containerd/continuity#114; KarpelesLab/reflink#3",
    ),
    Fault(
        "procfs-zero", _COPY, Zero(),
        "From /proc and /sys the call said 0 although there was data: empty files, and loops without end.",
        "golang/go#44272 (Linux 5.7.17); systemd/systemd#18810; gentoo/portage#778",
    ),
    Fault(
        "zero-after-16m", _COPY, Zero(),
        "After the first 16 MiB the call said 0, and that was taken for the end.",
        "openclaw/fs-safe#359",
        after=16 << 20,
    ),
    Fault(
        "count-32bit", _COPY, Wrap(),
        "FUSE's first copy request answers in 32 bits: 4 GiB copied were told as 0.",
        "libfuse/libfuse#1331",
    ),
    Fault(
        "nfs-copy-hangs", _COPY, Delay(30),
        "An asynchronous copy of NFS waited for a message that was lost, until somebody interrupted it.",
        "Linux, commit 8d915bbf3926 (fs/nfsd)",
    ),
    Fault(
        "ficlone-einval", _CLONE, Refuse(errno.EINVAL),
        "FICLONE said EINVAL where EOPNOTSUPP was expected, and nothing else was tried.",
        "libuv/libuv#2483",
    ),
    Fault(
        "ficlone-transient-eio", _CLONE, Refuse(errno.EIO),
        "After a passing error of FICLONE another way was tried, which could hide lost data.",
        "GNU coreutils NEWS: since 7.5, mended in 9.2",
    ),
    Fault(
        "lustre-enodata", _SENDFILE, Refuse(errno.ENODATA),
        "On Lustre sendfile said ENODATA now and then, while read and write worked.",
        "python/cpython#139416 (Python 3.14)",
    ),
    Fault(
        "procfs-sendfile-einval", _SENDFILE, Refuse(errno.EINVAL),
        "From /proc sendfile said EINVAL, and the copy failed.",
        "openjdk/jdk17#128 (JDK-8269074)",
    ),
)  # fmt: skip

FAULTS = {fault.name: fault for fault in _ROWS}
"""By name, in the order in which they are told."""
