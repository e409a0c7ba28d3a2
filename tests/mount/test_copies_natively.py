"""What is answered natively is copied and told as Python would have."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import asdict

from fusecopy.copying import calls
from fusecopy.copying.records import Request
from fusecopy.copying.refusal import explain_lack
from tests import loopfs
from tests.mounted import NATIVE_LANE, answered_natively, mounted
from tests.reflink.files import BLOCK, noise, pair

pytestmark = [pytest.mark.fuse, pytest.mark.root, pytest.mark.loop]

MIB = 1 << 20
END = 3 * MIB + 1000
NOBODY = 65534


@dataclass(frozen=True)
class Ranges:
    """Copies into one file, one after the other: off_in, off_out, length."""

    copies: tuple[tuple[int, int, int], ...]
    already: int = 0
    uid: int = 0


RANGES = {
    "whole": Ranges(((0, 0, END),)),
    "neighbours": Ranges(((0, 0, 65536), (65536, 65536, 65536), (131072, 131072, 4096))),
    "the tail": Ranges(((2 * MIB, 0, MIB), (3 * MIB, MIB, 1000))),
    "behind a tail": Ranges(((3 * MIB, 0, 1000), (0, 65536, 65536))),
    "more than there is": Ranges(((3 * MIB - 4096, 0, 2 * MIB),)),
    "not a block": Ranges(((0, 0, 100), (0, 4096, 5000))),
    "within blocks": Ranges(((10, 10, 65536),)),
    "not congruent": Ranges(((0, 1, 65536),)),
    "a hole": Ranges(((MIB - 65536, 0, 131072), (MIB, MIB, 65536))),
    "up to a hole": Ranges(((MIB - 65536, 0, 65536),)),
    "over what is there": Ranges(((0, 0, 65536),), already=65536),
    "another user's": Ranges(((0, 0, 65536), (65536, 65536, 65536)), uid=NOBODY),
}

NATIVELY = {"neighbours": 3, "the tail": 2, "behind a tail": 2, "up to a hole": 1, "another user's": 2}
"""How many of them no filesystem leaves to Python."""


def test_the_same_is_told_by_both_lanes(backing: Path) -> None:
    with (backing / "a").open("wb") as a:
        a.write(noise(END))
        a.flush()
        calls.punch_hole(a.fileno(), MIB, MIB // 4)
        os.fsync(a.fileno())
    by_python = told(backing, "python", "--no-native-lane")
    natively = told(backing, "native")
    for name, ranges in RANGES.items():
        assert (backing / "native" / name).read_bytes() == (backing / "python" / name).read_bytes(), name
        assert natively[name] == by_python[name], name
        assert len(natively[name]) == len(ranges.copies)


def told(backing: Path, directory: str, *arguments: str) -> dict[str, list[dict[str, Any]]]:
    """Make all copies; what is told of them, but for what differs each time."""
    with mounted(backing, *arguments) as mount:
        (mount.path / directory).mkdir()
        with (mount.path / "a").open("rb") as source:
            for name, ranges in RANGES.items():
                copy(source.fileno(), mount.path / directory / name, ranges)
        records = mount.copies(sum(len(ranges.copies) for ranges in RANGES.values()))
        if NATIVE_LANE and not arguments:
            natively = answered_natively(mount)
            count = sum(natively.get(name, 0) for name in ("COPY_FILE_RANGE", "COPY_FILE_RANGE_64"))
            assert count >= sum(NATIVELY.values())
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in RANGES}
    for record in records:
        fields = asdict(record)
        for varying in ("seq", "time", "mono_ns", "duration_us", "dst"):
            del fields[varying]
        found[Path(record.dst).name].append(fields)
    return found


def copy(source: int, path: Path, ranges: Ranges) -> None:
    with path.open("wb") as destination:
        os.ftruncate(destination.fileno(), ranges.already)
        os.seteuid(ranges.uid)
        try:
            for off_in, off_out, length in ranges.copies:
                os.copy_file_range(source, destination.fileno(), length, off_in, off_out)
        finally:
            os.seteuid(0)


def test_why_there_are_no_clones_is_looked_up_again_when_mounts_change(ext4: Path, tmp_path: Path) -> None:
    with pair(ext4, noise(BLOCK)) as files:
        request = Request(files.source, files.destination, 0, 0, BLOCK)
        device = os.fstat(files.destination).st_dev
        found = explain_lack(request, device, 95)
        assert "The filesystem ext4 (" in found.cause
        assert explain_lack(request, device, 95) is found
        with loopfs.mount(tmp_path / "tmpfs", "-t", "tmpfs", "none"):
            again = explain_lack(request, device, 95)
        assert again is not found
        assert again == found
