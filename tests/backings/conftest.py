"""Servers of files, and clients of them, in a guest of scripts/lab, which is ours alone."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import loopfs
from tests.backings.wire import NFS_VERSIONS, Nfs
from tests.conftest import require

GRACE_SECONDS = "10"
"""The least that knfsd takes. Who opens a file sooner after its start waits for so long."""


@pytest.fixture(scope="session")
def nfsd() -> Iterator[None]:
    """A server of NFSv4, on every address of the guest."""
    require("lab")
    loopfs.run("modprobe", "-a", "nfsd", "nfsv4")
    if not Path("/proc/fs/nfsd/versions").exists():
        loopfs.run("mount", "-t", "nfsd", "nfsd", "/proc/fs/nfsd")
    loopfs.run("rpc.mountd", "--no-nfs-version", "3")
    loopfs.run("rpc.nfsd", "-N", "3", "-G", GRACE_SECONDS, "-L", GRACE_SECONDS, "4")
    try:
        yield
    finally:
        loopfs.run("rpc.nfsd", "0")
        loopfs.run("exportfs", "-ua")
        subprocess.run(["killall", "rpc.mountd"], check=False, timeout=60)


@pytest.fixture(params=["btrfs", "xfs"])
def exported(nfsd: None, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A directory on a filesystem of the server's, exported."""
    with loopfs.mounted(request.param, tmp_path) as root:
        directory = root / "exported"
        directory.mkdir(mode=0o777)
        directory.chmod(0o777)
        loopfs.run("exportfs", "-o", "rw,no_root_squash,no_subtree_check,insecure,fsid=7", f"*:{directory}")
        try:
            yield directory
        finally:
            loopfs.run("exportfs", "-u", f"*:{directory}")
            loopfs.run("exportfs", "-f")


@pytest.fixture(params=NFS_VERSIONS)
def nfs(exported: Path, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Nfs]:
    """That directory, mounted by NFS."""
    point = tmp_path / "client"
    with loopfs.mount(
        point, "-t", "nfs4", "-o", f"vers={request.param},soft,timeo=300", f"127.0.0.1:{exported}"
    ):
        yield Nfs(point, exported, request.param)
