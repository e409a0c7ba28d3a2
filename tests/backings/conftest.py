"""Servers of files, and clients of them, in a guest of scripts/lab, which is ours alone."""

import select
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests import loopfs
from tests.backings.client import NFS_VERSIONS, Nfs, Smb
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


@pytest.fixture
def hosts(exported: Path, tmp_path: Path) -> Iterator[list[Nfs]]:
    """That directory mounted on two hosts: network namespaces, each with a wire of its own to the server."""
    with ExitStack() as stack:
        yield [stack.enter_context(_host(number, exported, tmp_path)) for number in (1, 2)]


@contextmanager
def _host(number: int, exported: Path, place: Path) -> Iterator[Nfs]:
    name, server, point = f"host{number}", f"10.77.{number}.1", place / f"client{number}"
    loopfs.run("ip", "netns", "add", name)
    try:
        for words in (
            f"link add {name} type veth peer name eth0 netns {name}",
            f"address add {server}/24 dev {name}",
            f"link set {name} up",
            f"-n {name} address add 10.77.{number}.2/24 dev eth0",
            f"-n {name} link set eth0 up",
            f"-n {name} link set lo up",
        ):
            loopfs.run("ip", *words.split())
        # Not by ip-netns-exec, which has mounts of its own.
        inside = ("nsenter", f"--net=/run/netns/{name}")
        point.mkdir()
        loopfs.run(
            *inside, "mount", "-t", "nfs4", "-o", "vers=4.2,soft,timeo=300", f"{server}:{exported}", point
        )
        try:
            yield Nfs(point, exported, "4.2")
        finally:
            loopfs.run("umount", point)
    finally:
        loopfs.run("ip", "netns", "del", name)


SAMBA = """\
[global]
    security = user
    server min protocol = SMB3_11
    bind interfaces only = yes
    interfaces = lo
    disable netbios = yes
    load printers = no
    log file = {place}/smbd.log
    pid directory = {place}
    lock directory = {place}
    state directory = {place}
    cache directory = {place}
    private dir = {place}
    ncalrpc dir = {place}/ncalrpc
    passdb backend = smbpasswd:{place}/passwords
[exported]
    path = {exported}
    read only = no
    vfs objects = btrfs
    store dos attributes = no
"""
PASSWORD = "of the guest alone"


@pytest.fixture
def smb(tmp_path: Path) -> Iterator[Smb]:
    """A directory on btrfs, served by Samba, mounted by SMB 3.1.1."""
    require("lab")
    with loopfs.mounted("btrfs", tmp_path) as root:
        exported, place, point = root / "exported", tmp_path / "samba", tmp_path / "client"
        for directory in (exported, place):
            directory.mkdir(mode=0o755)
        configuration = place / "smb.conf"
        configuration.write_text(SAMBA.format(place=place, exported=exported))
        added = subprocess.run(
            ["smbpasswd", "-c", configuration, "-s", "-a", "root"],
            input=f"{PASSWORD}\n{PASSWORD}\n", text=True, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        assert added.returncode == 0, added.stderr
        server = subprocess.Popen(
            ["smbd", "--foreground", "--no-process-group", f"--configfile={configuration}"],
            start_new_session=True,  # when it ends it ends its process group
        )
        try:
            options = f"user=root,password={PASSWORD},vers=3.1.1"
            await_listener(server)
            with loopfs.mount(point, "-t", "cifs", "-o", options, "//127.0.0.1/exported"):
                yield Smb(point, exported)
        finally:
            server.terminate()
            server.wait(60)


def await_listener(server: "subprocess.Popen[bytes]") -> None:
    """Return when somebody listens where SMB is spoken; fails after a while, or when the server ends."""
    for _ in range(600):
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", 445)) == 0:
                return
        assert server.poll() is None, f"smbd ended with {server.returncode}"
        select.select([], [], [], 0.1)
    raise AssertionError("nobody speaks SMB")
