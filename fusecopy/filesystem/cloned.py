"""What follows copies that were answered natively, by clones: many are proven and reported together."""

from collections.abc import Sequence

from fusecopy.copying.calls import FileId
from fusecopy.copying.records import Refusal, Request
from fusecopy.copying.refusal import explain_lack
from fusecopy.dispatch.lines import Range, encoded_names
from fusecopy.filesystem.copies import ASKED, Copies
from fusecopy.filesystem.identity import caller
from fusecopy.filesystem.openfiles import OpenFile, OpenFiles
from fusecopy.filesystem.watching import Watching
from fusecopy.reporting.clonerecords import Told, copy_lines
from fusecopy.reporting.reports import Reporter
from fusecopy.serving import CHANGED, LATER, LENGTH_LIMIT_47, Clone, Series


class CloneReports:
    """Reports clones that are as most are; if there is more to say of one, `copies` tells them one by one."""

    def __init__(self, files: OpenFiles, reporter: Reporter, watching: Watching, copies: Copies) -> None:
        self._files = files
        self._reporter = reporter
        self._watching = watching
        self._copies = copies

    def report(self, series: Sequence[Series]) -> None:
        """Report what was answered and proven, in the order of the answers."""
        with self._reporter.counting_loss(sum(len(one.clones) for one in series)):
            told = dict[int, Told]()
            if all(self._tell(one, told) for one in series) and not self._are_changed(series):
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
        """Add what is told of each clone, by its number; False where there is more to say."""
        source, destination = self._files.get(series.fh_in), self._files.get(series.fh_out)
        if destination.flows.pending or any(map(_is_unsettled, series.clones)):
            return False
        if _is_any_cut(series.clones, source):
            return False
        refused = self._refused(series, source, destination)
        destination.flows.offloaded = True
        lines = copy_lines(caller(series.thread), ASKED, 1, "copy_file_range", refused)
        names = encoded_names(source.inode.path(), destination.path())
        for number, clone in zip(series.numbers, series.clones, strict=True):
            proven = clone.shared, clone.holes, clone.unprovable
            times = clone.begun_ns, clone.ended_ns
            range_ = Range(clone.off_in, clone.off_out, clone.copied, *proven, *times)
            told[number] = Told(lines, names, range_, None)
        file = FileId(destination.inode.device, destination.inode.ino, series.generation)
        told[number] = told[number]._replace(file=file)
        return True

    def _are_changed(self, series: Sequence[Series]) -> bool:
        """Whether somebody else may have changed files before they were proven."""
        if any(one.clones[0].proven == CHANGED for one in series):
            return True
        series = [one for one in series if one.clones[0].proven == LATER]
        if not series:
            return False
        files = [self._files.get(fh) for one in series for fh in (one.fh_in, one.fh_out)]
        begun = min(one.clones[0].begun_ns for one in series)
        return self._watching.changed_since(begun, *(file.inode.number for file in files))

    def _refused(self, series: Series, source: OpenFile, destination: OpenFile) -> Refusal | None:
        """Why the backing has no clones, where they were refused."""
        clone = series.clones[0]
        if not clone.refused:
            return None
        request = Request(source.fd, destination.fd, clone.off_in, clone.off_out, clone.copied)
        return explain_lack(request, destination.inode.device, clone.refused)


def _is_unsettled(clone: Clone) -> bool:
    """Whether a copy that may still be written out needs a second look (see sharing.shared_bytes)."""
    return clone.refused != 0 and (clone.shared > 0 or 0 < clone.unprovable < clone.copied)


def _is_any_cut(clones: Sequence[Clone], source: OpenFile) -> bool:
    """Whether one may go on with the next request, or ended at a size that the kernel knew too small."""
    ends = [clone.off_in + clone.length for clone in clones if clone.off_in + clone.length < clone.size]
    if any(clone.length == LENGTH_LIMIT_47 for clone in clones):
        return True
    return bool(ends) and source.told_size() in ends
