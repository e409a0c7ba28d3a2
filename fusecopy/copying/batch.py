"""Files of one directory cloned whole, many by one native call (batch.h): the threads that clone a tree work
side by side for as long as none of them needs the interpreter."""

from typing import TYPE_CHECKING, NamedTuple

from fusecopy.copying._native import ffi, lib
from fusecopy.copying.calls import FileId

if TYPE_CHECKING:
    from fusecopy.copying._native import FcCloned

BUDGET_NS = 20_000_000
"""How long one call goes on with further files: as often it is looked whether the work was stopped."""

_UNLIMITED = (1 << 64) - 1


class Cloned(NamedTuple):
    """One file that was cloned whole by FICLONE, and what FIEMAP said of it while both files were open.

    Attributes:
        path: of source and clone, relative to the tree's top.
        file: which file the clone is.
        size, shared, holes, unprovable: bytes; all are unprovable where FIEMAP proves nothing.
        begun_ns, ended_ns: CLOCK_MONOTONIC.
    """

    path: bytes
    file: FileId
    size: int
    shared: int
    holes: int
    unprovable: int
    begun_ns: int
    ended_ns: int


class Batch(NamedTuple):
    """What became of some files.

    Attributes:
        clones: those that are done, with data or without.
        left: names of those of which nothing was made, because it takes more than this: they are of another
            kind, have further names, are too large, or could not be cloned for a reason still to be found.
        rest: names that were not come to.
    """

    clones: list[Cloned]
    left: list[bytes]
    rest: list[bytes]


def clone_files(
    source: int, destination: int, prefix: bytes, names: list[bytes], largest: int | None
) -> Batch:
    """Clone files of one open directory to the same names in another, with their attributes. Does not raise.

    A file that is gone is passed over. After one that could not be cloned all others are left too.

    Args:
        prefix: what comes before a name in `Cloned.path`.
        names: one at least.
        largest: bytes a file may have, or None.
    """
    found = ffi.new("struct fc_cloned[]", len(names))
    joined = b"\0".join(names) + b"\0"
    most = _UNLIMITED if largest is None else largest
    count = lib.fc_clone_files(source, destination, joined, len(names), most, BUDGET_NS, found)
    clones, left = list[Cloned](), list[bytes]()
    for name, one in zip(names, found[0:count], strict=False):
        if one.state == lib.FC_DONE:
            clones.append(_cloned(prefix + name, one))
        elif one.state != lib.FC_GONE:
            left.append(name)
    if found[count - 1].state == lib.FC_REFUSED:
        return Batch(clones, left + names[count:], [])
    return Batch(clones, left, names[count:])


def _cloned(path: bytes, one: "FcCloned") -> Cloned:
    return Cloned(
        path,
        FileId(one.device, one.ino, one.generation),
        one.size,
        one.shared,
        one.holes,
        one.unprovable,
        one.begun_ns,
        one.ended_ns,
    )
