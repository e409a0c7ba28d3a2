"""What a caller is told when its request fails."""

import errno
import logging

log = logging.getLogger(__name__)


def errno_of(error: Exception, operation: str) -> int:
    """The errno of an OSError; anything else is a mistake of ours, which goes to the diagnostics and is EIO
    to this one caller."""
    if isinstance(error, OSError):
        return error.errno or errno.EIO
    log.error("unexpected error in %s; its caller got EIO", operation, exc_info=error)
    return errno.EIO
