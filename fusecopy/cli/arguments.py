"""Arguments that name files and mounts.

click.Path looks at the file while it reads the command line, which may be on a mount whose server does not
answer, and has statuses of its own for what it finds. Whoever waits for such a server may not even be ended
by a signal (fusecopy.bounded), so no command looks at a file that was not found to answer: PATH does so by
itself.
"""

import os
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from fusecopy import asking, mounts
from fusecopy.errors import MountPointError


class _Name(click.ParamType):  # type: ignore[type-arg] # generic from click 8.3 on
    """The name of a file, which is not looked at. An empty name is no name: it would mean the directory
    where we are."""

    name = "path"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str | Path:
        if not value:
            self.fail("the name is empty", param, ctx)
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, text: str) -> list[CompletionItem]:
        return [CompletionItem(text, type="file")]


class _Path(_Name):
    """The name of a file that answers, if it is there. Raises MountPointError."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str | Path:
        name = str(super().convert(value, param, ctx))
        check_answers(name)
        return Path(name)


NAME = _Name()
PATH = _Path()


def check_answers(path: str) -> None:
    """That files at `path` can be looked at, there or not. Raises MountPointError."""
    try:
        asking.look(path)
    except OSError as error:
        raise _cannot_look(path, error) from error


def check_command_answers(command: str) -> None:
    """That a command can be looked at which is to be run; one without a slash is looked for in PATH. Raises
    MountPointError."""
    if "/" in command:
        check_answers(command)


def check_scratch_answers() -> None:
    """That temporary directories can be made. Raises MountPointError."""
    check_answers(os.environ.get("TMPDIR") or "/tmp")


def _cannot_look(path: str, error: OSError) -> MountPointError:
    mount = asking.where(path)
    if mount is None:
        return MountPointError(f"{path}: {error.strerror}", "findmnt shows what is mounted")
    if mount.fstype == mounts.FSTYPE:
        return no_answer(path, error, mount.mountpoint)
    gone = error.errno in asking.GONE
    why = f"is dead: {error.strerror}" if gone else "does not answer"
    return MountPointError(
        f"{path}: {mount.mountpoint} ({mount.fstype}) {why}", f"umount -l {mount.mountpoint} detaches it"
    )


def served(mountpoint: str) -> mounts.Mount:
    """The mount of ours at a mount point. Raises MountPointError where there is none."""
    mount = mounts.at(mounts.resolved(mountpoint))
    if mount is None or mount.fstype != mounts.FSTYPE:
        raise MountPointError(f"{mountpoint}: not the root of a fusecopy mount", "fusecopy list shows them")
    return mount


def no_answer(path: str, error: OSError, mountpoint: str = "") -> MountPointError:
    """Why a server could not be asked about a mount, or about a file in the mount at `mountpoint`."""
    if isinstance(error, TimeoutError):
        return MountPointError(
            f"{path}: its server does not answer ({asking.SECONDS:g} s)",
            "It may be stopped, or wait for a disk. fusecopy umount --abort"
            f" {mountpoint or path} ends the mount.",
        )
    if error.errno in asking.GONE:
        return MountPointError(f"{path}: its server is gone", f"fusecopy umount {mountpoint or path}")
    if isinstance(error, PermissionError):
        return MountPointError(
            f"{path}: another user's mount, which the kernel opens to that user alone",
            "Ask as that user, or as root.",
        )
    return MountPointError(f"{path}: its server cannot be asked: {error.strerror}", "fusecopy list")
