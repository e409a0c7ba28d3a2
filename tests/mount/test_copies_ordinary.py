"""The same for an ordinary user's own mount, where neither server nor program has root's rights."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusecopy.dispatch.records import Copy, Requests
from tests import loopfs
from tests.cli.commands import NOBODY
from tests.loopfs import MIB
from tests.mount.ordinary import fuse_for_all
from tests.mounted import Mounted, mounted
from tests.reflink.files import noise

pytestmark = [pytest.mark.fuse, pytest.mark.root, pytest.mark.loop]

SIZE = 8 * MIB
UID = 65534


@pytest.fixture
def mount(sharing_backing: Path) -> Iterator[Mounted]:
    """A mount of nobody's, with a file `a`."""
    source = sharing_backing / "a"
    source.write_bytes(noise(SIZE))
    for path in (sharing_backing, source):
        os.chown(path, UID, UID)
    with tempfile.TemporaryDirectory(prefix="fusecopy-test-") as directory:
        os.chmod(directory, 0o755)
        # The directories of pytest are root's alone.
        with (
            loopfs.mount(Path(directory) / "backing", "--bind", str(sharing_backing)) as backing,
            fuse_for_all(),
            mounted(backing, prefix=NOBODY) as there,
        ):
            yield there


def copied(mount: Mounted, number: int, *command: str) -> Copy:
    """Run a command as the same user in the mount; the record of its copy, which is the log's `number`th."""
    subprocess.run([*NOBODY, "env", "-C", mount.path, *command], check=True, timeout=30)
    return mount.copies(number)[-1]


def policy(mount: Mounted, words: str) -> None:
    """Change the policy as the mount's owner."""
    command = ["setfattr", "-n", "user.fusecopy.policy", "-v", words, str(mount.path)]
    subprocess.run([*NOBODY, *command], check=True, timeout=30)


def test_ordinary_users_copies(mount: Mounted) -> None:
    shared = copied(mount, 1, "cp", "a", "b1")
    assert (shared.dispatch, shared.path, shared.uid) == ("dispatched", "reflink", UID)
    assert (shared.shared, shared.rewritten, shared.requests) == (SIZE, 0, Requests(copies=1))
    policy(mount, "paths=splice")
    moved = copied(mount, 2, "cp", "a", "b2")
    assert (moved.dispatch, moved.path) == ("dispatched", "splice")
    assert (moved.shared, moved.rewritten) == (0, SIZE)
    policy(mount, "decline=enosys")
    for number in (3, 4):
        spliced = copied(mount, number, "cp", "a", f"b{number}")
        assert (spliced.dispatch, spliced.driver) == ("fallback", "copy_file_range")
        assert (spliced.requests.writes, spliced.requests.write_bytes) == (SIZE // 65536, SIZE)
    read = copied(mount, 5, "dd", "if=a", "of=b5", "bs=1M", "status=none")
    assert (read.dispatch, read.driver, read.src) == ("bypassed", "write", "a")
    for number in range(1, 6):
        assert (mount.backing / f"b{number}").read_bytes() == noise(SIZE)


def test_another_user_sees_nothing_of_the_mount(mount: Mounted) -> None:
    """Without allow_other not even root does, and the log is the user's."""
    with pytest.raises(PermissionError):
        os.listdir(mount.path)
    assert mount.log.stat().st_uid == UID
    assert mount.log.stat().st_mode & 0o777 == 0o600
