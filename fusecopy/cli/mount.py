"""fusecopy mount: serve a directory at a mount point."""

import logging
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fusecopy import asking, io_uring, mounts, remounting, running
from fusecopy.cli import inherited, options
from fusecopy.cli.arguments import NAME, check_answers
from fusecopy.cli.daemon import log_to, run_in_background
from fusecopy.cli.notify import notify
from fusecopy.dispatch.claim import BusyError, Claim, claim
from fusecopy.errors import (
    BackingError,
    FusecopyError,
    FuseUnavailableError,
    MountPointError,
    StaleMountError,
    UsageError,
)
from fusecopy.names import COHERENCE
from fusecopy.terminal import say

if TYPE_CHECKING:
    from fusecopy.filesystem.server import Config

LONG_TIMEOUT = 3600.0
"""What the kernel knows stays right, or is taken back when somebody changes it; but nothing is for ever."""

ROOTS_LOGS = Path("/var/log/fusecopy")

MOST_LOGS = 10
"""Logs of one mount point that servers may write at a time, all but one of them detached lazily."""

DEVICE = "/dev/fuse"

LONGEST_NAME = 200
"""Bytes of a log's name, to which rotation and diagnostics add some; file systems take 255."""

Given = dict[str, str | bool]
"""Options by name; those without a value are True or, from -o, empty."""


@click.command()
@click.argument("backing", type=NAME)
@click.argument("mountpoint", type=NAME)
@click.option("-o", "words", multiple=True, metavar="OPT,...", help="Mount options, as for mount(8).")
@click.option("-f", "--foreground", is_flag=True, help="Stay in the foreground.")
@click.option("--log", "log_file", type=NAME, help="The dispatch log's file.")
@click.option("--paths", help="The ladder: reflink,copy_file_range,splice,sendfile,readwrite,dedupe.")
@click.option("--strict", is_flag=True, help="Answer an error where a reflink is not possible.")
@click.option("--decline", help="Leave every copy to the kernel: eopnotsupp, enosys (for good) or exdev.")
@click.option("--refuse", metavar="ERRNO", help="Refuse every copy with this errno, for experiments.")
@click.option("--coherent", is_flag=True, help="Ask the backing every time.")
@click.option("--exclusive", is_flag=True, help="Assume that nobody else changes the backing.")
@click.option("--passthrough", is_flag=True, help="Have the kernel read and write by itself (root).")
@click.option("--no-native-lane", is_flag=True, hidden=True)  # for tests: Python answers every request
@click.option("--replace", is_flag=True, help="Remove a dead mount at the mount point first.")
def command(
    backing: str,
    mountpoint: str,
    words: tuple[str, ...],
    foreground: bool,
    log_file: str | None,
    replace: bool,
    **policy: str | bool | None,
) -> None:
    """Serve the directory BACKING at MOUNTPOINT.

    Returns once the mount answers. Then copy inside it, and read what became of each copy with
    `fusecopy log MOUNTPOINT`. Options of -o: libfuse's (allow_other, ro, ...), noatime, strict,
    log=FILE, log_size=SIZE at which it is rotated (10M), log_keep=N rotated files (20), paths=a:b,
    decline=WORD, refuse=ERRNO, coherent, exclusive, kernel_cache, passthrough, io_uring (fail where requests
    cannot come that way), no-io_uring (even where they can), trace_ioctls (root: see the reflinks that
    the kernel refuses; slows the whole machine a little), and timeout=SECONDS for which the kernel may
    believe names, attributes and listings. By default fusecopy watches the backing, and the mount shows
    what others change in it.
    """
    asked = options.parse(words)
    named = {"log": log_file, **policy}
    given = {key.replace("_", "-"): value for key, value in named.items() if value not in (None, False)}
    start(backing, mountpoint, asked, given, foreground, replace)


def start(
    backing: str,
    mountpoint: str,
    asked: options.Words,
    given: Given,
    foreground: bool,
    replace: bool = False,
) -> None:
    """Check everything that can be checked before, then mount. Options given by name win over -o.

    Raises:
        FusecopyError: it cannot be done; nothing was mounted.
    """
    inherited.be_private()
    own: Given = {**asked.own, **given}
    _check_values(own)
    if "remount" in own:
        _remount(mountpoint, asked, own)
        return
    backing = _checked_backing(backing)
    mountpoint = _checked_mountpoint(mountpoint, backing, replace)
    _check_fuse(asked.forwarded)
    if "passthrough" in own:
        _check_passthrough(own)
    if "nosymfollow" in own:
        _check_root("nosymfollow", "nosymfollow is for root: fusermount3 does not know it")
    _check_io_uring(own)
    if "trace_ioctls" in own and os.geteuid() != 0:
        raise UsageError(
            "trace_ioctls is for root, who may use tracefs", "leave it out: refusals are inferred"
        )
    _check_coherence(own)
    config = _config(backing, mountpoint, own, asked.forwarded)
    _warn_of_others(config)

    def serve(ready: Callable[[str], None]) -> None:
        from fusecopy.filesystem.server import Server

        Server(config).run(ready)

    _warn_of_file_size_limit()
    try:
        _serve(serve, config, foreground)
    except FusecopyError:
        config.log.give_up()
        raise


def _serve(serve: Callable[[Callable[[str], None]], None], config: "Config", foreground: bool) -> None:
    log = config.log
    if not foreground:
        pid = run_in_background(
            lambda ready: serve(lambda _: ready()), _diagnostics(log.path), keep=log.descriptor
        )
        coherence = os.getxattr(config.mountpoint, COHERENCE).decode()
        say(_mounted(config, pid, coherence))
        _say_hook()
        return
    inherited.leave_behind(log.descriptor)
    log_to(None)
    try:
        serve(lambda coherence: _say_ready(config, coherence))
    finally:
        notify("STOPPING=1")


def _diagnostics(log: Path) -> Path:
    """Beside the log, of the same name: MNT.diagnostics for MNT.jsonl."""
    name = log.name.removesuffix(".jsonl")
    return log.with_name(f"{name}.diagnostics")


def _warn_of_file_size_limit() -> None:
    limit = inherited.file_size_limit()
    if limit is not None:
        say(
            f"fusecopy: warning: no program can write beyond {limit} bytes of a file in this mount, because"
            " you cannot (ulimit -f)",
            sys.stderr,
        )


def _warn_of_others(config: "Config") -> None:
    """Say that the backing is served already, where one of the two mounts relies on its being alone."""
    for mount in mounts.ours():
        told = running.of(mount)
        alone = config.exclusive or told is None or told.exclusive
        if alone and mount.mountpoint != config.mountpoint and _overlap(mount.source, config.backing):
            say(
                f"fusecopy: warning: {mount.source} is already served at {mount.mountpoint}: what is changed"
                " in one mount may not be seen in the other for an hour; mount both without exclusive",
                sys.stderr,
            )


def _overlap(one: str, other: str) -> bool:
    """Whether one directory is the other, or lies in it."""
    if Path(one).is_relative_to(other) or Path(other).is_relative_to(one):
        return True
    there = mounts.of(os.fsencode(one))
    if there is None or not there.is_local:
        return False  # not looked at: it may not answer
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _say_ready(config: "Config", coherence: str) -> None:
    say(_mounted(config, os.getpid(), coherence))
    notify("READY=1")


def _say_hook() -> None:
    if sys.stdout.isatty():
        say(
            '  cp --reflink works in it by fusecopy run, or in your own shell by eval "$(fusecopy hook bash)"'
        )


def _mounted(config: "Config", pid: int, coherence: str) -> str:
    return (
        f"mounted {config.backing} on {config.mountpoint} (pid {pid}), coherence: {coherence} -"
        f" watch: fusecopy log -F {config.mountpoint}"
    )


def _config(backing: str, mountpoint: str, own: Given, forwarded: set[str]) -> "Config":
    from fusecopy.filesystem.policy import parse
    from fusecopy.filesystem.server import Config

    policy = " ".join(
        [
            *(["strict"] if "strict" in own else []),
            *(f"{key}={own[key]}" for key in ("decline", "refuse") if key in own),
            # A comma would end the word in -o, so there the paths are separated by colons.
            *([f"paths={str(own['paths']).replace(':', ',')}"] if "paths" in own else []),
        ]
    )
    parsed = parse(policy)
    log_size, log_keep = options.log_limits(own)
    return Config(
        backing=backing,
        mountpoint=mountpoint,
        log=claimed(own, backing, mountpoint),
        log_size=log_size,
        log_keep=log_keep,
        policy=parsed,
        options=frozenset({"subtype=fusecopy", "default_permissions"} | forwarded),
        watched=not {"coherent", "exclusive", "timeout"} & own.keys(),
        exclusive="exclusive" in own,
        timeout=_timeout(own),
        noatime="noatime" in own,
        kernel_cache="kernel_cache" in own,
        passthrough="passthrough" in own,
        max_read=_max_read(own),
        nosymfollow="nosymfollow" in own,
        native_lane="no-native-lane" not in own,
        io_uring=False if "no-io_uring" in own else ("io_uring" in own or None),
        trace_ioctls="trace_ioctls" in own,
    )


def _max_read(own: Given) -> int:
    text = str(own.get("max_read", "0"))
    if not text.isascii() or not text.isdecimal() or int(text) >= 1 << 31:
        raise UsageError(f"max_read={text} is not a number of bytes", "give one, as max_read=65536")
    return int(text)


def _check_values(own: Given) -> None:
    for name in options.OWN:
        if own.get(name) == "":
            raise UsageError(f"{name} has no value", "give one, or leave it out")


def _remount(mountpoint: str, asked: options.Words, own: Given) -> None:
    """Change the flags of the mount that is there. What else a line of fstab says holds from its next mount.

    Raises:
        FusecopyError: there is none of ours, or it cannot be changed.
    """
    mount = mounts.at(mounts.resolved(mountpoint))
    if not mount or mount.fstype != mounts.FSTYPE:
        raise MountPointError(f"{mountpoint}: fusecopy has no mount there", "fusecopy list shows them")
    _check_root("remount", "changing the flags of a mount is for root")
    check_answers(mountpoint)  # the kernel first has the server write what is in memory
    words = asked.forwarded | (own.keys() & {"nosymfollow"})
    remounting.change(mount, words, whole=True)


def _check_root(word: str, why: str) -> None:
    if os.geteuid() != 0:
        raise UsageError(f"{why}", f"leave out {word}")


def claimed(own: Given, backing: str, mountpoint: str) -> Claim:
    """The log that was named; or the mount point's own, and where a server that was detached from there still
    has that, one beside it."""
    if "log" in own:
        log = Path(os.path.abspath(str(own["log"])))
        _check_log(log, backing, mountpoint)
        return claim(log)
    log = default_log(mountpoint)
    _check_log(log, backing, mountpoint)
    try:
        return claim(log)
    except BusyError:
        for number in range(2, MOST_LOGS):
            with suppress(BusyError):
                return claim(log.with_name(f"{log.stem}.{number}.jsonl"), seconds=0)
        raise


def default_log(mountpoint: str) -> Path:
    """Where the log of a mount goes if nobody says: one file for each mount point."""
    name = mountpoint.strip("/").replace("-", "\\x2d").replace("/", "-") or "-"
    encoded = os.fsencode(name)
    if len(encoded) > LONGEST_NAME:
        name = os.fsdecode(encoded[: LONGEST_NAME - 20]) + "-" + sha256(encoded).hexdigest()[:19]
    if os.geteuid() == 0 and _writable(ROOTS_LOGS):
        return ROOTS_LOGS / f"{name}.jsonl"
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    if not os.path.isabs(state):
        raise UsageError("there is no home directory for the dispatch log", "name a file with --log")
    return Path(state) / "fusecopy" / f"{name}.jsonl"


def _writable(directory: Path) -> bool:
    """Whether we may write there, or where it is to be made. Root in a user namespace may not."""
    there = next(path for path in (directory, *directory.parents) if path.exists())
    return os.access(there, os.W_OK | os.X_OK)


def _timeout(own: Given) -> float:
    if "timeout" in own:
        return _seconds(str(own["timeout"]))
    return 0.0 if "coherent" in own else LONG_TIMEOUT


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise UsageError(f"timeout={text} is not a number of seconds", "give 0 or more, as timeout=1")
    return seconds


def _checked_backing(backing: str) -> str:
    try:
        check_answers(backing)
        os.scandir(backing).close()
    except MountPointError as error:
        raise BackingError(error.message, error.remedy) from error
    except OSError as error:
        raise BackingError(f"{backing}: {error.strerror}", "name an existing directory to serve") from error
    return os.path.realpath(backing)


def _checked_mountpoint(mountpoint: str, backing: str, replace: bool) -> str:
    _check_living(mountpoint, replace)
    try:
        os.scandir(mountpoint).close()
    except OSError as error:
        raise MountPointError(f"{mountpoint}: {error.strerror}", "name an existing directory") from error
    path = os.path.realpath(mountpoint)
    there = mounts.at(path)
    if there and there.fstype == mounts.FSTYPE:
        raise StaleMountError(
            f"{mountpoint}: fusecopy already serves {there.source} there", f"fusecopy umount {mountpoint}"
        )
    if path != backing and Path(path).is_relative_to(backing):
        raise MountPointError(
            f"{mountpoint} lies inside the backing directory {backing}: the server would wait for itself",
            "choose a mount point outside of it",
        )
    return path


def _check_living(mountpoint: str, replace: bool) -> None:
    """That what is mounted at the mount point answers; with `replace` dead mounts there are taken away.

    Raises:
        StaleMountError: it does not.
        MountPointError: the mount point lies in a mount that does not.
    """
    try:
        asking.look(mountpoint)
    except OSError as error:
        path = mounts.resolved(mountpoint)
        if mounts.at(path) is None:
            check_answers(mountpoint)
        elif isinstance(error, TimeoutError):
            raise StaleMountError(
                f"{mountpoint}: a mount that does not answer is there",
                f"fusecopy umount --abort {mountpoint} ends it",
            ) from error
        elif not replace:
            raise StaleMountError(
                f"{mountpoint}: a mount whose server is gone is still there",
                f"fusecopy umount {mountpoint}, or mount with --replace",
            ) from error
        else:
            mounts.unmount(path, lazy=True)
            _check_living(mountpoint, replace)


def _check_fuse(forwarded: set[str]) -> None:
    try:
        # libfuse opens it before it asks fusermount3 for anything.
        os.close(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError as error:
        raise FuseUnavailableError(
            f"{DEVICE} is missing", "modprobe fuse; in a container, give it the device /dev/fuse"
        ) from error
    except OSError as error:
        raise FuseUnavailableError(
            f"{DEVICE} cannot be opened: {error.strerror}",
            "see its mode and owner; in a container, allow the device (docker run --device /dev/fuse)",
        ) from error
    if os.geteuid() == 0:
        return
    if not shutil.which("fusermount3"):
        raise FuseUnavailableError("fusermount3 is not installed", "apt install fuse3")
    if {"allow_other", "allow_root"} & forwarded and not _user_allow_other():
        raise UsageError(
            "allow_other and allow_root are for root, unless /etc/fuse.conf says otherwise",
            "write the line user_allow_other into /etc/fuse.conf",
        )


def _check_coherence(own: Given) -> None:
    if {"coherent", "kernel_cache"} <= own.keys():
        raise UsageError(
            "coherent and kernel_cache exclude each other: pages that others change cannot be kept",
            "leave one of them out",
        )
    both = sorted({"coherent", "exclusive", "timeout"} & own.keys())
    if "exclusive" in both and len(both) > 1:
        raise UsageError(
            f"{' and '.join(both)} exclude each other: exclusive says that nobody else changes the backing",
            "leave one of them out",
        )


def _check_passthrough(own: Given) -> None:
    if os.geteuid() != 0:
        raise UsageError("kernel passthrough is for root (CAP_SYS_ADMIN)", "mount without --passthrough")
    if "noatime" in own:
        raise UsageError(
            "noatime and passthrough exclude each other: the kernel opens the backing's files as the program"
            " did",
            "leave one of them out, or mount the backing's filesystem with noatime",
        )


def _check_io_uring(own: Given) -> None:
    if "io_uring" not in own:
        return
    if "no-io_uring" in own:
        raise UsageError("io_uring and no-io_uring exclude each other", "leave one of them out")
    if lacking := io_uring.lacking():
        raise FuseUnavailableError(
            f"requests cannot come by io_uring: {lacking}", "or mount without -o io_uring"
        )


def _user_allow_other() -> bool:
    try:
        lines = Path("/etc/fuse.conf").read_text().splitlines()
    except OSError:
        return False
    return any(line.strip() == "user_allow_other" for line in lines)


def _check_log(log: Path, backing: str, mountpoint: str) -> None:
    check_answers(str(log))
    real = Path(os.path.realpath(log))
    if real.is_relative_to(mountpoint) and backing != mountpoint:
        raise UsageError(
            f"{log}: the log cannot lie inside the mount that it is about", "choose a file outside of it"
        )
    if real.is_relative_to(backing):
        log_to(None)
        logging.getLogger(__name__).warning("%s: the log lies inside the backing directory", log)
