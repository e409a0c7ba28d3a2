"""A mount of a directory that lies on NFS: what is on the wire, and that nothing in the log is false."""

import os
import subprocess

import pytest

from fusecopy.dispatch.records import Copy, Flow
from tests.backings.client import Nfs, data, eventually, fusecopy, only_copy, opening
from tests.mounted import mounted

SIZE = 8 << 20

pytestmark = [pytest.mark.lab, pytest.mark.root, pytest.mark.fuse, pytest.mark.loop]


def test_a_copy_is_one_clone_and_unprovable(nfs: Nfs) -> None:
    content = data(nfs, SIZE)
    with mounted(nfs.client) as mount:
        with nfs.counted() as sent:
            subprocess.run(["cp", "data", "copy"], cwd=mount.path, check=True, timeout=100)
        copy = only_copy(mount)
    assert (nfs.server / "copy").read_bytes() == content
    assert (copy.dispatch, copy.copied) == ("dispatched", SIZE)
    if nfs.clones:
        assert sent.get("CLONE") == 1
        assert not sent.keys() & {"COPY", "READ", "WRITE"}
        assert copy.paths == {"reflink": SIZE}
        assert (copy.shared, copy.unprovable, copy.proof, copy.rewritten) == (None, SIZE, "unprovable", None)
        assert "100%" in fusecopy("verify", nfs.server / "data", nfs.server / "copy")
    else:
        assert not sent.keys() & {"COPY", "CLONE"}
        assert sent["WRITE"] > 0
        assert copy.shared in (0, None)
        assert "one btrfs" not in (copy.remedy or "")


def test_by_copy_file_range_it_is_one_copy(nfs: Nfs) -> None:
    content = data(nfs, SIZE)
    with mounted(nfs.client, "--paths", "copy_file_range") as mount:
        with nfs.counted() as sent:
            subprocess.run(["cp", "data", "copy"], cwd=mount.path, check=True, timeout=100)
        copy = only_copy(mount)
    assert (nfs.server / "copy").read_bytes() == content
    if nfs.clones:
        assert sent.get("COPY") == 1
        assert not sent.keys() & {"CLONE", "READ", "WRITE"}
        assert copy.paths == {"copy_file_range": SIZE}
        assert (copy.shared, copy.unprovable, copy.proof) == (None, SIZE, "unprovable")


def test_by_splice_the_bytes_travel(nfs: Nfs) -> None:
    content = data(nfs, SIZE)
    with mounted(nfs.client, "--paths", "splice") as mount:
        with nfs.counted() as sent:
            subprocess.run(["cp", "data", "copy"], cwd=mount.path, check=True, timeout=100)
        copy = only_copy(mount)
    assert (nfs.server / "copy").read_bytes() == content
    assert sent["READ"] > 0
    assert sent["WRITE"] > 0
    assert (copy.paths, copy.shared, copy.proof) == ({"splice": SIZE}, 0, "written")


def test_a_range_of_few_blocks_is_shared_by_the_servers_blocks(nfs: Nfs) -> None:
    """The size of a request, which the client gives as block size, is not what clones go by."""
    if not nfs.clones:
        pytest.skip("NFS before 4.2 has no CLONE")
    data(nfs, SIZE)
    with mounted(nfs.client) as mount:
        with (mount.path / "data").open("rb") as one, (mount.path / "part").open("wb") as other:
            assert os.copy_file_range(one.fileno(), other.fileno(), 70000) == 70000
        copy = only_copy(mount)
    assert copy.paths == {"reflink": 69632, "copy_file_range": 368}
    assert "262144" not in (copy.cause or "")


def test_clone_of_a_file_and_of_a_tree(nfs: Nfs) -> None:
    if not nfs.clones:
        pytest.skip("NFS before 4.2 has no CLONE")
    content = data(nfs, SIZE)
    (nfs.server / "tree" / "below").mkdir(parents=True)
    (nfs.server / "tree" / "below" / "file").write_bytes(content)
    with mounted(nfs.client) as mount:
        fusecopy("clone", mount.path / "data", mount.path / "clone")
        fusecopy("clone", "-r", mount.path / "tree", mount.path / "tree2")
        with pytest.raises(AssertionError, match="exists"):
            fusecopy("clone", mount.path / "data", mount.path / "clone")
    assert (nfs.server / "clone").read_bytes() == content
    assert (nfs.server / "tree2" / "below" / "file").read_bytes() == content
    assert sorted(path.name for path in nfs.server.iterdir()) == ["clone", "data", "tree", "tree2"]


def test_a_file_that_the_server_removed(nfs: Nfs) -> None:
    """Who has it open goes on, as knfsd lets them; who opens it is told as soon as the client knows, which
    keeps names for some seconds; and the mount lives on."""
    content = data(nfs, SIZE)
    with mounted(nfs.client) as mount:
        with (mount.path / "data").open("rb") as held, (mount.path / "copy").open("wb") as into:
            (nfs.server / "data").unlink()
            copied = os.copy_file_range(held.fileno(), into.fileno(), SIZE)
        assert (nfs.server / "copy").read_bytes()[:copied] == content[:copied]
        eventually(lambda: opening(mount.path / "data") in ("ENOENT", "ESTALE"))
        (nfs.server / "data").write_bytes(content)
        eventually(lambda: opening(mount.path / "data") == "opened")
        subprocess.run(["cp", "data", "again"], cwd=mount.path, check=True, timeout=100)
    assert (nfs.server / "again").read_bytes() == content


def test_what_others_change_is_seen_soon(nfs: Nfs) -> None:
    """No change is told on NFS, so nothing is believed for long."""
    data(nfs, SIZE)
    with mounted(nfs.client) as mount:
        assert mount.attribute("coherence").startswith("timeouts 1 s")


def test_doctor_says_what_sharing_goes_by(nfs: Nfs) -> None:
    told = fusecopy("doctor", nfs.client)
    assert "262144" not in told
    assert ("multiples of 4096" in told) == nfs.clones


def test_explain_fits(nfs: Nfs) -> None:
    data(nfs, SIZE)
    with mounted(nfs.client) as mount:
        subprocess.run(["cp", "data", "copy"], cwd=mount.path, check=True, timeout=100)
        only_copy(mount)
        told = fusecopy("explain", mount.path / "copy")
    assert "one btrfs" not in told
    assert "262144" not in told
    assert ("since 4.2" in told) == (not nfs.clones)


@pytest.mark.parametrize("exported", ["btrfs"], indirect=True)
def test_two_clients_of_one_server(hosts: list[Nfs]) -> None:
    """Two hosts, each with a mount of fusecopy over its own NFS: what one finished, the other copies on."""
    content = data(hosts[0], SIZE)
    with mounted(hosts[0].client) as one, mounted(hosts[1].client) as other:
        with hosts[0].counted() as by_one:
            subprocess.run(["cp", "data", "first"], cwd=one.path, check=True, timeout=100)
        with hosts[1].counted() as by_other:
            subprocess.run(["cp", "first", "second"], cwd=other.path, check=True, timeout=100)
        copies = [only_copy(mount) for mount in (one, other)]
    assert (hosts[0].server / "second").read_bytes() == content
    assert (by_one.get("CLONE"), by_other.get("CLONE")) == (1, 1)
    assert [(copy.src, copy.dst) for copy in copies] == [("data", "first"), ("first", "second")]
    for copy in copies:
        assert (copy.dispatch, copy.paths, copy.proof) == ("dispatched", {"reflink": SIZE}, "unprovable")


@pytest.mark.parametrize("exported", ["btrfs"], indirect=True)
def test_from_one_client_to_another(hosts: list[Nfs]) -> None:
    """Between two mounts the kernel splices, and the log of the one written to says no more than that."""
    content = data(hosts[0], SIZE)
    with mounted(hosts[0].client) as one, mounted(hosts[1].client) as other:
        subprocess.run(["cp", one.path / "data", other.path / "copy"], check=True, timeout=100)
        told = other.records_until(lambda records: isinstance(records[-1], Copy | Flow))[-1]
    assert (hosts[0].server / "copy").read_bytes() == content
    assert isinstance(told, Copy | Flow)
    assert told.requests.write_bytes == SIZE
    if isinstance(told, Flow):
        assert told.driver == "unknown"  # user-mode-linux has no /proc/PID/syscall
    else:
        assert (told.dispatch, told.driver, told.copied) == ("fallback", "copy_file_range", SIZE)
        assert (told.shared, told.src) == (0, str(one.path / "data"))
