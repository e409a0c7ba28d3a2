"""The records of a tree: those of the files that were cloned whole, and what its own is made of."""

from fusecopy.copying import errnos
from fusecopy.copying.batch import Cloned
from fusecopy.dispatch.lines import Range, encoded_names
from fusecopy.ioctls import Answer
from fusecopy.observe.caller import Caller
from fusecopy.reporting.clonerecords import Told, copy_lines


class TreeRecords:
    """What is told of one tree's clones.

    Args:
        caller: who asked for the tree.
        source, destination: what comes before the clones' paths to have them relative to the mount.
    """

    def __init__(self, caller: Caller, source: bytes, destination: bytes) -> None:
        self._source = source
        self._destination = destination
        self._lines = copy_lines(caller, "clone", 0, "ioctl")

    def told(self, clone: Cloned) -> Told:
        """Of one clone that has data."""
        names = encoded_names(self._source + clone.path, self._destination + clone.path)
        proven = clone.shared, clone.holes, clone.unprovable
        range_ = Range(0, 0, clone.size, *proven, clone.begun_ns, clone.ended_ns)
        return Told(self._lines, names, range_, clone.file)


def tree_fields(how: str, answer: Answer, at: bytes) -> dict[str, object]:
    """What a tree's own record tells of the answer; `at` is where it failed."""
    return {
        "how": how,
        "files": answer.files,
        "directories": answer.directories,
        "links": answer.links,
        "other": answer.others,
        "bytes": answer.size,
        "shared": answer.shared,
        "unprovable": answer.unprovable,
        "rewritten": answer.rewritten,
        "errno": errnos.name(answer.errno) if answer.errno else None,
        "at": at.decode(errors="replace"),
        "cause": answer.cause or None,
        "remedy": answer.remedy or None,
    }
