"""Which pages there are, and what each is made of."""

import inspect
import re
from pathlib import Path

import click

from fusecopy import __version__
from fusecopy.cli import mount_helper
from fusecopy.cli.commands import COMMANDS, fusecopy
from manpages import roff

LOG = "fusecopy-log.5"
HELPER = "mount.fusecopy.8"


def pages(root: Path) -> dict[str, str]:
    """Each page's text by its file's name; `root` is where docs/ is."""
    made = {"fusecopy.1": _program(root), LOG: _log(root), HELPER: _helper(root)}
    for name in COMMANDS:
        made[f"fusecopy-{name}.1"] = _command(name)
    return {name: "\n".join(lines) + "\n" for name, lines in made.items()}


def _named(name: str, section: int, summary: str) -> list[str]:
    return [
        *roff.title(name, section, __version__),
        roff.section("name"),
        f"{roff.plain(name)} \\- {roff.plain(summary)}",
    ]


def _see(*others: str) -> list[str]:
    return [roff.section("see also"), ",\n".join(f".BR {roff.plain(other)}" for other in others)]


def _options(context: click.Context) -> list[str]:
    options = (each for each in context.command.get_params(context) if isinstance(each, click.Option))
    records = [option.get_help_record(context) for option in options]
    shown = [(f"\\fB{roff.plain(name)}\\fP", roff.words(text)) for name, text in filter(None, records)]
    return [roff.section("options"), *roff.entries(shown)]


def _help(command: click.Command) -> list[str]:
    return [roff.section("description"), *roff.markdown(inspect.cleandoc(command.help or ""))]


def _synopsis(context: click.Context) -> list[str]:
    usage = " ".join(context.command.collect_usage_pieces(context))
    return [roff.section("synopsis"), f".B {roff.plain(context.command_path)}", roff.plain(usage)]


def _command(name: str) -> list[str]:
    parent = click.Context(fusecopy, info_name="fusecopy")
    command = fusecopy.get_command(parent, name)
    assert command
    context = click.Context(
        command,
        info_name=name,
        parent=parent,
        **fusecopy.context_settings,
    )
    return [
        *_named(f"fusecopy-{name}", 1, COMMANDS[name]),
        *_synopsis(context),
        *_help(command),
        *_options(context),
        *_see("fusecopy (1)"),
    ]


def _program(root: Path) -> list[str]:
    context = click.Context(fusecopy, info_name="fusecopy", **fusecopy.context_settings)
    listed = [
        (f"\\fBfusecopy\\-{roff.plain(name)}\\fP(1)", roff.plain(text)) for name, text in COMMANDS.items()
    ]
    operations = (root / "docs/operations.md").read_text()
    return [
        *_named("fusecopy", 1, "see what becomes of every copy, and have reflinks through FUSE"),
        *_synopsis(context),
        *_help(fusecopy),
        roff.section("commands"),
        *roff.entries(listed),
        *_options(context),
        roff.section("files"),
        *roff.markdown(_part(operations, "Files")),
        roff.section("exit status"),
        *_statuses(root),
        *_see("fusecopy-log (5)", "mount.fusecopy (8)", "copy_file_range (2)", "ioctl_ficlonerange (2)"),
    ]


def _part(document: str, heading: str) -> str:
    return document.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def _statuses(root: Path) -> list[str]:
    """The table has two columns of statuses side by side."""
    found = re.findall(r"(?<=\| )(\d[\d, ]*) \| ([^|]+) \|", (root / "docs/exit-statuses.md").read_text())
    return roff.entries(
        (roff.plain(numbers), roff.words(meaning))
        for numbers, meaning in sorted(found, key=lambda pair: int(pair[0].partition(",")[0]))
    )


def _log(root: Path) -> list[str]:
    text = (root / "docs/dispatch-log.md").read_text().partition("\n")[2]
    return [
        *_named("fusecopy-log", 5, "the dispatch log of fusecopy"),
        roff.section("description"),
        *roff.markdown(text),
        *_see("fusecopy-log (1)"),
    ]


def _helper(root: Path) -> list[str]:
    policies = (root / "docs/policies.md").read_text()
    parts = [
        part
        for heading in re.findall(r"\n## (.*)", policies)
        for part in ("## " + heading + "\n", _part(policies, heading))
    ]
    return [
        *_named("mount.fusecopy", 8, "what mount(8) runs for mount -t fusecopy"),
        roff.section("synopsis"),
        roff.plain(mount_helper.USAGE),
        roff.section("description"),
        *roff.markdown(_about(root)),
        *roff.markdown("\n".join(parts)),
        *_see("fusecopy (1)", "mount (8)", "fstab (5)"),
    ]


def _about(root: Path) -> str:
    return _part((root / "docs/operations.md").read_text(), "Mount")
