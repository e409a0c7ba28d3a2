"""Written pages, maps and open readers on both sides of a clone see the right data at once."""

from pathlib import Path

from tests.clone.running import plain, program, said, served
from tests.conftest import require
from tests.mounted import mounted


def test_caches_are_coherent(sharing_backing: Path) -> None:
    require("fuse", "seccomp")
    native, behind = sharing_backing / "native", sharing_backing / "served"
    native.mkdir()
    behind.mkdir()
    assert said(plain(*program("coherence.py"), cwd=native)) == ""
    with mounted(behind) as mount:
        assert said(served(*program("coherence.py"), cwd=mount.path)) == ""
        assert len(mount.copies(7)) == 7
    for name in ("a", "b"):
        assert (behind / name).read_bytes() == (native / name).read_bytes()


def test_caches_are_coherent_without_attribute_cache(btrfs: Path) -> None:
    """The server invalidates by itself, not because a timeout has run out; and the other way round."""
    require("fuse", "seccomp")
    for timeout in ("0", "3600"):
        behind = btrfs / f"timeout{timeout}"
        behind.mkdir()
        with mounted(behind, "-o", f"timeout={timeout}") as mount:
            assert said(served(*program("coherence.py"), cwd=mount.path)) == ""
