"""scripts/suites: run a suite on mounts over btrfs, XFS and ext4, and compare with what is expected."""

import sys
from pathlib import Path

import click

from fusecopy.errors import FusecopyError
from suiting import sources
from suiting.place import place
from suiting.results import lines, read, unexpected
from suiting.suites import SUITES

LISTS = Path(__file__).resolve().parents[2] / "docs" / "suites"
KINDS = ("btrfs", "xfs", "ext4")


@click.command()
@click.argument("name", type=click.Choice(list(SUITES)))
@click.argument("tests", nargs=-1)
@click.option("--on", "kinds", multiple=True, type=click.Choice(KINDS), help="Filesystem; all three without.")
@click.option(
    "--cache", type=Path, default=Path("~/.cache/fusecopy-suites").expanduser(), help="Where suites are."
)
@click.option("--source", type=Path, help="A clone of the suite to take it from, without a network.")
@click.option("--record", type=Path, help="Write what is not a pass there, as a list has it.")
def main(
    name: str,
    tests: tuple[str, ...],
    kinds: tuple[str, ...],
    cache: Path,
    source: Path | None,
    record: Path | None,
) -> None:
    """Run the suite NAME, or only TESTS of it. The status is 1 where a result is worse than
    docs/suites/NAME.txt expects."""
    suite = SUITES[name]
    if suite.source is None:
        sources.installed(name, name)
    built = sources.built(suite.source, cache, source) if suite.source else cache
    expected = read(LISTS / f"{name}.txt")
    worse, recorded = [], list[str]()
    for kind in kinds or KINDS:
        with place(kind) as here:
            results = suite.run(built, here, tests)
        found = unexpected(kind, results, expected)
        counts = [
            f"{sum(one.outcome == word for one in results)} {word}" for word in ("pass", "skip", "fail")
        ]
        print(f"{name} on {kind}: {', '.join(counts)}; {len(found)} worse than expected", flush=True)
        for one in found:
            print(f"  {one.test}: {one.outcome}: {one.why}", flush=True)
        worse += found
        recorded += lines(kind, results)
    if record:
        record.write_text("".join(f"{line}\n" for line in recorded))
    sys.exit(1 if worse else 0)


if __name__ == "__main__":
    try:
        main()
    except FusecopyError as error:
        sys.exit(f"suites: {error}")
