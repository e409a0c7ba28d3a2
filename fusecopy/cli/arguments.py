"""Arguments that name files and mounts.

click.Path looks at the file while it reads the command line, which may be a mount whose server does not
answer, and has statuses of its own for what it finds.
"""

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
    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str | Path:
        return Path(super().convert(value, param, ctx))


NAME = _Name()
PATH = _Path()


def served(mountpoint: str) -> mounts.Mount:
    """The mount of ours at a mount point. Raises MountPointError where there is none."""
    mount = mounts.at(mounts.resolved(mountpoint))
    if mount is None or mount.fstype != mounts.FSTYPE:
        raise MountPointError(f"{mountpoint}: not the root of a fusecopy mount", "fusecopy list shows them")
    return mount


def no_answer(mountpoint: str, error: OSError) -> MountPointError:
    """Why a server could not be asked."""
    if isinstance(error, TimeoutError):
        return MountPointError(
            f"{mountpoint}: its server does not answer ({asking.SECONDS:g} s)",
            f"It may be stopped, or wait for a disk. fusecopy umount --abort {mountpoint} ends the mount.",
        )
    if isinstance(error, PermissionError):
        return MountPointError(
            f"{mountpoint}: another user's mount, which the kernel opens to that user alone",
            "Ask as that user, or as root.",
        )
    return MountPointError(f"{mountpoint}: its server cannot be asked: {error.strerror}", "fusecopy list")
