"""A command that waits at a gate until it may begin, and whose end becomes our exit status."""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fusecopy.terminal import complain_of_command

FORWARDED = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}

OWN_FAILURE = 125
NOT_EXECUTABLE = 126
NOT_FOUND = 127
"""As env(1), timeout(1) and a shell have them."""


class Command:
    """A started command that has not run anything of its own yet.

    Attributes:
        pid: its process.
    """

    def __init__(self, pid: int, gate: int) -> None:
        self.pid = pid
        self._gate = gate
        self._ended = False

    def release(self) -> None:
        """Let it begin."""
        os.write(self._gate, b"x")

    def wait(self) -> int:
        """Wait for its end and return its exit status, 128 and the number for a signal.

        Signals that are sent to us go on to it; those of the terminal have reached it already.
        """
        while True:
            caught = signal.sigwaitinfo(FORWARDED | {signal.SIGCHLD})
            if caught.si_signo != signal.SIGCHLD and caught.si_code <= 0:
                os.kill(self.pid, caught.si_signo)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._ended = True
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code

    def end(self) -> None:
        """Give up the gate, and the command where it has not been waited for."""
        os.close(self._gate)
        if not self._ended:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


@contextmanager
def signals_held() -> Iterator[set[signal.Signals]]:
    """Hold back the signals that would end us, so that nothing of ours stays behind.

    The block's value is the mask from before, which a command must get.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED | {signal.SIGCHLD})
    try:
        yield {signal.Signals(number) for number in before}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def gated(arguments: Sequence[str], mask: set[signal.Signals]) -> Iterator[Command]:
    """Start a command behind a gate; when the block ends without its end, it is killed."""
    hold, gate = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.close(gate)
        _run(arguments, mask, hold)
    os.close(hold)
    command = Command(pid, gate)
    try:
        yield command
    finally:
        command.end()


def _run(arguments: Sequence[str], mask: set[signal.Signals], hold: int) -> None:
    """In the child: wait at the gate and become the command. Does not return."""
    status = OWN_FAILURE
    try:
        if os.read(hold, 1):
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and exec keeps that
                signal.signal(number, signal.SIG_DFL)
            os.execvp(arguments[0], list(arguments))
    except OSError as error:
        status = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
        complain_of_command(arguments[0], error.errno or 0)
    finally:
        os._exit(status)
