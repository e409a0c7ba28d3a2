"""A mount of a directory that lies on SMB: shared by the server, and that nothing in the log is false."""

import subprocess

import pytest

from tests.backings.client import Smb, data, fusecopy, only_copy
from tests.mounted import mounted

SIZE = 8 << 20

pytestmark = [pytest.mark.lab, pytest.mark.root, pytest.mark.fuse, pytest.mark.loop]


def copied(smb: Smb, *options: str) -> None:
    """cp in a mount of it; the log holds what nobody can prove there to be unprovable."""
    content = data(smb, SIZE)
    with mounted(smb.client, *options) as mount:
        subprocess.run(["cp", "data", "copy"], cwd=mount.path, check=True, timeout=100)
        copy = only_copy(mount)
    assert (smb.server / "copy").read_bytes() == content
    assert (copy.dispatch, copy.copied) == ("dispatched", SIZE)
    assert (copy.shared, copy.unprovable, copy.proof, copy.rewritten) == (None, SIZE, "unprovable", None)


def test_a_copy_is_a_clone_and_unprovable(smb: Smb) -> None:
    copied(smb)
    assert "100%" in fusecopy("verify", smb.server / "data", smb.server / "copy")


def test_by_copy_file_range_it_is_the_servers(smb: Smb) -> None:
    copied(smb, "--paths", "copy_file_range")


def test_by_splice_the_bytes_travel(smb: Smb) -> None:
    content = data(smb, SIZE)
    with mounted(smb.client, "--paths", "splice") as mount:
        subprocess.run(["cp", "data", "copy"], cwd=mount.path, check=True, timeout=100)
        copy = only_copy(mount)
    assert (smb.server / "copy").read_bytes() == content
    assert (copy.paths, copy.shared, copy.proof) == ({"splice": SIZE}, 0, "written")


def test_clone_of_a_file_and_of_a_tree(smb: Smb) -> None:
    content = data(smb, SIZE)
    (smb.server / "tree" / "below").mkdir(parents=True)
    (smb.server / "tree" / "below" / "file").write_bytes(content)
    with mounted(smb.client) as mount:
        fusecopy("clone", mount.path / "data", mount.path / "clone")
        fusecopy("clone", "-r", mount.path / "tree", mount.path / "tree2")
    assert (smb.server / "clone").read_bytes() == content
    assert (smb.server / "tree2" / "below" / "file").read_bytes() == content
    assert sorted(path.name for path in smb.server.iterdir()) == ["clone", "data", "tree", "tree2"]


def test_what_others_change_is_seen_soon(smb: Smb) -> None:
    data(smb, SIZE)
    with mounted(smb.client) as mount:
        assert mount.attribute("coherence").startswith("timeouts 1 s")


def test_doctor_says_what_sharing_goes_by(smb: Smb) -> None:
    told = fusecopy("doctor", smb.client)
    assert "16384" not in told
    assert "whether it shares is unprovable here" in told
