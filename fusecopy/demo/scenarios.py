"""The scenarios: one for each claim about how Linux copies, shown on the running kernel."""

import resource
import shutil
from collections.abc import Callable
from typing import NamedTuple

from fusecopy.demo.stage import Stage
from fusecopy.dispatch.records import Copy

DATA = "data"
"""The file that is copied."""

DATA_BYTES = 8 << 20

PIPE_BYTES = 16 * resource.getpagesize()
"""A pipe's capacity: 16 pages (pipe(7)); the size of the chunks that the kernel splices."""


def pipe(stage: Stage) -> None:
    """sendfile and splice."""
    stage.python(
        f'a, b = open("{DATA}", "rb"), open("1-sendfile", "wb")',
        f"print(os.sendfile(b.fileno(), a.fileno(), 0, {DATA_BYTES}))",
    )
    stage.python(
        f'a, b = open("{DATA}", "rb"), open("1-splice", "wb")',
        "out, into = os.pipe()",
        f"while n := os.splice(a.fileno(), into, {PIPE_BYTES}): os.splice(out, b.fileno(), n)",
    )
    for copy in stage.copies("1-sendfile", "1-splice"):
        stage.check(
            f"{copy.driver} arrived as WRITEs of {PIPE_BYTES} bytes, a pipe's 16 pages",
            copy.requests.writes * PIPE_BYTES == copy.requests.write_bytes == DATA_BYTES,
        )


def zero_copy(stage: Stage) -> None:
    """Bytes rewritten by path."""
    for path in ("splice", "sendfile", "reflink"):
        stage.policy(f"paths={path}")
        stage.shell(f"cp {DATA} 2-{path}")
    stage.policy("default")
    *moved, cloned = stage.copies("2-splice", "2-sendfile", "2-reflink")
    for copy in moved:
        stage.check(f"{copy.path} wrote every byte again", copy.rewritten == DATA_BYTES)
    if stage.place.reflink:
        stage.check("reflink wrote none", cloned.rewritten == 0 and cloned.shared == DATA_BYTES)
    else:
        stage.check("no reflink here: the kernel spliced", cloned.path == "kernel-splice")


def handler(stage: Stage) -> None:
    """Answered and declined."""
    strace = "strace -qq -e trace=copy_file_range " if shutil.which("strace") else ""
    stage.shell(f"{strace}cp {DATA} 3-answered")
    stage.policy("decline=eopnotsupp")
    stage.shell(f"{strace}cp {DATA} 3-declined")
    stage.policy("decline=")
    answered, declined = stage.copies("3-answered", "3-declined")
    stage.check(
        "answered: one copy request, no READ, no WRITE",
        answered.dispatch == "dispatched" and _counts(answered) == (1, 0, 0),
    )
    stage.check(
        "declined: the same call returned the same, and the bytes went as READs and WRITEs",
        declined.dispatch == "fallback" and min(_counts(declined)) > 0,
    )


def _counts(copy: Copy) -> tuple[int, int, int]:
    return copy.requests.copies, copy.requests.reads, copy.requests.writes


def errnos(stage: Stage) -> None:
    """What each errno makes the kernel do."""
    for word in ("EOPNOTSUPP", "EXDEV"):
        stage.policy(f"decline={word.lower()}")
        said = _copy(stage, f"4-{word}")
        stage.check(f"{word}: the kernel copies by itself", said == str(DATA_BYTES))
    stage.policy("decline=")
    for word in ("EIO", "EINVAL"):
        stage.policy(f"refuse={word}")
        said = _copy(stage, f"4-{word}")
        stage.check(f"{word}: handed to the program as it is", said.startswith("OSError"))
    stage.shell(f"cp {DATA} 4-cp && cmp {DATA} 4-cp && echo 'after EINVAL cp copies by read and write'")
    stage.policy("refuse=")
    copies = stage.copies("4-EOPNOTSUPP", "4-EXDEV", "4-EIO", "4-EINVAL")
    stage.check("the server was asked every time", all(copy.requests.copies == 1 for copy in copies))
    _enosys(stage)


def _enosys(stage: Stage) -> None:
    stage.say("ENOSYS is for good, so it gets a mount of its own:")
    with stage.another_mount("other") as other:
        other.policy("decline=enosys")
        _copy(other, "4-ENOSYS")
        other.policy("decline=")
        _copy(other, "4-after-ENOSYS")
        asked, not_asked = other.copies("4-ENOSYS", "4-after-ENOSYS")
        other.check(
            "ENOSYS: the kernel copies, and never asks this mount again",
            asked.requests.copies > 0 and not_asked.requests.copies == 0 and not_asked.dispatch == "fallback",
        )


def _copy(stage: Stage, name: str) -> str:
    return stage.python(
        f'a, b = open("{DATA}", "rb"), open("{name}", "wb")',
        f"print(os.copy_file_range(a.fileno(), b.fileno(), {DATA_BYTES}))",
    )


def hows(stage: Stage) -> None:
    """fusecopy cp --how."""
    stage.shell(f"fusecopy cp --how copy {DATA} 5-copy")
    (copied,) = stage.copies("5-copy")
    stage.check(
        "copy: every byte again, nothing shared", (copied.rewritten, copied.shared) == (DATA_BYTES, 0)
    )
    stage.shell(f"fusecopy cp --how reflink {DATA} 5-reflink")
    stage.shell(f"fusecopy cp --how dedupe {DATA} 5-copy")
    (cloned, deduped) = stage.copies("5-reflink", "5-copy")
    if stage.place.reflink:
        stage.check(
            "reflink: all shared, nothing rewritten", (cloned.rewritten, cloned.shared) == (0, DATA_BYTES)
        )
        stage.check("dedupe: the copy made first is shared now", deduped.shared == DATA_BYTES)
    else:
        refused = cloned.dispatch == deduped.dispatch == "refused"
        stage.check("reflink and dedupe are refused here, and nothing else is done instead", refused)


def clone(stage: Stage) -> None:
    """FICLONERANGE and the backing's copy_file_range."""
    for path in ("reflink", "copy_file_range"):
        stage.policy(f"paths={path}")
        stage.shell(f"cp {DATA} 6-{path}")
    stage.policy("default")
    ranged, copied = stage.copies("6-reflink", "6-copy_file_range")
    if stage.place.reflink:
        both = ranged.shared == copied.shared == DATA_BYTES
        stage.check("FICLONERANGE and copy_file_range share the same extents", both)
    else:
        carried = copied.path == "copy_file_range" and not copied.shared
        stage.check("without reflink copy_file_range copies it, and nothing is proven to be shared", carried)


def blocks(stage: Stage) -> None:
    """A range that does not end with a block."""
    stage.python(
        f'a, b = open("{DATA}", "rb"), open("7-range", "wb")',
        "print(os.copy_file_range(a.fileno(), b.fileno(), 70000))",
    )
    (copy,) = stage.copies("7-range")
    if stage.place.reflink:
        stage.check(
            "of 70000 bytes 17 blocks (69632) are shared, the tail of 368 is copied",
            (copy.copied, copy.shared, copy.rewritten) == (70000, 69632, 368),
        )
    else:
        stage.check(
            "without reflink nothing is proven to be shared", copy.copied == 70000 and not copy.shared
        )


class Scenario(NamedTuple):
    """A claim and what shows it."""

    claim: str
    play: Callable[[Stage], None]


SCENARIOS = [
    Scenario("sendfile() and splice() use a pipe as a temporary buffer.", pipe),
    Scenario("So there is no zero copy inside the kernel, only no copy to user space.", zero_copy),
    Scenario(
        "If a filesystem defines copy_file_range, splice is not used; else the kernel splices.",
        handler,
    ),
    Scenario(
        "ret = f_op->copy_file_range(...); if (ret == -EOPNOTSUPP) ret = do_splice_direct(...). Today the"
        " fallback is FUSE's own, after three errnos.",
        errnos,
    ),
    Scenario(
        "COPY_FR_COPY, COPY_FR_REFLINK and COPY_FR_DEDUP. Linux never took these flags in; fusecopy has the"
        " three as a command.",
        hows,
    ),
    Scenario("btrfs's copy_file_range is its clone.", clone),
    Scenario(
        '"copy_file_range does not copy, it clones a range of blocks": where offsets and length are whole'
        " blocks.",
        blocks,
    ),
]
