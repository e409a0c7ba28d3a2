"""How many descriptors this process may have."""

import errno
import resource


def raise_limit() -> None:
    """As many as the hard limit allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except OSError as error:
        if error.errno != errno.EPERM:
            raise
