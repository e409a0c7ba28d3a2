"""fusecopy policy: show or change how a mount answers copies."""

import errno

import click

from fusecopy import asking
from fusecopy.cli.arguments import NAME, no_answer, served
from fusecopy.errors import FusecopyError, UsageError
from fusecopy.filesystem.policy import parse
from fusecopy.terminal import say


@click.command()
@click.argument("mountpoint", type=NAME)
@click.argument("words", nargs=-1)
def command(mountpoint: str, words: tuple[str, ...]) -> None:
    """Show the policy of MOUNTPOINT, or change it by WORDS.

    Words: paths=reflink,splice,... (the ladder), strict, nostrict, decline=eopnotsupp|enosys|exdev,
    refuse=ERRNO, fault=NAME[,every=N][,call=N][,after=SIZE][,program=GLOB][,path=GLOB], an empty value to
    take one back, default. `fusecopy faults` lists the faults; each word fault= adds one. The owner of the
    mount and root may change it.
    """
    parse(" ".join(words))  # says of each word what is wrong with it
    mount = served(mountpoint)
    try:
        if words:
            asking.set_attribute(mount, "policy", " ".join(words))
        say(asking.attributes(mount, "policy")[0])
    except OSError as error:
        raise _failure(mountpoint, words, error) from error


def _failure(mountpoint: str, words: tuple[str, ...], error: OSError) -> FusecopyError:
    if error.errno == errno.EINVAL:
        return UsageError(
            f"{' '.join(words)!r} contradicts the mount's policy",
            "Take that back first: see fusecopy policy --help.",
        )
    if error.errno == errno.EPERM:
        return FusecopyError(
            f"{mountpoint}: only the owner of the mount and root may change its policy", "use sudo"
        )
    return no_answer(mountpoint, error)
