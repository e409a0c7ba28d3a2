"""A hundred and one copies by more than a dozen programs, each told once and right, and judged by audit."""

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fusecopy.dispatch.records import Copy, Lost, Record
from tests import loopfs
from tests.loopfs import MIB
from tests.mounted import FUSECOPY, Mounted, mounted
from tests.observe.tracing import tracefs
from tests.reflink.files import noise

pytestmark = [
    pytest.mark.fuse,
    pytest.mark.root,
    pytest.mark.loop,
    pytest.mark.usefixtures("tracefs"),
]

__all__ = ["tracefs"]

SIZE = MIB
GIB = 1024 * MIB

Told = tuple[str, str, str]
"""Dispatch, driver, and the path; `shared` for whichever path shares on the file system."""

OFFLOADED: Told = ("dispatched", "copy_file_range", "offloaded")
SPLICED: Told = ("fallback", "copy_file_range", "kernel-splice")
WRITTEN: Told = ("bypassed", "write", "client")
SENT: Told = ("bypassed", "sendfile", "client")
SHUTILS = OFFLOADED if sys.version_info >= (3, 14) else SENT

PYTHON = sys.executable

CLIENTS: list[tuple[str, str, Told]] = [
    ("cp {src} {dst}", "cp", OFFLOADED),
    ("cp --reflink=never {src} {dst}", "cp", WRITTEN),
    ("cp --sparse=always {src} {dst}", "cp", WRITTEN),
    ("install {src} {dst}", "install", OFFLOADED),
    ("cp {other}/file {dst}", "cp", SPLICED),
    ("rsync {src} {dst}", "rsync", WRITTEN),
    ("rsync --inplace {src} {dst}", "rsync", WRITTEN),
    ("dd if={src} of={dst} bs=64k status=none", "dd", WRITTEN),
    ("dd if={src} of={dst} bs=4k status=none", "dd", WRITTEN),
    ("dd if={src} of={dst} bs=1M status=none", "dd", WRITTEN),
    ("cat {src} > {dst}", "cat", OFFLOADED),
    ("tar -cf - -C {top} --transform 's/.*/{name}/' {file} | tar -xf - -C {top}", "tar", WRITTEN),
    (f"{PYTHON} -c \"import shutil; shutil.copyfile('{{src}}', '{{dst}}')\"", "python", SHUTILS),
    ("xfs_io -f -c 'copy_range {src}' {dst}", "xfs_io", OFFLOADED),
]
"""One copy each: a command, the program's name, and how its copy travels."""

ONE_EACH = 97

OBJECTS = "clone/.git/objects/"
"""git copies the repository's three objects there; what it then makes of them has no such source."""

CONNECTED = "import sqlite3; s, d = sqlite3.connect('{top}/base'), sqlite3.connect('{top}/backup')"
# It counts its changes in the first page, so what it makes is no copy of the bytes, and none may be claimed.
BACKUP = f'{PYTHON} -c "{CONNECTED}; s.backup(d)"'
CLONE = "git -c init.templateDir= clone -q --no-hardlinks {top}/repository {top}/clone"
MOVE = "mv {other}/moved {top}/moved"


@dataclass(frozen=True)
class Expected:
    """What the record of a copy must say."""

    comm: str
    told: Told


def script(mount: Path, other: Path) -> tuple[str, dict[str, Expected]]:
    """The workload, and what is expected of each destination."""
    lines, expected = [], {}
    for number in range(ONE_EACH):
        command, comm, told = CLIENTS[number % len(CLIENTS)]
        # Names of one length, and sources of different sizes: what is paired by bytes must not fit twice.
        file, name = f"source{number % len(CLIENTS):02}", f"copy{number:03}"
        places = {"top": mount, "other": other, "file": file, "name": name}
        lines.append(command.format(src=mount / file, dst=mount / name, **places))
        expected[name] = Expected(comm, told)
    for command in (BACKUP, CLONE, MOVE):
        lines.append(command.format(top=mount, other=other))
    expected["moved"] = Expected("mv", SPLICED)
    return "set -e\n" + "\n".join(lines), expected


def fill(top: Path, other: Path) -> None:
    """Sources; a database; a repository of one commit with one file, three objects of different sizes."""
    for number in range(len(CLIENTS)):
        (top / f"source{number:02}").write_bytes(noise(SIZE + 4096 * number, seed=number + 1))
    for name in ("file", "moved"):
        (other / name).write_bytes(noise(SIZE, seed=99))
    with sqlite3.connect(top / "base") as base:
        base.execute("create table t (b blob)")
        base.executemany("insert into t values (?)", [(noise(9000, seed=n),) for n in range(60)])
    base.close()
    repository = top / "repository"
    git = ["git", "-C", str(repository), "-c", "user.name=n", "-c", "user.email=e@invalid"]
    subprocess.run(["git", "-c", "init.templateDir=", "init", "-q", str(repository)], check=True, timeout=30)
    (repository / "data").write_bytes(noise(5 * SIZE // 2, seed=7))
    subprocess.run([*git, "add", "data"], check=True, timeout=30)
    subprocess.run([*git, "commit", "-q", "-m", "one file"], check=True, timeout=30)


@pytest.fixture
def sources(kind: str, tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Two directories to serve, filled, on a file system of their own."""
    with loopfs.mounted(kind, tmp_path, size=GIB) as filesystem:
        top, other = filesystem / "top", filesystem / "other"
        for directory in (top, other):
            directory.mkdir()
        fill(top, other)
        yield top, other


def offloaded(kind: str) -> str:
    """The path of the default ladder that carries a whole file."""
    return "copy_file_range" if kind == "ext4" else "reflink"


def check(copy: Copy, expected: Expected, path: str) -> None:
    dispatch, driver, by = expected.told
    told = (copy.dispatch, copy.driver, copy.path)
    assert told == (dispatch, driver, path if by == "offloaded" else by), copy
    assert copy.comm.startswith(expected.comm), copy


def destination(copy: Copy) -> str:
    """The destination's name, for rsync without the dot and the suffix of its temporary name."""
    return copy.dst.lstrip(".").partition(".")[0] if copy.comm == "rsync" else copy.dst


def told_of(mount: Mounted, wanted: set[str]) -> dict[str, Copy]:
    """Records of the copies wanted and of git's objects, by destination, each of which has one; git's copies
    of its small files besides are not counted."""

    def done(records: list[Record]) -> bool:
        return len(_counted(records, wanted)) >= 101

    records = mount.records_until(done)
    assert not [record for record in records if isinstance(record, Copy) and record.dst == "backup"]
    copies = _counted(records, wanted)
    assert len({destination(copy) for copy in copies}) == len(copies) == 101
    return {destination(copy): copy for copy in copies}


def _counted(records: list[Record], wanted: set[str]) -> list[Copy]:
    copies = [record for record in records if isinstance(record, Copy)]
    return [copy for copy in copies if destination(copy) in wanted or OBJECTS in copy.dst]


@pytest.mark.parametrize("kind", ["btrfs", "xfs", "ext4"])
def test_every_copy_has_one_right_record_and_all_sides_agree(kind: str, sources: tuple[Path, Path]) -> None:
    for tool in ("git", "rsync", "xfs_io"):
        assert shutil.which(tool), f"{tool} is not installed"
    top, other = sources
    with mounted(other) as second, mounted(top) as mount:
        commands, expected = script(mount.path, second.path)
        audited = subprocess.run(
            [FUSECOPY, "audit", mount.path, "--", "sh", "-c", commands],
            capture_output=True,
            text=True,
            timeout=150,
        )
        found = told_of(mount, set(expected))
    assert audited.returncode == 0, audited.stderr
    for name, wanted in expected.items():
        check(found[name], wanted, offloaded(kind))
    for name in found.keys() - expected.keys():
        check(found[name], Expected("git", WRITTEN), offloaded(kind))
        assert found[name].src == name.replace("clone", "repository")


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("kind", ["btrfs", "xfs", "ext4"])
def test_soak(kind: str, sources: tuple[Path, Path]) -> None:
    """Rounds of random copies, some at once, for FUSECOPY_SOAK_MINUTES shared by three file systems."""
    top, other = sources
    until = time.monotonic() + float(os.environ.get("FUSECOPY_SOAK_MINUTES", "30")) * 60 / 3
    seed = 0
    with mounted(other) as second, mounted(top) as mount:
        while time.monotonic() < until:
            seed += 1
            commands, expected = random_script(mount.path, second.path, seed)
            audited = subprocess.run(
                [FUSECOPY, "audit", mount.path, "--", "sh", "-c", commands],
                capture_output=True,
                text=True,
                timeout=300,
            )
            assert audited.returncode == 0, f"seed {seed}: {audited.stderr}"
            found = round_of(mount, set(expected))
            for name, wanted in expected.items():
                check(found[name], wanted, offloaded(kind))
                (mount.path / name).unlink()
    print(f"{kind}: {seed} rounds, no disagreement")


def random_script(mount: Path, other: Path, seed: int) -> tuple[str, dict[str, Expected]]:
    """Up to 60 copies in random order, some at the same time, but no two of them of the same source: what a
    program finds in the kernel's cache, because another one has just read it, reaches no server.
    """
    choose = random.Random(seed)
    lines: list[str] = []
    expected: dict[str, Expected] = {}
    running: set[int] = set()
    for number in range(choose.randint(10, 60)):
        client = choose.randrange(len(CLIENTS))
        if client in running or choose.random() < 0.5:
            lines.append("wait")
            running.clear()
        running.add(client)
        command, comm, told = CLIENTS[client]
        file, name = f"source{client:02}", f"round{seed:06}-{number:02}"
        places = {"top": mount, "other": other, "file": file, "name": name}
        lines.append(f"{{ {command.format(src=mount / file, dst=mount / name, **places)}; }} &")
        expected[name] = Expected(comm, told)
    return "\n".join([*lines, "wait"]), expected


def round_of(mount: Mounted, wanted: set[str]) -> dict[str, Copy]:
    """This round's copies by destination; each has one record and nothing was lost."""
    records = mount.records_until(lambda found: len(_counted(found, wanted)) >= len(wanted))
    assert not [record for record in records if isinstance(record, Lost)]
    copies = _counted(records, wanted)
    assert len({destination(copy) for copy in copies}) == len(copies) == len(wanted)
    return {destination(copy): copy for copy in copies}
