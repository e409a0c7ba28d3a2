"""An ordinary user's mount: nobody's, by fusermount3, of a directory that nobody can reach."""

import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests import loopfs
from tests.mount.sides import NOBODY
from tests.mounted import Mounted, mounted

AS_NOBODY = ("runuser", "-u", "nobody", "--")


@contextmanager
def fuse_for_all() -> Iterator[None]:
    """/dev/fuse open to everybody, as udev has it on every ordinary machine."""
    mode = stat.S_IMODE(os.stat("/dev/fuse").st_mode)
    os.chmod("/dev/fuse", 0o666)
    try:
        yield
    finally:
        os.chmod("/dev/fuse", mode)


@contextmanager
def nobodys_mount(filesystem: Path, *arguments: str, prefix: Sequence[str] = ()) -> Iterator[Mounted]:
    """Serve a fresh directory of nobody's on `filesystem`, as nobody."""
    with tempfile.TemporaryDirectory(prefix="fusecopy-nobody-") as place:
        os.chmod(place, 0o755)
        # The filesystem itself lies where only root can go.
        with loopfs.mount(Path(place) / "fs", "--bind", str(filesystem)) as reachable:
            os.chmod(reachable, 0o755)
            backing = Path(tempfile.mkdtemp(dir=reachable))
            os.chown(backing, NOBODY, NOBODY)
            with fuse_for_all(), mounted(backing, *arguments, prefix=(*prefix, *AS_NOBODY)) as mount:
                yield mount
