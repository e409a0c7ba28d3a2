"""Run a command and record what it, the kernel and the servers did: the three sides of every copy."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fusecopy import mounts
from fusecopy.dispatch.records import Copy, Flow
from fusecopy.observe import calls, events, tracefs
from fusecopy.observe.calls import Request, SystemCall
from fusecopy.observe.command import Command, gated, signals_held
from fusecopy.observe.family import Family, Process, process_of, threads_of
from fusecopy.observe.spool import Spool
from fusecopy.observe.watched import Since, Watched, living, named, records

QUIET_SECONDS = 2.0
"""How long to wait, after the command's end, for requests under way: closing a file is answered later."""

BUFFER_KIB = 4096

CLONE_COMMANDS = " || ".join(f"cmd == {number:#x}" for number in calls.CLONES)
NOT_A_TERMINALS_IOCTL = "ret != -25"
"""No clone fails with ENOTTY (do_vfs_ioctl), and most other ioctls of programs do."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What was seen while a command ran.

    Attributes:
        status: the command's exit status; 128 and the number for a signal.
        mounts: the mounts that were watched.
        calls: what the command's processes called, in order.
        served: what the servers' processes called.
        requests: what the kernel sent to the mounts, whoever caused it.
        family: the command's processes.
        traced: False where only the logs could be read, and the family is not known.
        records: what each mount's log says, by connection.
        lost_events: events of the kernel that were not seen.
        lost_records: records that a log lost.
    """

    status: int
    mounts: Sequence[Watched]
    calls: Sequence[SystemCall]
    served: Sequence[SystemCall]
    requests: Sequence[Request]
    family: Family
    traced: bool
    records: dict[int, list[Copy | Flow]]
    lost_events: int
    lost_records: int


@dataclass(frozen=True, slots=True)
class _Buffer:
    instance: tracefs.Instance
    spool: Spool

    def lost(self) -> int:
        return self.instance.lost() + self.spool.dropped


def record(arguments: Sequence[str], points: Sequence[str], buffer_kib: int = BUFFER_KIB) -> Recording:
    """Run a command and record it.

    Args:
        arguments: the command.
        points: mount points to watch; all FUSE mounts if empty.
        buffer_kib: size of each trace buffer for each CPU.

    Raises:
        TracingError: the kernel's tracing cannot be used, or a mount does not answer; nothing was run.
        UsageError: there is no such mount; nothing was run.
        LogError: the command was run, and a dispatch log cannot be read.
    """
    found = named(points)
    place = tracefs.find()
    tracefs.remove_stale(place)
    with (
        signals_held() as mask,
        _buffer(place, "requests", buffer_kib) as requested,
        _buffer(place, "calls", buffer_kib) as called,
    ):
        _watch_requests(requested.instance, found)
        watched = list(living(found, insist=bool(points)))
        servers = _servers(requested.spool)
        with gated(arguments, mask) as command:
            roots = threads_of(command.pid)
            _watch_calls(called.instance, [*roots, *servers])
            since = Since(time.monotonic_ns(), datetime.now().astimezone())
            status = _run(command, requested.spool, called.spool)
        requested.spool.take_until_quiet(QUIET_SECONDS)
        called.spool.take()
        lost = requested.lost() + called.lost()
    return _recording(status, watched, since, (requested.spool, called.spool), (roots, servers), lost)


def record_logs(arguments: Sequence[str], points: Sequence[str]) -> Recording:
    """As `record`, where the kernel's tracing cannot be used: only what the logs say of that time.

    Raises:
        UsageError, TracingError, LogError: as `record`.
    """
    watched = list(living(named(points), insist=bool(points)))
    with signals_held() as mask, gated(arguments, mask) as command:
        family = Family(threads_of(command.pid))
        since = Since(time.monotonic_ns(), datetime.now().astimezone())
        command.release()
        status = command.wait()
    logs = {mount.connection: records(mount, since) for mount in watched}
    return Recording(
        status=status,
        mounts=watched,
        calls=[],
        served=[],
        requests=[],
        family=family,
        traced=False,
        records={connection: found for connection, (found, _) in logs.items()},
        lost_events=0,
        lost_records=sum(count for _, count in logs.values()),
    )


@contextmanager
def _buffer(place: Path, purpose: str, kib: int) -> Iterator[_Buffer]:
    with tracefs.instance(place, purpose, kib) as instance:
        pipe = instance.open()
        try:
            yield _Buffer(instance, Spool(pipe))
        finally:
            os.close(pipe)


def _watch_requests(instance: tracefs.Instance, found: Sequence[mounts.Mount]) -> None:
    """Requests of whoever, because the kernel sends some in the server's context (flush_bg_queue)."""
    condition = " || ".join(f"connection == {mount.connection}" for mount in found)
    for event in ("fuse/fuse_request_send", "fuse/fuse_request_end"):
        instance.enable(event, condition)


def _watch_calls(instance: tracefs.Instance, threads: Sequence[int]) -> None:
    instance.follow(threads)
    for event in ("task/task_newtask", "sched/sched_process_exec"):
        instance.enable(event)
    for name in calls.TRACED:
        instance.enable(f"syscalls/sys_enter_{name}", CLONE_COMMANDS if name == "ioctl" else "")
        instance.enable(f"syscalls/sys_exit_{name}", NOT_A_TERMINALS_IOCTL if name == "ioctl" else "")


def _servers(spool: Spool) -> dict[int, Process]:
    """The threads of the processes that have answered the greetings."""
    spool.take()
    seen, _ = events.parse(spool.lines())
    pids = {process_of(event.thread) for event in seen if isinstance(event, events.Ended)}
    return {thread: process for pid in pids for thread, process in threads_of(pid).items()}


def _run(command: Command, *spools: Spool) -> int:
    with spools[0].running(), spools[1].running():
        command.release()
        return command.wait()


def _recording(
    status: int,
    watched: Sequence[Watched],
    since: Since,
    spools: tuple[Spool, Spool],
    threads: tuple[dict[int, Process], dict[int, Process]],
    lost: int,
) -> Recording:
    """Make sense of what was taken down, after the buffers are gone."""
    requested, strange = events.parse(spools[0].lines())
    called, stranger = events.parse(spools[1].lines())
    family, servers = Family(threads[0]), Family(threads[1])
    logs = {mount.connection: records(mount, since) for mount in watched}
    return Recording(
        status=status,
        mounts=watched,
        calls=list(calls.calls(called, family)),
        served=list(calls.calls(called, servers)),
        requests=[request for request in calls.requests(requested) if request.begun >= since.monotonic],
        family=family,
        traced=True,
        records={connection: found for connection, (found, _) in logs.items()},
        lost_events=lost + strange + stranger,
        lost_records=sum(count for _, count in logs.values()),
    )
