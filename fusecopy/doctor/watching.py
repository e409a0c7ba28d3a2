"""What watching copies needs: tracepoints, /proc/PID/syscall, seccomp user notification, and coreutils."""

import os
from pathlib import Path

from fusecopy import mounts
from fusecopy.clone.listener import notification_bytes
from fusecopy.doctor.findings import Finding, State, output, refused, version

TRACEFS = Path("/sys/kernel/tracing")
YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")

FUSE_EVENTS = ("fuse_request_send", "fuse_request_end")
SYSCALL_EVENTS = tuple(
    f"sys_{when}_{call}"
    for call in ("copy_file_range", "ioctl", "sendfile64", "splice")
    for when in ("enter", "exit")
)

REFLINK_IS_AUTO = (9, 0)
"""From here on cp asks for a reflink without being told to (coreutils NEWS)."""


def examine() -> list[Finding]:
    """Look at everything by which copies can be watched, and at the program that makes most of them."""
    return [
        _tracefs(),
        _tracepoints("fuse tracepoints", "fuse", FUSE_EVENTS, "requests can be counted"),
        _tracepoints("call tracepoints", "syscalls", SYSCALL_EVENTS, "calls can be counted"),
        _drivers(),
        _seccomp(),
        cp(output("cp", "--version"), output("cp", "--help")),
    ]


def _tracefs() -> Finding:
    if not any(mount.mountpoint == str(TRACEFS) and mount.fstype == "tracefs" for mount in mounts.mounts()):
        meaning = f"mount -t tracefs nodev {TRACEFS}"
        return Finding("tracefs", State.MISSING, "not mounted", meaning)
    if not os.access(TRACEFS / "events", os.R_OK | os.W_OK | os.X_OK):
        return Finding("tracefs", State.LIMITED, "mounted, not for this user", "root sees the kernel's side")
    return Finding("tracefs", State.OK, "mounted", "the kernel's side of copies can be seen")


def _tracepoints(name: str, group: str, events: tuple[str, ...], meaning: str) -> Finding:
    directory = TRACEFS / "events"
    if not os.access(directory, os.R_OK | os.X_OK):
        return Finding(name, State.UNKNOWN, "cannot be looked at", "needs tracefs and root")
    absent = [event for event in events if not (directory / group / event / "enable").exists()]
    if not absent:
        return Finding(name, State.OK, "all there", meaning)
    state = State.LIMITED if len(absent) < len(events) else State.MISSING
    needs = "Linux 6.12 has them" if group == "fuse" else "needs CONFIG_FTRACE_SYSCALLS"
    return Finding(name, state, f"{len(absent)} of {len(events)} are not there", needs)


def _drivers() -> Finding:
    """Whether a process may read /proc/PID/syscall of one it did not start: tried by a child on ourselves.

    Yama's ptrace_scope decides; a server stands to the programs that copy as the child does to us.
    """
    found = _yama()
    if not Path("/proc/self/syscall").exists():
        return Finding("drivers", State.MISSING, "no /proc/PID/syscall", "always unknown")
    if output("cat", f"/proc/{os.getpid()}/syscall"):
        of = "all programs" if os.geteuid() == 0 else "your programs"
        return Finding("drivers", State.OK, found, f"the calls of {of} are named")
    meaning = "known only to a server run by root"
    return Finding("drivers", State.LIMITED, found, meaning)


def _yama() -> str:
    try:
        return f"ptrace_scope {YAMA.read_text().strip()}"
    except OSError:
        return "no Yama"


def _seccomp() -> Finding:
    name = "seccomp notify"
    try:
        size = notification_bytes()
    except OSError as error:
        return Finding(name, State.MISSING, refused(error), "FICLONE stays refused")
    return Finding(name, State.OK, f"notifications of {size} bytes", "FICLONE can be served")


def cp(about: str, usage: str) -> Finding:
    """What cp asks for by itself, by its version, and whether it tells (--debug, by its help)."""
    words = about.partition("\n")[0].split()
    if words[:3] != ["cp", "(GNU", "coreutils)"]:
        return Finding("cp", State.UNKNOWN, "not of GNU coreutils", "what it asks for is not known")
    debug = "--debug tells" if "--debug" in usage else "has no --debug"
    found = f"coreutils {words[-1]}, {debug}"
    if version(words[-1]) >= REFLINK_IS_AUTO:
        return Finding("cp", State.OK, found, "asks for reflinks")
    return Finding("cp", State.LIMITED, found, "needs --reflink")
