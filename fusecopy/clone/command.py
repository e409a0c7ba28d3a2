"""A command and its supervisor: started, stopped, signalled and ended as one.

As with env(1) and timeout(1) --foreground, both are in one process group. What the terminal sends, the
command has got itself; what is sent to the supervisor alone is handed on; a command that stops, stops the
supervisor, so that the shell sees the job stopped; and the supervisor ends as the command ends.
"""

import array
import errno
import os
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from typing import NoReturn

from fusecopy.clone.listener import Listener, listen
from fusecopy.clone.supervisor import Supervisor
from fusecopy.errors import FusecopyError

CANNOT_RUN = 126
NOT_FOUND = 127
"""Exit statuses of env(1) for a command that cannot be run, and one that is not there."""

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
"""Signals that tell of the supervisor's own faults, or cannot be taken."""

TAKEN = signal.valid_signals() - OWN


def run(command: Sequence[str]) -> int:
    """Run `command`, serving its ioctls and those of all it starts, until it ends.

    Returns:
        Its exit status. Where a signal has ended it, so it does this process.

    Raises:
        FusecopyError: the kernel has no seccomp user notification that we know.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, TAKEN)
    try:
        ours, theirs = socket.socketpair()
        child = os.fork()
        if child == 0:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            _become(command, theirs)
        theirs.close()
        with ours:
            _supervise(ours, child)
        status = _await(child)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if os.WIFSIGNALED(status):
        _end_by(os.WTERMSIG(status))
    return os.waitstatus_to_exitcode(status)


def _become(command: Sequence[str], supervisor: socket.socket) -> NoReturn:
    """In the child: install the filter, hand its listener over, and run the command."""
    try:
        # Python ignores these two for itself; the command is to have what it would have had.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        _send_listener(supervisor)
        os.execvp(command[0], list(command))
    except OSError as error:
        sys.stderr.write(f"fusecopy: {command[0]}: {error.strerror}\n")
        sys.stderr.flush()
        os._exit(NOT_FOUND if error.errno == errno.ENOENT else CANNOT_RUN)
    except BaseException:  # whatever it is must not go back into the supervisor's code
        sys.excepthook(*sys.exc_info())
        os._exit(CANNOT_RUN)


def _send_listener(supervisor: socket.socket) -> None:
    """A number, and with 0 the listener. EBUSY: a supervisor is there already, and serves us as well."""
    try:
        listener = listen()
    except OSError as error:
        supervisor.send(bytes([error.errno or errno.EIO]))
        if error.errno != errno.EBUSY:
            os._exit(CANNOT_RUN)
        return
    rights = array.array("i", [listener])
    supervisor.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])


def _supervise(child_end: socket.socket, child: int) -> None:
    """Take the listener and serve it."""
    message, listeners, _, _ = socket.recv_fds(child_end, 1, 1)
    if listeners:
        Supervisor(Listener(listeners[0])).start()
    elif message != bytes([errno.EBUSY]):
        os.waitpid(child, 0)
        reason = os.strerror(message[0]) if message else "the command ended too early"
        raise FusecopyError(
            f"the command's ioctls cannot be served: seccomp user notification: {reason}",
            "it takes Linux 5.9 and a container that allows seccomp(2); run the command without fusecopy run",
        )


def _await(child: int) -> int:
    """Wait for the command's end, handing on signals and stopping with it; returns its wait status."""
    while True:
        told = signal.sigwaitinfo(TAKEN)
        if told.si_signo != signal.SIGCHLD:
            # A positive code means the kernel: a terminal, which has told the command too.
            if told.si_code <= 0:
                os.kill(child, told.si_signo)
            continue
        while (ended := os.waitpid(child, os.WNOHANG | os.WUNTRACED))[0]:
            if not os.WIFSTOPPED(ended[1]):
                return ended[1]
            os.kill(os.getpid(), signal.SIGSTOP)


def _end_by(number: int) -> NoReturn:
    """End as the command did, without a core of our own."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    os._exit(128 + number)
