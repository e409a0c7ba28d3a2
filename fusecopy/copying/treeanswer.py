"""What became of a tree, in the words of the answer to whoever asked for it (fusecopy.ioctls)."""

from collections.abc import Iterable

from fusecopy.copying.batch import Cloned
from fusecopy.copying.errnos import CLONE_REFUSED
from fusecopy.copying.ladder import HOWS, Ladder
from fusecopy.copying.records import Proof, Sharing
from fusecopy.copying.sharing import rewritten
from fusecopy.copying.tree import Tree, TreeError
from fusecopy.ioctls import Answer


def failed(failure: TreeError, ladder: Ladder) -> Answer:
    """Of a tree that could not be cloned, of which nothing is left."""
    refusal = failure.refusal
    unshared = failure.of_data and failure.errno in CLONE_REFUSED and ladder == HOWS["reflink"]
    cause, remedy = (refusal.cause, refusal.remedy) if refusal else ("", "")
    return Answer(failure.errno, unshared, 0, 0, 0, 0, 0, 0, 0, 0, failure.path, cause, remedy)


def done(tree: Tree, copies: Iterable[tuple[int, Sharing]]) -> Answer:
    """Of a tree that is whole.

    Args:
        copies: of the files that are not among its clones, the bytes copied and what is shared of them.
    """
    counts = tree.counts
    found = [*((clone.size, sharing(clone)) for clone in tree.clones), *copies]
    return Answer(
        0,
        False,
        counts.files,
        counts.directories,
        counts.links,
        counts.others,
        counts.bytes,
        sum(proven.shared for _, proven in found if not proven.unprovable),
        sum(rewritten(copied, proven) or 0 for copied, proven in found),
        sum(proven.unprovable > 0 for _, proven in found),
    )


def sharing(clone: Cloned) -> Sharing:
    """What was proven of a file that was cloned whole."""
    return Sharing(clone.shared, clone.holes, clone.unprovable, Proof.FIEMAP)
