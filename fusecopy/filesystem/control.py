"""The server's own extended attributes, by which anybody with getfattr can ask it.

Of everything in the mount: user.fusecopy.{pid,log,backing,version,policy,passthrough,stats,metrics}; of a
file user.fusecopy.copy, the last copy into it as one record of the log. `policy` can be set by the owner of
the mount and by root. To a file, `how` (copy, reflink or dedupe) can be set: it says what the same thread's
next copy into it may do.
"""

import errno
import os
import threading
import time
from collections.abc import Callable

from fusecopy import names, serving
from fusecopy.copying.calls import file_id
from fusecopy.copying.ladder import HOWS
from fusecopy.errors import UsageError
from fusecopy.filesystem.credentials import Context
from fusecopy.native.inodes import Inode
from fusecopy.reporting.reports import Reporter

PREFIX = os.fsencode(names.PREFIX)

ANNOUNCED_SECONDS = 10.0
"""A program that announces a copy makes it next; what is older was left behind."""


class Announcements:
    """What threads have said their next copy into a file may do.

    Attributes:
        changed: called when something was announced, and when it was taken.
    """

    def __init__(self) -> None:
        self.changed: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._hows: dict[tuple[int, int], tuple[str, float]] = {}

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._hows)

    def announce(self, inode: Inode, thread: int, how: str) -> None:
        """Remember it, and drop what has become too old."""
        now = time.monotonic()
        with self._lock:
            self._hows = {key: value for key, value in self._hows.items() if value[1] > now}
            self._hows[(inode.number, thread)] = (how, now + ANNOUNCED_SECONDS)
        self.changed()

    def take(self, inode: Inode, thread: int) -> str:
        """What was announced for this copy, once; or an empty word."""
        if not self._hows:
            return ""
        now = time.monotonic()
        with self._lock:
            how, until = self._hows.pop((inode.number, thread), ("", 0.0))
            self._hows = {key: value for key, value in self._hows.items() if value[1] > now}
        self.changed()
        return how if until > now else ""


class Control:
    """Answers for the attributes.

    Args:
        answers: what the root's attributes say, by name without prefix.
        set_policy: change the policy to what the words say; UsageError if they make no sense.
    """

    def __init__(
        self,
        answers: dict[str, Callable[[], str]],
        set_policy: Callable[[str, int], None],
        reporter: Reporter,
        announcements: Announcements,
    ) -> None:
        self._answers = answers
        self._set_policy = set_policy
        self._reporter = reporter
        self._announcements = announcements
        self._owner = os.geteuid()

    def owns(self, name: bytes) -> bool:
        """Whether an attribute is the server's own."""
        return name.startswith(PREFIX)

    def get(self, inode: Inode, descriptor: int, name: bytes) -> bytes:
        """Value of an attribute of an inode that is open as `descriptor`; ENODATA where there is none."""
        key = name.removeprefix(PREFIX).decode(errors="replace")
        value: bytes | None = None
        serving.barrier()
        if key in self._answers:
            value = os.fsencode(self._answers[key]())
        elif key == "copy":
            value = self._reporter.last_copy(file_id(descriptor), inode.path())
        if value is None:
            raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))
        return value

    def set(self, inode: Inode, name: bytes, value: bytes, ctx: Context) -> None:
        """Change the policy, or announce a copy.

        Raises:
            OSError: EPERM for others than the mount's owner and root, EINVAL for words without meaning,
                EOPNOTSUPP for attributes that cannot be set.
        """
        key = name.removeprefix(PREFIX)
        if key == b"policy":
            if ctx.uid not in (0, self._owner):
                raise OSError(errno.EPERM, os.strerror(errno.EPERM))
            try:
                self._set_policy(value.decode(errors="replace"), ctx.uid)
            except UsageError as error:
                raise OSError(errno.EINVAL, str(error)) from error
        elif key == b"how":
            how = value.decode(errors="replace")
            if how not in HOWS:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            self._announcements.announce(inode, ctx.pid, how)
        else:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    def remove(self, name: bytes) -> None:
        """None of them can be removed."""
        raise OSError(errno.EPERM, f"{name.decode(errors='replace')} cannot be removed")
