"""What a file is called in the end, by the renames that were asked for."""

import os
from collections.abc import Iterator, Mapping, Sequence

from fusecopy.expecting.files import Identity

MOST_NAMES = 1000
"""That are tried for one file."""


def name_now(path: str, identity: Identity, renames: Mapping[str, Sequence[str]]) -> str:
    """The name that a file has now, which was called `path` before; that one where none is found."""
    waiting, tried = [path], {path}
    while waiting and len(tried) < MOST_NAMES:
        name = waiting.pop(0)
        if _is(name, identity):
            return name
        new = [other for other in _renamed(name, renames) if other not in tried]
        waiting += new
        tried.update(new)
    return path


def _is(name: str, identity: Identity) -> bool:
    try:
        found = os.lstat(name)
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == identity


def _renamed(name: str, renames: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """By a rename of the file, or of a directory that it is in."""
    above = name
    while above not in ("", "/"):
        for new in renames.get(above, ()):
            yield new + name[len(above) :]
        above = os.path.dirname(above)
