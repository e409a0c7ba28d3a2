"""A command and its supervisor: served, stopped, signalled and ended as one.

As with env(1) and timeout(1) --foreground, both are in one process group. What the terminal sends, the
command has got itself; what is sent to the supervisor alone is handed on; a command that stops, stops the
supervisor, so that the shell sees the job stopped; and the supervisor ends as the command ends. Should the
supervisor be killed, a process that does nothing else tells it.

The supervisor is the command's parent, as ptrace(2)'s rights may ask for (Yama).
"""

import os
import resource
import signal
import sys
import threading
from contextlib import suppress

TYPE_CHECKING = False  # as in fusecopy.clone.start: a short command has ended by now
if TYPE_CHECKING:
    from typing import NoReturn

    from fusecopy.faults.rules import Faults

OWN = {
    signal.SIGABRT,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGKILL,
    signal.SIGSEGV,
    signal.SIGSTOP,
    signal.SIGSYS,
    signal.SIGTRAP,
}
"""Signals that tell of the supervisor's own faults, or cannot be taken; fusecopy_start blocks all others."""

TAKEN = signal.valid_signals() - OWN

ENDED = b"ended"


def attend(command: int, listener: int, faults: "Faults | None" = None) -> "NoReturn":
    """Serve a started command until it ends, and end as it did.

    Args:
        command: its process.
        listener: negative where another supervisor serves it.
        faults: what some of its calls are to be answered instead.
    """
    if listener >= 0:
        told = _watch(listener)
        threading.Thread(target=_serve, args=(listener, faults), daemon=True).start()
    status = await_end(command)
    if listener >= 0:
        os.write(told, ENDED)
    if faults:
        _tell(faults)
    if os.WIFSIGNALED(status):
        _end_by(os.WTERMSIG(status))
    # Without the interpreter's own clean-up: another thread may serve, or be importing what it needs for it.
    os._exit(os.waitstatus_to_exitcode(status))


def _tell(faults: "Faults") -> None:
    """How often each fault was met: one that never was tests nothing."""
    from fusecopy.terminal import say

    for rule, met, struck in faults.counts():
        calls = "call" if met == 1 else "calls"
        say(f"fusecopy: fault {rule}: {struck} of {met} {calls} of {rule.fault.call}", sys.stderr)


def _serve(listener: int, faults: "Faults | None") -> None:
    """Imported here, because the command runs already, and may have ended before that is done."""
    from fusecopy.clone.listener import Listener
    from fusecopy.clone.supervisor import Supervisor

    Supervisor(Listener(listener), faults).serve()


def _watch(listener: int) -> int:
    """Start a process that tells when this one is killed; returns where to tell it that all is well."""
    supervisor = os.getpid()
    reading, writing = os.pipe()
    if os.fork():
        os.close(reading)
        return writing
    # Open here too, it would have the command wait for ever instead of getting ENOSYS.
    os.close(listener)
    os.close(writing)
    os.chdir("/")  # whoever unmounts where the command was must not wait for us
    with suppress(OSError):
        if not os.read(reading, len(ENDED)):
            sys.stderr.write(
                f"fusecopy: the supervisor (pid {supervisor}) was killed: reflink ioctls of the command, in"
                " mounts or not, fail with ENOSYS from now on\n  run the command again\n"
            )
    os._exit(0)


def await_end(command: int) -> int:
    """Wait for the command's end, handing on signals and stopping with it; returns its wait status."""
    while True:
        told = signal.sigwaitinfo(TAKEN)
        if told.si_signo != signal.SIGCHLD:
            # A positive code means the kernel: a terminal, which has told the command too.
            if told.si_code <= 0:
                os.kill(command, told.si_signo)
            continue
        while (ended := os.waitpid(command, os.WNOHANG | os.WUNTRACED))[0]:
            if not os.WIFSTOPPED(ended[1]):
                return ended[1]
            os.kill(os.getpid(), signal.SIGSTOP)


def _end_by(number: int) -> "NoReturn":
    """End as the command did, without a core of our own."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    os._exit(128 + number)
