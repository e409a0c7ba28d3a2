"""docs/clients.md: the table of programs and their paths, made of what surveys found on each filesystem."""

import subprocess
import sys
from pathlib import Path

import click
import msgspec

from benching.place import filesystem, scratch
from fusecopy.demo.place import environment
from fusecopy.survey.records import Logged, Row, Survey
from fusecopy.views.format import size

DOCS = Path(__file__).resolve().parents[1] / "docs"
SURVEYS = DOCS / "clients"
TABLE = DOCS / "clients.md"
KINDS = ("btrfs", "ext4")
IMAGE_BYTES = 2 << 30

HEAD = """# Who takes which path

What programs call when they copy, and what becomes of it in a mount: `fusecopy survey`, run on Linux
{kernel}. Each copied a file of 1 MiB, or a tree of 879 KiB, inside the mount, if its name says nothing else.
*Calls* were seen by strace, with the bytes that they brought; what the log says is told for a backing on
btrfs and for one on ext4, where there are no reflinks. Calls and log agreed where nothing else is said: the
same bytes by the same call, into files of these names. `fusecopy survey` does the same with the programs of
your machine; `scripts/clients` makes this page.

A program that only writes what it has read elsewhere, or changed on the way, makes a *flow*: there is no copy
to be told. *Nothing* is said of hard links and renames, which copy nothing.

| program | version | calls | on btrfs | on ext4 |
|---|---|---|---|---|
"""


@click.command()
@click.option("--render", is_flag=True, help="Only make the table anew.")
@click.option("--check", is_flag=True, help="Fail where the table is not up to date.")
def main(render: bool, check: bool) -> None:
    """Survey both filesystems and make docs/clients.md."""
    if not render and not check:
        _survey()
    text = table(
        [msgspec.json.decode((SURVEYS / f"{kind}.json").read_bytes(), type=Survey) for kind in KINDS]
    )
    if not check:
        TABLE.write_text(text)
    elif TABLE.read_text() != text:
        sys.exit("docs/clients.md is not what docs/clients/ says: scripts/clients --render")


def _survey() -> None:
    SURVEYS.mkdir(exist_ok=True)
    for kind in KINDS:
        with scratch() as where, filesystem(kind, IMAGE_BYTES, where) as root:
            done = subprocess.run(
                ["fusecopy", "survey", "--json", root], env=environment(), stdout=subprocess.PIPE, check=False
            )
        (SURVEYS / f"{kind}.json").write_bytes(done.stdout)
        if done.returncode:
            sys.exit(f"fusecopy survey on {kind}: status {done.returncode}")


def table(surveys: list[Survey]) -> str:
    """The page. Programs that were missing everywhere are left out."""
    rows = [{row.program: row for row in survey.rows if row.state != "missing"} for survey in surveys]
    lines = [
        _line(name, [found[name] for found in rows]) for name in rows[0] if all(name in one for one in rows)
    ]
    return HEAD.format(kernel=surveys[0].kernel.partition("-")[0]) + "".join(lines)


def _line(name: str, rows: list[Row]) -> str:
    calls = rows[0].calls
    seen = [f"{call} {size(count)}" if count > 100 else call for call, count in calls.moved.items()]
    seen += [f"{call.replace(' ', ': ')}" for call in calls.refused]
    said = [_said(row) for row in rows]
    name = name.replace("|", r"\|")
    return f"| `{name}` | {rows[0].version} | {', '.join(seen) or 'nothing'} | {' | '.join(said)} |\n"


def _said(row: Row) -> str:
    text = ", ".join(dict.fromkeys(map(_one, row.logged))) or "nothing"
    return text if row.state == "agree" else f"**{row.state}**: {row.why}"


def _one(said: Logged) -> str:
    if said.dispatch == "flow":
        return "flow"
    if said.dispatch == "refused":
        return f"refused: {said.errno}"
    path = "" if said.path == "client" else f" by {said.path}"
    shared = (
        ""
        if not said.bytes or not said.shared
        else ", shared"
        if said.shared == said.bytes
        else ", partly shared"
    )
    return f"{said.dispatch}{path}{shared}"


if __name__ == "__main__":
    main()
