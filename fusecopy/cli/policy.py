"""fusecopy policy: show or change how a mount answers copies."""

import errno
import os

import click

from fusecopy.errors import FusecopyError, MountPointError, UsageError
from fusecopy.terminal import say

ATTRIBUTE = "user.fusecopy.policy"


@click.command()
@click.argument("mountpoint", type=click.Path())
@click.argument("words", nargs=-1)
def command(mountpoint: str, words: tuple[str, ...]) -> None:
    """Show the policy of MOUNTPOINT, or change it by WORDS.

    Words: paths=reflink,splice,... (the ladder), strict, nostrict, decline=eopnotsupp|enosys|exdev,
    refuse=ERRNO, an empty value to take one back, default. The owner of the mount and root may change it.
    """
    try:
        if words:
            os.setxattr(mountpoint, ATTRIBUTE, " ".join(words).encode())
        say(os.getxattr(mountpoint, ATTRIBUTE).decode(errors="replace"))
    except OSError as error:
        raise _failure(mountpoint, words, error) from error


def _failure(mountpoint: str, words: tuple[str, ...], error: OSError) -> FusecopyError:
    if error.errno == errno.EINVAL:
        return UsageError(f"{' '.join(words)!r} is no policy", "see fusecopy policy --help")
    if error.errno in (errno.EPERM, errno.EACCES):
        return FusecopyError(
            f"{mountpoint}: only the owner of the mount and root may change its policy", "use sudo"
        )
    return MountPointError(
        f"{mountpoint}: not the root of a fusecopy mount ({error.strerror})", "fusecopy list shows them"
    )
