"""What follows copies that were answered natively, by clones: many are proven and reported together."""

from collections.abc import Sequence

from fusecopy.copying.records import Refusal, Request
from fusecopy.copying.refusal import explain_lack
from fusecopy.copying.sharing import Shared, prove_clones
from fusecopy.dispatch.lines import Range, encoded_names
from fusecopy.filesystem.copies import ASKED, Copies
from fusecopy.filesystem.identity import caller
from fusecopy.filesystem.openfiles import OpenFile, OpenFiles
from fusecopy.filesystem.watching import Watching
from fusecopy.reporting.clonerecords import Told, copy_lines
from fusecopy.reporting.reports import Reporter
from fusecopy.serving import LENGTH_LIMIT_47, Clone, Series


class Cloned:
    """Reports clones that are as most are; if there is more to say of one, `copies` tells them one by one."""

    def __init__(self, files: OpenFiles, reporter: Reporter, watching: Watching, copies: Copies) -> None:
        self._files = files
        self._reporter = reporter
        self._watching = watching
        self._copies = copies

    def report(self, series: Sequence[Series]) -> None:
        """Prove and report what was answered, in the order of the answers."""
        with self._reporter.counting_loss(sum(len(one.clones) for one in series)):
            told = dict[int, Told]()
            if all(self._tell(one, told) for one in series):
                self._reporter.cloned([told[number] for number in range(len(told))])
            else:
                self._report_one_by_one(series)

    def _report_one_by_one(self, series: Sequence[Series]) -> None:
        clones = dict[int, tuple[Series, Clone]]()
        for one in series:
            clones.update(
                (number, (one, clone)) for number, clone in zip(one.numbers, one.clones, strict=True)
            )
        for number in range(len(clones)):
            self._copies.cloned(*clones[number])

    def _tell(self, series: Series, told: dict[int, Told]) -> bool:
        """Prove clones and add what is told of each, by its number; False where there is more to say."""
        source, destination = self._files.get(series.fh_in), self._files.get(series.fh_out)
        if destination.flows.pending or _is_any_cut(series.clones, source.told_size()):
            return False
        ranges = [(clone.off_in, clone.off_out, clone.copied) for clone in series.clones]
        proven = prove_clones(source.fd, destination.fd, ranges)
        numbers = source.inode.number, destination.inode.number
        if self._watching.changed_since(series.clones[0].begun_ns, *numbers):
            return False
        if series.clones[0].refused and not _is_settled(proven, ranges):
            return False
        refused = self._refused(series, source, destination)
        destination.flows.offloaded = True
        lines = copy_lines(caller(series.thread), ASKED, 1, "copy_file_range", refused)
        names = encoded_names(source.inode.path(), destination.path())
        for number, clone, shared in zip(series.numbers, series.clones, proven, strict=True):
            times = clone.begun_ns, clone.ended_ns
            range_ = Range(clone.off_in, clone.off_out, clone.copied, *shared, *times)
            told[number] = Told(lines, names, range_, None)
        told[number] = told[number]._replace(file=destination.known_file())
        return True

    def _refused(self, series: Series, source: OpenFile, destination: OpenFile) -> Refusal | None:
        """Why the backing has no clones, where they were refused."""
        clone = series.clones[0]
        if not clone.refused:
            return None
        request = Request(source.fd, destination.fd, clone.off_in, clone.off_out, clone.copied)
        return explain_lack(request, destination.inode.device, clone.refused)


def _is_settled(proven: Sequence[Shared], ranges: Sequence[tuple[int, int, int]]) -> bool:
    """Whether a copy that may still be written out needs no second look (see sharing.shared_bytes)."""
    return all(
        not one.shared and one.unprovable in (0, copied)
        for one, (_, _, copied) in zip(proven, ranges, strict=True)
    )


def _is_any_cut(clones: Sequence[Clone], told_size: int) -> bool:
    """Whether one may go on with the next request, or ended at a size that the kernel knew too small."""
    return any(
        clone.length == LENGTH_LIMIT_47 or clone.off_in + clone.length == told_size < clone.size
        for clone in clones
    )
