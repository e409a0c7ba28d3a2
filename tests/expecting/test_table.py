"""What programs that people copy with are found to do: on each filesystem, as root and nobody, in a mount and
not. The table is printed (pytest -s, or -rP)."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.expecting.running import AS_NOBODY, Judged, expect
from tests.mount.ordinary import nobodys_mount
from tests.mounted import mounted

pytestmark = [pytest.mark.root, pytest.mark.fuse]

SIZE = 1 << 20

UV = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"

PROGRAMS = {
    "auto": "cp --reflink=auto a auto",
    "never": "cp --reflink=never a never",
    "rsync": "rsync a rsync",
    "shutil": '/usr/bin/python3 -c \'import shutil; shutil.copyfile("a", "shutil")\'',
    "install": "install a install",
    "cat": "cat a >cat",
    "uv": (
        f"{UV} pip install -q --offline --no-config --no-deps --python /usr/bin/python3 --cache-dir cache "
        "--target target --link-mode copy ./packed-1-py3-none-any.whl"
    ),
    "node": 'node -e \'require("fs").copyFileSync("a", "node")\'',
}
"""By the name of the file they make."""

MISSING = {name for name, program in {"node": "node", "uv": UV}.items() if not shutil.which(program)}
"""Of them those that are not installed here; they are left out of the table."""

OFFLOADING = ("auto", "install", "cat", "node", "uv")
"""They ask the filesystem: by FICLONE or copy_file_range, for which it clones where it can."""

GIT = "git worktree add -q work && cmp -s work/file file"
"""Writes what it unpacks, so there is no file that it copies."""

BY_SENDFILE = sys.version_info < (3, 14)


@contextmanager
def place(filesystem: Path, nobody: bool, in_mount: bool) -> Iterator[Path]:
    """A directory of the user's."""
    with ExitStack() as stack:
        if nobody:
            mount = stack.enter_context(nobodys_mount(filesystem))
            yield mount.path if in_mount else mount.backing
            return
        backing = filesystem / "expect"
        backing.mkdir()
        stack.callback(subprocess.run, ["rm", "-r", str(backing)], check=True)
        yield stack.enter_context(mounted(backing)).path if in_mount else backing


WHEEL = """
import os, zipfile
with zipfile.ZipFile("packed-1-py3-none-any.whl", "w") as wheel:
    wheel.writestr("packed/uv", os.urandom(%d))
    name = "packed-1.dist-info/"
    wheel.writestr(name + "METADATA", "Metadata-Version: 2.1\\nName: packed\\nVersion: 1\\n")
    wheel.writestr(name + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr(name + "RECORD", "packed/uv,,\\n")
"""
"""What uv installs: unpacked in its cache, then copied from there."""


def prepared(directory: Path, prefix: tuple[str, ...]) -> None:
    script = (
        f"head -c {SIZE} /dev/urandom >a; git init -q repo; cd repo; head -c 100000 /dev/urandom >file; "
        "git add file; git -c user.name=n -c user.email=e@x commit -qm m"
    )
    inside = [*prefix, "env", "-C", str(directory)]
    subprocess.run([*inside, "sh", "-ec", script], check=True, timeout=60)
    subprocess.run([*inside, "/usr/bin/python3", "-c", WHEEL % SIZE], check=True, timeout=60)


def judged(directory: Path, prefix: tuple[str, ...], out: Path) -> tuple[Judged, list[str]]:
    names = [name for name in PROGRAMS if name not in MISSING]
    script = " && ".join([*(PROGRAMS[name] for name in names), f"(cd repo && {GIT})"])
    return expect("sh", "-c", script, cwd=directory, prefix=prefix, out=out), names


@pytest.mark.parametrize("in_mount", [False, True], ids=["native", "mount"])
@pytest.mark.parametrize("nobody", [False, True], ids=["root", "nobody"])
@pytest.mark.parametrize("kind", ["btrfs", "xfs", "ext4"])
def test_each_program_is_judged_rightly(
    kind: str, nobody: bool, in_mount: bool, request: pytest.FixtureRequest
) -> None:
    prefix = ("env", "HOME=/nonexistent", *AS_NOBODY) if nobody else ()
    with (
        tempfile.TemporaryDirectory() as out,
        place(request.getfixturevalue(kind), nobody, in_mount) as directory,
    ):
        os.chmod(out, 0o777)
        prepared(directory, prefix)
        found, names = judged(directory, prefix, Path(out))
    assert found.status == 0, found.said
    for copy in found.copies:
        asked = ", ".join(copy["asked"]) or "-"
        made_by = copy["made_by"] or "?"
        name = os.path.basename(copy["destination"])
        print(f"{kind:6}{'nobody' if nobody else 'root':7}{'mount' if in_mount else 'native':7}"
              f"{name:9}{copy['program']:9}{asked:28}{made_by:16}{copy['state']}")  # fmt: skip
    for name in names:
        copy = found.of(name)
        offloading = name in OFFLOADING or (name == "shutil" and not BY_SENDFILE)
        sharing = offloading and kind != "ext4"
        assert copy["state"] == ("shared" if sharing else "rewritten"), copy
        assert copy["size"] == SIZE
        assert copy["shared"] == (SIZE if sharing else 0)
        if sharing:
            assert copy["made_by"] in ("FICLONE", "copy_file_range")
        elif offloading:
            assert copy["made_by"] in ("copy_file_range", None)
        else:
            assert copy["made_by"] == ("sendfile" if name == "shutil" else "read/write")
    others = [copy for copy in found.copies if "dist-info" not in copy["destination"]]  # uv's own notes
    assert len(others) == len(names), others
