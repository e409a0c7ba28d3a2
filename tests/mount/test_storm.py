"""Thousands of random copies by clients that leave nothing as it was: each has one right record."""

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from fusecopy.dispatch.reader import read
from fusecopy.dispatch.records import Copy, Footer, Lost, Record
from fusecopy.observe import opcodes
from tests import loopfs
from tests.loopfs import MIB
from tests.mount.test_every_byte import check
from tests.mounted import Mounted, mounted

pytestmark = [pytest.mark.fuse, pytest.mark.root, pytest.mark.loop]

CLIENTS = 12

HERE = Path(__file__).parent

Told = dict[str, Any]

WAYS = {
    "default": (),
    "copy_file_range": ("--paths", "copy_file_range"),
    "moved": ("--paths", "splice,readwrite"),
    "declined": ("--decline", "eopnotsupp"),
}
"""How the mount serves copies; a proof of the second may take long."""

KINDS = {"btrfs": "", "compressed": "compress-force=zstd:1", "xfs": "", "ext4": ""}


def test_a_storm(tmp_path: Path) -> None:
    """A short one, on compressed btrfs, where most can go wrong."""
    storm("compressed", tmp_path, copies=600, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_storm_soak(kind: str, way: str, tmp_path: Path) -> None:
    """FUSECOPY_STORM_COPIES (10,000) of them, a quarter each way."""
    copies = int(os.environ.get("FUSECOPY_STORM_COPIES", "10000")) // len(WAYS)
    seed = int(os.environ.get("FUSECOPY_STORM_SEED", "1"))
    print(f"{kind}, {way}: {storm(kind, tmp_path, copies, seed, *WAYS[way])}")


def storm(kind: str, tmp_path: Path, copies: int, seed: int, *options: str) -> str:
    """Let the clients loose on a filesystem, then judge every record; what was judged in words."""
    image = "btrfs" if kind == "compressed" else kind
    size = (4096 if copies > 1000 else 1024) * MIB
    with loopfs.mounted(image, tmp_path, size=size, options=KINDS[kind]) as filesystem:
        backing = filesystem / "served"
        backing.mkdir()
        with mounted(backing, *options) as mount:
            told = let_loose(mount, backing, tmp_path, copies, seed)
            requests = copy_requests(mount)
            log = tmp_path / "log"
            records = settled(mount, told)
            for part in mount.log.parent.glob("log.jsonl*"):
                (tmp_path / part.name.replace("log.jsonl", "log")).write_bytes(part.read_bytes())
        judged = judge(records, told, requests)
    assert log.exists()
    return judged


def let_loose(mount: Mounted, backing: Path, tmp_path: Path, copies: int, seed: int) -> list[Told]:
    """Run the clients, a third each in the mount, through a bind mount, and through both at a time in a mount
    namespace of their own; what they told."""
    running = []
    for number in range(CLIENTS):
        other = tmp_path / f"view{number}"
        other.mkdir()
        views = [f"{mount.path}", f"{other}", f"{mount.path},{other}"][number % 3]
        arguments = [views, f"{backing}", f"client{number}", f"{seed * 100 + number}", f"{copies // CLIENTS}"]
        program = [sys.executable, str(HERE / "storm.py"), *arguments]
        script = f'mount --bind "{mount.path}" "{other}" && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", script, "sh", *program]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=HERE.parents[1]))
    told: list[Told] = []
    for process in running:
        out, _ = process.communicate(timeout=60 + copies)
        assert process.returncode == 0
        told += [json.loads(line) for line in out.splitlines()]
    return told


def copy_requests(mount: Mounted) -> int:
    """What the kernel asked the server to copy, as the server received it."""
    received = json.loads(mount.attribute("stats"))["requests"]
    return sum(count for code, count in received.items() if "COPY_FILE_RANGE" in opcodes.name(int(code)))


def settled(mount: Mounted, told: list[Told]) -> list[Record]:
    """All records, of which the log has been written."""
    os.getxattr(mount.path, "user.fusecopy.log")
    return list(read(mount.log))


def judge(records: list[Record], told: list[Told], requests: int) -> str:
    lost = sum(record.count for record in records if isinstance(record, Lost))
    assert not lost, "records were lost"
    assert not [record for record in records if isinstance(record, Footer) and record.lost]
    by_name = defaultdict(list)
    for record in records:
        if isinstance(record, Copy):
            check(record)
            by_name[record.dst.removesuffix("-renamed")].append(record)
    looked = 0
    for one in told:
        found = by_name.pop(one["dst"], [])
        asked = [copy for copy in found if copy.requests.copies]
        moved = [copy for copy in found if not copy.requests.copies]
        judge_asked(one, asked)
        judge_moved(one, moved)
        looked += "shared" in one
    assert not [name for name in by_name if "source" not in name], by_name
    copies = sum(copy.requests.copies for copy in records if isinstance(copy, Copy))
    assert copies == requests, "the kernel asked for other copies than there are records of"
    return f"{len(told)} copies, {requests} requests, {looked} looked at: no disagreement"


def judge_asked(one: Told, asked: list[Copy]) -> None:
    """Server and caller agree, and the extents where they were looked at."""
    if "calls" not in one:
        assert not asked, (one, asked)
        return
    assert sum(copy.requests.copies for copy in asked) == one["calls"], (one, asked)
    assert sum(copy.copied or 0 for copy in asked) == one["copied"], (one, asked)
    for copy in asked:
        assert copy.dispatch in ("dispatched", "fallback"), (one, copy)
        assert (copy.src, copy.pid) == (one["src"], one["pid"]), (one, copy)
    if "shared" in one:
        assert one["equal"], one
        if len(asked) == 1 and asked[0].shared is not None:
            said = (asked[0].shared, asked[0].holes)
            assert said == (one["shared"], one["holes"]), (one, asked)


def judge_moved(one: Told, moved: list[Copy]) -> None:
    """A claim is a copy: its bytes were the source's."""
    for copy in moved:
        assert one["kind"] in ("write", "send"), (one, copy)
        assert copy.src == one["src"], (one, copy)
