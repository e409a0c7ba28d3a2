"""Write man/, or say what in it is not up to date."""

import sys
from pathlib import Path

from manpages.pages import pages

ROOT = Path(__file__).parents[2]


def main() -> int:
    """1 where --check finds a difference."""
    directory = ROOT / "man"
    directory.mkdir(exist_ok=True)
    made = pages(ROOT)
    there = {path.name: path.read_text() for path in directory.iterdir()}
    if sys.argv[1:] == ["--check"]:
        for name in sorted(name for name in made.keys() | there.keys() if made.get(name) != there.get(name)):
            print(f"man/{name} is not what --help and docs/ say; run scripts/man", file=sys.stderr)
        return made != there
    for name in there.keys() - made.keys():
        (directory / name).unlink()
    for name, text in made.items():
        (directory / name).write_text(text)
    return 0


sys.exit(main())
