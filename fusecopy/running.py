"""Records of the mounts that are served, one file each in a runtime directory: a command finds a mount's log
and its server there without asking the server, which may not answer.

A user's records are in a directory of that user's, root's where everybody may read them. One is believed only
where directory and file are owned by the user whom the kernel names as the mount's owner, and nobody else may
write there: nobody can give out a file as the log of another's mount.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from fusecopy import mounts

ROOTS = Path("/run/fusecopy")
USERS = Path("/run/user")
FALLBACK = Path("/tmp")  # where there is no runtime directory: cron, su, containers


class Running(msgspec.Struct, frozen=True):
    """One served mount.

    Attributes:
        connection: number of the FUSE connection.
        backing: the directory served.
        mountpoint: where it was mounted.
        log: the dispatch log.
        pid: the server's process in its pid namespace.
        started: when that began, in ticks since the machine's start (proc_pid_stat(5)).
        namespace: inode number of the pid namespace.
        boot: the machine's start (/proc/sys/kernel/random/boot_id).
        exclusive: nobody is to change the backing but through this mount.
    """

    connection: int
    backing: bytes
    mountpoint: bytes
    log: bytes
    pid: int
    started: int
    namespace: int
    boot: str
    exclusive: bool

    def lives(self) -> bool | None:
        """Whether the server runs; None where that cannot be known here."""
        if self.namespace != _namespace():
            return None
        started = _started(self.pid)
        if started is not None:
            return started == self.started
        try:
            os.kill(self.pid, 0)  # /proc may show a user only what is that user's (hidepid=)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


def record(mount: mounts.Mount, log: Path, exclusive: bool) -> Path | None:
    """Write the record of a mount that this process serves; None where there is no place for it."""
    told = Running(
        connection=mount.connection,
        backing=os.fsencode(mount.source),
        mountpoint=os.fsencode(mount.mountpoint),
        log=os.fsencode(log),
        pid=os.getpid(),
        started=_started(os.getpid()) or 0,
        namespace=_namespace(),
        boot=_boot(),
        exclusive=exclusive,
    )
    for place in _places(os.geteuid()):
        with suppress(OSError):
            _make(place)
            if _trusted(place.lstat(), os.geteuid()):
                _remove_stale(place)
                return _written(place / f"{mount.connection}.json", msgspec.json.encode(told))
    return None


def of(mount: mounts.Mount) -> Running | None:
    """The record of a mount of fusecopy; None where there is none that can be read and believed."""
    for place in _places(mount.owner[0]):
        with suppress(OSError, msgspec.DecodeError):
            if not _trusted(place.lstat(), mount.owner[0]):
                continue
            told = _read(place / f"{mount.connection}.json", mount.owner[0])
            if (told.boot, os.fsdecode(told.backing)) == (_boot(), mount.source):
                return told
    return None


def _places(uid: int) -> Iterator[Path]:
    """Where a user's records may be, best first."""
    if uid == 0:
        yield ROOTS
    own = os.environ.get("XDG_RUNTIME_DIR", "")
    if uid == os.geteuid() and os.path.isabs(own):
        yield Path(own) / "fusecopy"
    yield USERS / str(uid) / "fusecopy"
    yield FALLBACK / f"fusecopy-{uid}"


def _make(place: Path) -> None:
    with suppress(FileExistsError):
        place.mkdir(0o700)
        if place == ROOTS:
            place.chmod(0o755)


def _trusted(status: os.stat_result, uid: int) -> bool:
    return status.st_uid == uid and not status.st_mode & 0o022 and not stat.S_ISLNK(status.st_mode)


def _written(path: Path, content: bytes) -> Path:
    new = path.with_suffix(f".{os.getpid()}")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        os.fchmod(fd, 0o644)
        file.write(content)
    new.replace(path)
    return path


def _read(path: Path, uid: int) -> Running:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or not _trusted(status, uid):
            raise PermissionError
        return msgspec.json.decode(file.read(1 << 16), type=Running)


def _remove_stale(place: Path) -> None:
    """Records whose server and mount are both gone. What a killed server left is kept while its mount is."""
    mounted = {mount.connection for mount in mounts.mounts()}
    for path in place.glob("*.json"):
        with suppress(OSError, msgspec.DecodeError):
            told = _read(path, os.geteuid())
            gone = told.boot != _boot() or told.lives() is False
            if gone and told.connection not in mounted:
                path.unlink()


def _started(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat, 0 of a process that has ended and waits for its parent; None where there is
    none to be seen. The name before the fields may hold anything."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


def _namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
