"""Which way requests come, by io_uring or by /dev/fuse, and why."""

import errno
import os

from fusecopy import io_uring, serving
from fusecopy.errors import FuseUnavailableError

IO_URING, DEV_FUSE = "io_uring", "/dev/fuse"


class Transport:
    """How requests of one mount come.

    Args:
        wanted: True where nothing else will do, False where it is to be /dev/fuse, None for what there is.
    """

    def __init__(self, wanted: bool | None) -> None:
        self._wanted = wanted
        self._lacking = io_uring.lacking()

    @property
    def processors(self) -> int:
        """For how many processors to have requests come by io_uring; 0 for none."""
        return 0 if self._wanted is False or self._lacking else io_uring.possible_processors()

    @property
    def way(self) -> str:
        """IO_URING or DEV_FUSE; certain once the mount answers."""
        return IO_URING if serving.ring_state().agreed else DEV_FUSE

    @property
    def why(self) -> str:
        """Why that way, and what would change it."""
        state = serving.ring_state()
        if state.agreed:
            return "enable_uring is on"
        if self._wanted is False:
            return "mounted with no-io_uring"
        if self._lacking:
            return self._lacking
        if state.failure:
            return _REFUSALS.get(state.failure, os.strerror(state.failure))
        return "the kernel did not offer it when this was mounted"

    def check(self, mountpoint: str) -> None:
        """Once the mount answers: that requests come as they have to.

        Raises:
            FuseUnavailableError: they were to come by io_uring, and do not.
        """
        if self._wanted and self.way != IO_URING:
            raise FuseUnavailableError(
                f"{mountpoint}: requests cannot come by io_uring: {self.why}", "mount without -o io_uring"
            )

    def describe(self) -> str:
        """In words, with the memory that it may take."""
        state = serving.ring_state()
        if not state.agreed:
            return f"{DEV_FUSE} ({self.why})"
        mebibytes = state.entries * state.entry_bytes / 2**20
        memory = f"{state.queues} queues, {state.entries} entries, {mebibytes:.1f} MiB at most"
        return f"{IO_URING} ({self.why}), {memory}"


_REFUSALS = {
    errno.EPERM: "io_uring is forbidden here (kernel.io_uring_disabled, or a seccomp filter)",
    errno.ENOSYS: "io_uring is forbidden here (a seccomp filter), or not in this kernel",
    errno.ENOMEM: "no memory for its rings (RLIMIT_MEMLOCK)",
    errno.EAGAIN: "the system allows no more threads",
}
