"""Write what is made of the code, man/ and the log's JSON Schema, or say what of it is not up to date."""

import sys
from pathlib import Path

from fusecopy.dispatch.schema import schema
from manpages.pages import pages

ROOT = Path(__file__).parents[2]
SCHEMA = "docs/dispatch-log.schema.json"


def main() -> int:
    """1 where --check finds a difference."""
    directory = ROOT / "man"
    directory.mkdir(exist_ok=True)
    made = {directory / name: text for name, text in pages(ROOT).items()} | {ROOT / SCHEMA: schema()}
    there = {path: path.read_text() for path in (*directory.iterdir(), ROOT / SCHEMA) if path.exists()}
    if sys.argv[1:] == ["--check"]:
        for path in sorted(path for path in made.keys() | there.keys() if made.get(path) != there.get(path)):
            told = path.relative_to(ROOT)
            print(f"{told} is not what the commands, docs/ and records say; run scripts/man", file=sys.stderr)
        return made != there
    for path in there.keys() - made.keys():
        path.unlink()
    for path, text in made.items():
        path.write_text(text)
    return 0


sys.exit(main())
