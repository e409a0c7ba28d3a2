"""fusecopy check-server: is somebody else's FUSE filesystem right about copies?"""

import json
import os
import textwrap
from pathlib import Path

import click

from fusecopy import mounts
from fusecopy.checking.checks import check
from fusecopy.checking.findings import NOTHING, Finding, State
from fusecopy.cli.arguments import PATH
from fusecopy.errors import MountPointError, ServerCheckError
from fusecopy.terminal import printable, say

NAME, STATE, WIDTH = 14, 7, 79


@click.command("check-server")
@click.argument("directory", type=PATH, metavar="MNT")
@click.option("--large", is_flag=True, help="Also copy 4 GiB of holes, which some servers write out.")
@click.option("--json", "as_json", is_flag=True, help="One object for each rule: name, state, found, seen.")
def command(directory: Path, large: bool, as_json: bool) -> None:
    """Try out on MNT, a mount of any FUSE server or a directory in it, whether copies are right there.

    Each line has a rule, ok, not ok or unknown, what was measured, and what a user would see of it. Made,
    and removed in the end, is a directory .fusecopy-check-... of some 300 MiB. Best asked first of all of a
    new mount, as root, and with tracefs: then it is seen, too, which requests the kernel sends. Nothing is
    waited for longer than a minute.

    The status is 25 where something is not ok.
    """
    mount = _mount(directory)
    found: list[Finding] = []
    try:
        for finding in check(directory, mount.connection, large):
            found.append(finding)
            _show(finding, as_json)
    except TimeoutError as error:
        raise ServerCheckError(
            f"{directory}: the server gave no answer to what came after these",
            "fusecopy umount --abort ends it.",
        ) from error
    if wrong := [finding.name for finding in found if finding.state is State.NOT_OK]:
        raise ServerCheckError(f"{directory}: not ok: {', '.join(wrong)}")


def _mount(directory: Path) -> mounts.Mount:
    """The mount of a directory, without asking its server. Raises MountPointError."""
    path = os.path.realpath(directory)
    above = [mount for mount in mounts.mounts() if Path(path).is_relative_to(mount.mountpoint)]
    mount = max(above, key=lambda one: len(one.mountpoint), default=None)
    if mount is None or not mount.fstype.startswith("fuse"):
        kind = mount.fstype if mount else "nothing"
        raise MountPointError(f"{directory}: {kind}, not a FUSE filesystem", "Name a mount of a FUSE server.")
    return mount


def _show(finding: Finding, as_json: bool) -> None:
    if as_json:
        say(json.dumps(finding._asdict()))
        return
    start = f"{finding.name:{NAME}} {finding.state!s:{STATE}} "
    text = finding.found if finding.seen == NOTHING else f"{finding.found}: {finding.seen}"
    for line in textwrap.wrap(
        printable(text), WIDTH, initial_indent=start, subsequent_indent=" " * len(start)
    ):
        say(line)
