"""The records of the files of a tree that were cloned whole."""

from fusecopy.copying.batch import Cloned
from fusecopy.dispatch.lines import Range, encoded_names
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
