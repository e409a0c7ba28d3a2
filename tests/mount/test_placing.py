"""fusecopy clone on a backing whose renameat2(2) takes no flags, as on NFS and on many FUSE servers."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import mounted as mounting
from tests.cli.commands import run
from tests.mount.sides import outcome
from tests.mounted import Mounted, mounted

pytestmark = [pytest.mark.fuse, pytest.mark.root, pytest.mark.loop]

SERVER = """
import errno, os
from fusecopy.filesystem.names import Names

rename, link = Names.rename, Names.link

def without_flags(self, parent, name, new_parent, new_name, flags, *rest):
    if flags:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    rename(self, parent, name, new_parent, new_name, flags, *rest)

def without_links(self, *arguments):
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))

Names.rename = without_flags
if {links} == 0:
    Names.link = without_links
from fusecopy.cli import main
main()
"""


@pytest.fixture(params=[1, 0], ids=["links", "no-links"])
def mount(
    request: pytest.FixtureRequest, btrfs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Mounted]:
    """A mount over one whose server takes no flags of rename, and perhaps makes no hard links."""
    script = tmp_path / "fusecopy"
    script.write_text(f"#!{sys.executable}\n{SERVER.format(links=request.param)}")
    script.chmod(0o755)
    backing = btrfs / tmp_path.name
    backing.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(mounting, "FUSECOPY", str(script))
        below = mounted(backing)
        point = below.__enter__()
    try:
        (point.path / "tree").mkdir()
        (point.path / "tree" / "f").write_bytes(b"x" * 10_000)
        (point.path / "one").write_bytes(b"y" * 10_000)
        with mounted(point.path) as mount:
            yield mount
    finally:
        below.__exit__(None, None, None)


def test_a_clone_has_its_name_all_the_same(mount: Mounted) -> None:
    assert outcome(lambda: os.rename(mount.path / "one", mount.path / "two")) is None
    assert run("clone", "-r", mount.path / "tree", mount.path / "copy").returncode == 0
    assert run("clone", mount.path / "two", mount.path / "file").returncode == 0
    assert (mount.path / "copy" / "f").read_bytes() == b"x" * 10_000
    assert (mount.path / "file").read_bytes() == b"y" * 10_000
    assert sorted(os.listdir(mount.backing)) == ["copy", "file", "tree", "two"]


def test_what_has_the_name_stays(mount: Mounted) -> None:
    (mount.path / "file").write_bytes(b"kept")
    assert run("clone", mount.path / "one", mount.path / "file").returncode != 0
    assert (mount.path / "file").read_bytes() == b"kept"
    assert sorted(os.listdir(mount.backing)) == ["file", "one", "tree"]
