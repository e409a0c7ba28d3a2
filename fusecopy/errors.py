"""The tree of user errors: what went wrong, what to do, and the exit status.

    FusecopyError                1   anything below, and failures with no class of their own
      UsageError                 2   the command line or an option makes no sense
      MountPointError           10   the mount point cannot be used
      BackingError              11   the backing directory cannot be used
      StaleMountError           12   a dead or a live mount is already there
      FuseUnavailableError      13   no /dev/fuse, no fusermount3, or the libfuse layer cannot work here
      MountRefusedError         14   the kernel or fusermount3 refused the mount
      UnmountError              15   the mount is busy or would not go
      NotSharedError            20   a copy exists but does not share its extents
      StrictError               21   only a reflink was wanted and it could not be had
      LogError                  22   the dispatch log is unreadable or of a newer schema
      RequirementError          23   something that doctor --require names does not work here
      ExpectationError          24   the copies of a command were not what expect was told
      ServerCheckError          25   check-server found something that is not ok

These numbers are a promise to scripts; tests/unit/test_errors.py pins them.
"""

from enum import IntEnum


class Exit(IntEnum):
    """Exit statuses of every fusecopy command."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    MOUNT_POINT = 10
    BACKING = 11
    STALE = 12
    NO_FUSE = 13
    MOUNT_REFUSED = 14
    UNMOUNT = 15
    NOT_SHARED = 20
    STRICT = 21
    LOG = 22
    REQUIREMENT = 23
    EXPECTATION = 24
    SERVER_CHECK = 25


class FusecopyError(Exception):
    """An error that is shown to a person without a traceback.

    Args:
        message: what happened, and to which file.
        remedy: what the person can do about it; empty where nothing is known to help.
    """

    exit_status = Exit.FAILURE

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  {self.remedy}" if self.remedy else self.message


class UsageError(FusecopyError):
    """The command line or an option makes no sense."""

    exit_status = Exit.USAGE


class MountPointError(FusecopyError):
    """The mount point cannot be used."""

    exit_status = Exit.MOUNT_POINT


class BackingError(FusecopyError):
    """The backing directory cannot be used."""

    exit_status = Exit.BACKING


class StaleMountError(FusecopyError):
    """A dead or a live mount is already there."""

    exit_status = Exit.STALE


class FuseUnavailableError(FusecopyError):
    """No /dev/fuse, no fusermount3, or the libfuse layer cannot work here."""

    exit_status = Exit.NO_FUSE


class MountRefusedError(FusecopyError):
    """The kernel or fusermount3 refused the mount."""

    exit_status = Exit.MOUNT_REFUSED


class UnmountError(FusecopyError):
    """The mount is busy or would not go."""

    exit_status = Exit.UNMOUNT


class NotSharedError(FusecopyError):
    """A copy exists but does not share its extents."""

    exit_status = Exit.NOT_SHARED


class StrictError(FusecopyError):
    """Only a reflink was wanted and it could not be had."""

    exit_status = Exit.STRICT


class LogError(FusecopyError):
    """The dispatch log is unreadable or of a newer schema."""

    exit_status = Exit.LOG


class RequirementError(FusecopyError):
    """Something that doctor --require names does not work here."""

    exit_status = Exit.REQUIREMENT


class ExpectationError(FusecopyError):
    """The copies of a command were not what expect was told."""

    exit_status = Exit.EXPECTATION


class ServerCheckError(FusecopyError):
    """A FUSE server is not right about copies."""

    exit_status = Exit.SERVER_CHECK
