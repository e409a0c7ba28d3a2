"""The command line: `python -m probing`, as root; prints the running kernel's column."""

import argparse
import os
import sys
from pathlib import Path

from fusecopy.errors import FusecopyError
from probing.asking import ask
from probing.facts import facts, kernel
from probing.place import place
from probing.probes import sections
from probing.records import Column


def column(names: list[str]) -> Column:
    """The running kernel's column, printed as it comes, of the named probes or all. Raises FusecopyError."""
    found = []
    with place() as where:
        for section, probes in sections().items():
            for probe in probes:
                if not names or probe.name in names:
                    found.append(ask(where, section, probe))
                    print(f"{probe.name:<22} {found[-1].text()}", flush=True)
        return Column(kernel(), facts(where.ground("btrfs")), found)


def main() -> int:
    """Probe, print, and keep the column where --json says."""
    parser = argparse.ArgumentParser("probing", description="What the running kernel makes of small copies.")
    parser.add_argument("--json", type=Path, help="keep the column in this file")
    parser.add_argument("name", nargs="*", help="a probe's name; all where none is given")
    given = parser.parse_args()
    if os.geteuid() != 0:
        print("probing: run it as root: it mounts images", file=sys.stderr)
        return 1
    try:
        done = column(given.name)
    except FusecopyError as error:
        print(f"probing: {error}", file=sys.stderr)
        return int(error.exit_status)
    for name, value in done.facts.items():
        print(f"{name:<22} {value}")
    if given.json:
        given.json.write_text(done.json())
    return 0


if __name__ == "__main__":
    sys.exit(main())
