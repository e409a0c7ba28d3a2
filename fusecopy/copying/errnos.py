"""Names of errnos, as strace and the manual pages have them."""

import errno

# Two names have one number here, and the errno module picks the one nobody uses.
_NAMES = {**errno.errorcode, errno.EOPNOTSUPP: "EOPNOTSUPP", errno.EDEADLK: "EDEADLK"}


def name(code: int) -> str:
    """The name of an errno (ENOSPC for 28); the number itself where it has no name."""
    return _NAMES.get(code, str(code))
