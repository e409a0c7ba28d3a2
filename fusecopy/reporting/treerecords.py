"""The records of a tree: those of the files that were cloned whole, and what its own is made of."""

from msgspec.structs import replace

from fusecopy.copying import errnos
from fusecopy.copying.batch import Cloned
from fusecopy.copying.records import Proof, Sharing
from fusecopy.copying.sharing import rewritten
from fusecopy.dispatch.records import Attempt, Copy, Requests, encode_path, timestamp
from fusecopy.ioctls import Answer
from fusecopy.observe.caller import Caller


class TreeRecords:
    """Makes the records of one tree's clones; what is alike in all of them is made once.

    Args:
        caller: who asked for the tree.
        source, destination: what comes before the clones' paths to have them relative to the mount.
    """

    def __init__(self, caller: Caller, source: bytes, destination: bytes) -> None:
        self._source = source
        self._destination = destination
        self._alike = _alike(caller)

    def record(self, seq: int, clone: Cloned) -> Copy:
        """The record of one clone that has data."""
        src, src_b64 = encode_path(self._source + clone.path)
        dst, dst_b64 = encode_path(self._destination + clone.path)
        return replace(
            self._alike,
            seq=seq,
            time=timestamp(clone.ended_ns),
            mono_ns=clone.ended_ns,
            src=src,
            dst=dst,
            src_b64=src_b64,
            dst_b64=dst_b64,
            length=clone.size,
            copied=clone.size,
            paths={"reflink": clone.size},
            attempts=[Attempt("reflink", 0, 0, clone.size, clone.size)],
            shared=None if clone.unprovable else clone.shared,
            holes=clone.holes,
            unprovable=clone.unprovable,
            proof="unprovable" if clone.unprovable else "fiemap",
            rewritten=rewritten(clone.size, sharing(clone)),
            duration_us=(clone.ended_ns - clone.begun_ns) // 1000,
        )


def sharing(clone: Cloned) -> Sharing:
    """What was proven of a file that was cloned whole."""
    return Sharing(clone.shared, clone.holes, clone.unprovable, Proof.FIEMAP)


def _alike(caller: Caller) -> Copy:
    return Copy(
        seq=0,
        time="",
        mono_ns=0,
        pid=caller.pid,
        comm=caller.comm,
        uid=caller.uid,
        asked="clone",
        src="",
        dst="",
        off_in=0,
        off_out=0,
        length=0,
        copied=0,
        dispatch="dispatched",
        path="reflink",
        shared=0,
        shared_before=0,
        proof="fiemap",
        rewritten=0,
        duration_us=0,
        requests=Requests(copies=0),
        driver="ioctl",
        paired="request",
        evidence="request",
        parent=caller.parent,
        exe=caller.exe,
        args=caller.args,
    )


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
