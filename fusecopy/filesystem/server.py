"""The server of one mount: put the parts together, mount, serve, and end in order."""

import faulthandler
import json
import logging
import os
import platform
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import pyfuse3
import trio

from fusecopy import __version__, mounts, remounting, running, serving
from fusecopy.copying.backing import measure
from fusecopy.dispatch import logfile, records
from fusecopy.dispatch.claim import Claim
from fusecopy.dispatch.lines import Lines
from fusecopy.dispatch.renames import Change
from fusecopy.dispatch.totals import Tally
from fusecopy.dispatch.writer import Writer
from fusecopy.errors import BackingError, FusecopyError, UnmountError
from fusecopy.filesystem import kernel, metrics
from fusecopy.filesystem.accounts import Accounts
from fusecopy.filesystem.cloned import CloneReports
from fusecopy.filesystem.clones import Clones
from fusecopy.filesystem.control import Announcements, Control
from fusecopy.filesystem.copies import Copies
from fusecopy.filesystem.credentials import Credentials
from fusecopy.filesystem.directories import Directories
from fusecopy.filesystem.files import Files
from fusecopy.filesystem.inodes import LEAST_DESCRIPTORS, InodeTable
from fusecopy.filesystem.metadata import Metadata
from fusecopy.filesystem.names import Names
from fusecopy.filesystem.openfiles import OpenFiles
from fusecopy.filesystem.operations import Filesystem, Operations
from fusecopy.filesystem.ownmount import OwnMount
from fusecopy.filesystem.passthrough import Passthrough
from fusecopy.filesystem.policy import Policy, parse
from fusecopy.filesystem.refusals import Refusals
from fusecopy.filesystem.transport import Transport
from fusecopy.filesystem.trees import Trees
from fusecopy.filesystem.watching import Watching
from fusecopy.native import callers
from fusecopy.native.opening import Opening
from fusecopy.reporting.reports import Reporter
from fusecopy.reporting.undispatched import Undispatched

log = logging.getLogger(__name__)

OWN_DESCRIPTORS = 32
"""What the server itself needs, and requests under way."""

FEW_DESCRIPTORS = 1024
FEW_CALLERS = 2
"""With few descriptors few callers are remembered, each of which keeps three."""

DESCRIPTORS_AT_ONCE = 16384
"""For so many the kernel has room from the beginning, in 128 KiB."""

FLUSH_SECONDS = 2.0


SWITCH_SECONDS = 0.0005
"""How long a thread that answers a request may have to wait for Python's lock while another computes."""

LOCAL_FILESYSTEMS = {"btrfs", "xfs", "ext2", "ext3", "ext4", "tmpfs", "f2fs"}
"""Filesystems without a flush of their own (their file_operations, Linux 6.1 to 7.2)."""


@dataclass(frozen=True, slots=True)
class Config:
    """How a directory is mounted.

    Attributes:
        backing: absolute path of the directory served.
        mountpoint: absolute path of the directory it appears at.
        log: the dispatch log, claimed; rotated at log_size bytes, with log_keep rotated files kept.
        policy: how copies are answered at first.
        options: words for libfuse and the kernel.
        watched: what others do to the backing is seen, as far as the kernel tells.
        exclusive: nobody changes the backing but through this mount.
        timeout: seconds for which the kernel may believe names, attributes and listings without asking.
        noatime: leave the backing's access times alone.
        kernel_cache: keep a file's pages when it is opened again.
        passthrough: have the kernel read and write files by itself.
        max_read: bytes of the largest READ, 0 for no limit.
        nosymfollow: have the kernel follow no symbolic links in it (root).
        native_lane: answer natively what may be; off in tests of what Python answers.
        io_uring: have requests come by io_uring, or not; None: where it is on.
        trace_ioctls: see by tracepoints what the kernel refuses by itself (root; felt by all).
    """

    backing: str
    mountpoint: str
    log: Claim
    policy: Policy
    options: frozenset[str]
    watched: bool
    exclusive: bool
    timeout: float
    noatime: bool
    kernel_cache: bool
    passthrough: bool
    native_lane: bool
    log_size: int = logfile.MAX_BYTES
    log_keep: int = logfile.KEEP
    max_read: int = 0
    nosymfollow: bool = False
    io_uring: bool | None = None
    trace_ioctls: bool = False


class DeferredLog:
    """Takes records at once, although the log can begin only when INIT has told what its header says."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._early: list[records.Record | Lines] = []
        self.writer: Writer | None = None

    def put(self, record: records.Record | Lines) -> None:
        """Hand a record, or many, to the writer, or keep it until there is one."""
        with self._lock:
            if self.writer is None:
                self._early.append(record)
            else:
                self.writer.put(record)

    def renamed(self, change: Change) -> None:
        """A file or directory has another name, or none any more."""
        if self.writer:
            self.writer.renamed(change)

    def begin(self, writer: Writer) -> None:
        """From now on records go to `writer`, those kept so far first."""
        with self._lock:
            for record in self._early:
                writer.put(record)
            self._early.clear()
            self.writer = writer

    def flush(self) -> None:
        """Wait a while for what was put so far to be written."""
        if self.writer:
            self.writer.flush(FLUSH_SECONDS)

    def await_room(self) -> bool:
        """Wait a while until many records may be put without loss; whether they may."""
        return self.writer is None or self.writer.await_room(FLUSH_SECONDS)


class Server:
    """One mount from its beginning to its end."""

    def __init__(self, config: Config) -> None:
        """Open the backing directory and put the parts together.

        Raises:
            BackingError: the directory cannot be opened.
        """
        self._config = config
        self._began = time.time()
        self._recorded: Path | None = None
        self._log = DeferredLog()
        self._watching = Watching(config.watched, config.exclusive, config.timeout, self._log.put)
        self._transport = Transport(config.io_uring)
        self._inodes = InodeTable(_open_backing(config.backing), _descriptor_limit(), config.timeout)
        self._watching.names = self._inodes.names
        self._files = OpenFiles()
        self._undispatched = Undispatched()
        self._reporter = Reporter(self._log.put, self._undispatched)
        announcements = Announcements()
        self._refusals = Refusals(self._files, self._inodes, self._reporter, self._undispatched)
        self._accounts = Accounts(
            self._files, self._inodes, self._reporter, self._undispatched, self._refusals
        )
        self._credentials = Credentials()
        self._copies = Copies(
            self._files,
            self._reporter,
            self._accounts,
            announcements,
            self._credentials,
            config.policy,
            self._watching,
        )
        control = Control(self._answers(), self._set_policy, self._reporter, announcements)
        credentials = self._credentials
        names = Names(self._inodes, credentials, self._log.renamed, self._reporter.forget)
        self._clones = Clones(self._files, self._reporter, credentials, config.mountpoint)
        self._passthrough = Passthrough(config.passthrough)
        directories = Directories(self._inodes, cached=config.timeout > 0)
        trees = Trees(
            self._inodes,
            self._files,
            directories,
            self._reporter,
            credentials,
            lambda: self._copies.policy,
            self._log.await_room,
        )
        self._operations = Operations(
            Filesystem(
                names,
                Metadata(self._inodes, self._files, credentials, control),
                Files(
                    self._inodes,
                    names,
                    self._files,
                    self._accounts,
                    credentials,
                    Opening(
                        config.noatime,
                        _closes_silently(config.backing),
                        config.kernel_cache,
                        config.passthrough,
                        config.trace_ioctls,
                    ),
                    passthrough=self._passthrough,
                ),
                directories,
                self._copies,
                CloneReports(self._files, self._reporter, self._watching, self._copies),
                self._clones,
                trees,
                self._accounts,
            ),
            negative_timeout=self._watching.negative_timeout,
        )

    def run(self, ready: Callable[[str], None]) -> None:
        """Mount, call `ready` once the mount answers, with the coherence in force, and serve until it is
        unmounted.

        Raises:
            FusecopyError: the mount was refused or the log cannot be written; nothing is left mounted.
        """
        self._credentials.renounce()
        sys.setswitchinterval(SWITCH_SECONDS)
        faulthandler.register(signal.SIGUSR2, all_threads=True)
        serving.init(
            self._operations,
            self._config.backing,
            self._config.mountpoint,
            self._config.options,
            self._config.passthrough,
            self._config.max_read,
            self._config.native_lane,
            self._transport.processors,
        )
        self._mount = OwnMount(self._config.mountpoint)
        self._undispatched.device = self._mount.device
        serving.mounted_as(self._mount.device)
        try:
            self._mount.check(self._config.backing)
            self._watching.start()
            if self._config.trace_ioctls:
                self._refusals.start()
            with self._clones.door:
                trio.run(self._serve, ready)
        finally:
            serving.close(unmount=self._mount.is_on_top())
            self._watching.stop()
            if self._recorded:
                self._recorded.unlink(missing_ok=True)
            self._accounts.settle_all()
            self._refusals.stop()
            self._inodes.close()
            if self._log.writer:
                self._log.writer.close()

    async def _serve(self, ready: Callable[[str], None]) -> None:
        failure: FusecopyError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._signals)
            nursery.start_soon(self._session, nursery.cancel_scope)
            try:
                await trio.to_thread.run_sync(self._begin)
            except FusecopyError as error:
                failure = error
                pyfuse3.terminate()
            else:
                ready(self._watching.state())
        if failure:
            raise failure

    async def _session(self, whole: trio.CancelScope) -> None:
        await serving.main()
        whole.cancel()

    def _record(self) -> None:
        mount = mounts.at(self._config.mountpoint)
        if mount:
            self._recorded = running.record(mount, self._config.log.path, self._config.exclusive)

    def _begin(self) -> None:
        """Wait for the first answer of the mount, which brings the protocol, and begin the log."""
        os.stat(self._config.mountpoint)
        self._passthrough.check(self._config.mountpoint)
        mount = mounts.at(self._config.mountpoint)
        if mount and self._config.nosymfollow:
            remounting.change(mount, {"nosymfollow"}, whole=False)
        self._transport.check(self._config.mountpoint)
        self._record()
        log = self._config.log
        limits = {"max_bytes": self._config.log_size, "keep": self._config.log_keep}
        self._log.begin(Writer(log.path, self._header(), claimed=log.descriptor, **limits))
        self._watching.report_blind()

    async def _signals(self) -> None:
        """INT and TERM unmount, a busy mount when asked twice; HUP reopens the log; USR1 prints totals."""
        asked = False
        with trio.open_signal_receiver(
            signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1
        ) as received:
            async for number in received:
                if number == signal.SIGHUP and self._log.writer:
                    self._log.writer.reopen()
                elif number == signal.SIGUSR1:
                    log.warning("%s", self._stats())
                elif number in (signal.SIGINT, signal.SIGTERM):
                    await self._end(asked)
                    asked = True

    async def _end(self, insist: bool) -> None:
        if insist:
            pyfuse3.terminate()
            return
        if not self._mount.is_on_top():
            log.warning(
                "%s: not unmounted, because another mount lies on it or it was moved\n"
                "  a second signal ends the server all the same, and leaves a dead mount",
                self._config.mountpoint,
            )
            return
        try:
            await trio.to_thread.run_sync(mounts.unmount, self._config.mountpoint)
        except UnmountError as error:
            log.warning("%s\n  a second signal detaches it all the same", error)

    # ---- what the server says of itself --------------------------------------------------------------

    def _answers(self) -> dict[str, Callable[[], str]]:
        return {
            "pid": lambda: str(os.getpid()),
            "log": self._log_path,
            "backing": lambda: self._config.backing,
            "version": lambda: __version__,
            "policy": lambda: str(self._copies.policy),
            "coherence": self._watching.caught_up,
            "passthrough": lambda: "yes" if self._config.passthrough else "no",
            "transport": self._transport.describe,
            "stats": self._stats,
            "metrics": self._metrics,
        }

    def _log_path(self) -> str:
        """Whoever asks is about to read it, so what was reported before is written first."""
        self._log.flush()
        return str(self._config.log.path)

    def _stats(self) -> str:
        writer = self._log.writer
        totals = writer.totals if writer else None
        return json.dumps(
            {
                "inodes": len(self._inodes),
                "open_files": len(self._files),
                "copies": totals.copies if totals else {},
                "bytes": totals.bytes if totals else {},
                "shared": totals.shared if totals else 0,
                "rewritten": totals.rewritten if totals else 0,
                "lost": writer.lost if writer else 0,
                "requests": serving.connection().requests,
                "rings": asdict(serving.ring_state()),
                "lanes": serving.connection().lanes,
                "ledger": self._undispatched.ledger(serving.connection().requests),
            }
        )

    def _metrics(self) -> str:
        writer = self._log.writer
        ledger = self._undispatched.ledger(serving.connection().requests)
        facts = metrics.Facts(
            about={
                "version": __version__,
                "backing": records.encode_path(os.fsencode(self._config.backing))[0],
                "transport": self._transport.way,
            },
            began=self._began,
            tally=writer.tally if writer else Tally(),
            lost=writer.lost if writer else 0,
            latencies=serving.latencies(),
            coherence=self._watching.state(),
            unasked=[str(decision["operation"]) for decision in ledger],
            inodes=len(self._inodes),
            open_files=len(self._files),
        )
        return metrics.text(facts)

    def _set_policy(self, words: str, uid: int) -> None:
        serving.barrier()
        policy = parse(words, self._copies.policy)
        self._copies.set_policy(policy)
        self._log.put(records.Policy(records.timestamp(), uid, str(policy)))

    def _header(self) -> records.Header:
        mount = mounts.at(self._config.mountpoint)
        versions = serving.versions()
        backing, backing_b64 = records.encode_path(os.fsencode(self._config.backing))
        point, point_b64 = records.encode_path(os.fsencode(self._config.mountpoint))
        return records.Header(
            time=records.timestamp(),
            schema=records.SCHEMA,
            fusecopy=__version__,
            pyfuse3=versions["pyfuse3"],
            libfuse=versions["libfuse"],
            kernel=platform.release(),
            protocol="{}.{}".format(*serving.connection().protocol),
            pid=os.getpid(),
            uid=os.geteuid(),
            backing=backing,
            # By its descriptor: the mount may lie over the path that it was opened by.
            filesystem=measure(f"/proc/self/fd/{self._inodes.root.descriptor}").filesystem,
            mount=point,
            connection=mount.connection if mount else 0,
            policy=str(self._copies.policy),
            passthrough=self._config.passthrough,
            backing_b64=backing_b64,
            mount_b64=point_b64,
            coherence=self._watching.state(),
            transport=self._transport.way,
            transport_reason=self._transport.why,
        )


def _open_backing(path: str) -> int:
    """Open for reading where that is allowed: open_by_handle_at(2) takes no O_PATH descriptor."""
    try:
        with suppress(PermissionError):
            return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise BackingError(
            f"{path}: cannot be opened: {error.strerror}", "name an existing directory that you may read"
        ) from error


def _closes_silently(backing: str) -> bool:
    """Whether closing a file there reports nothing that a write or fsync would not have."""
    mount = mounts.of(os.fsencode(backing))
    return mount is not None and mount.fstype in LOCAL_FILESYSTEMS


def _descriptor_limit() -> int:
    """Raise the limit of open files as far as allowed, and give half of it to inodes: the other half is for
    open files, which cannot be closed behind a program's back."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    kernel.make_room(min(hard, DESCRIPTORS_AT_ONCE))
    if hard < FEW_DESCRIPTORS:
        callers.remember(FEW_CALLERS)
    return max(LEAST_DESCRIPTORS, (hard - OWN_DESCRIPTORS) // 2)
