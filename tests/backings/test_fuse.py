"""A mount of a directory that lies on FUSE: what happened there is not seen, and that is said."""

import os
import subprocess
from pathlib import Path

import pytest

from fusecopy.copying.copy_file_range import ON_FUSE
from tests.mounted import FUSECOPY, mounted

SIZE = 1 << 20

pytestmark = [pytest.mark.root, pytest.mark.fuse]


@pytest.mark.parametrize("decline", [(), ("--decline", "eopnotsupp")], ids=["copies", "declines"])
def test_whether_the_server_there_copied_is_unknown(btrfs: Path, decline: list[str]) -> None:
    backing = btrfs / f"behind-{len(decline)}"
    backing.mkdir()
    (backing / "data").write_bytes(os.urandom(SIZE))
    with mounted(backing, *decline) as inner, mounted(inner.path) as outer:
        subprocess.run(["cp", "data", "copy"], cwd=outer.path, check=True, timeout=60)
        (copy,) = outer.copies(1)
        told = subprocess.run(
            [FUSECOPY, "doctor", inner.path], capture_output=True, text=True, timeout=60, check=True
        ).stdout
    assert (copy.dispatch, copy.paths) == ("dispatched", {"copy_file_range": SIZE})
    assert [attempt.reason for attempt in copy.attempts if attempt.carried] == [ON_FUSE]
    assert (copy.shared, copy.unprovable, copy.rewritten) == (None, SIZE, None)
    assert copy.cause is not None
    assert "refuses clones on FUSE" in copy.cause
    assert copy.remedy == "Serve the directory behind that mount, if it lies on btrfs or XFS."
    assert "its server copies or the kernel splices" in told
