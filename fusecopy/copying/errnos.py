"""Errnos: their names, as strace and the manual pages have them, and what they mean of a copy."""

import errno

# Two names have one number here, and the errno module picks the one nobody uses.
_NAMES = {**errno.errorcode, errno.EOPNOTSUPP: "EOPNOTSUPP", errno.EDEADLK: "EDEADLK"}

NOT_THIS_WAY = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.EXDEV, errno.ENOTTY, errno.ENOSYS})
"""With these the next path is tried, and an exhausted ladder means that no path could. All others mean that
this copy failed. EPERM (immutable) and ETXTBSY (a swap file) are what copy_file_range(2) says natively: the
kernel's splice is not to go on, whose writes some filesystems take."""

CLONE_REFUSED = NOT_THIS_WAY | {errno.EPERM, errno.ETXTBSY}
"""What refuses a copy that may only be a clone, and has a ladder go on after one."""


def name(code: int) -> str:
    """The name of an errno (ENOSPC for 28); the number itself where it has no name."""
    return _NAMES.get(code, str(code))
