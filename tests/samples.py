"""Records of a made-up mount, for tests of what reads, writes and shows the log."""

from typing import Any

import msgspec

from fusecopy.dispatch.records import Copy, Header, Requests

HEADER = Header(
    time="2026-03-01T06:45:00.000+01:00",
    schema=1,
    fusecopy="0.1.0",
    pyfuse3="3.5.0",
    libfuse="3.14.0",
    kernel="6.18.44",
    protocol="7.45",
    pid=4711,
    uid=0,
    backing="/data",
    filesystem="btrfs",
    mount="/mnt/copy",
    connection=52,
    policy="reflink",
    passthrough=False,
)


def header(pid: int) -> Header:
    """The header of a mount with another server."""
    return msgspec.structs.replace(HEADER, pid=pid)


def copy(seq: int, **changes: Any) -> Copy:
    """One dispatched copy of a block by reflink, but for the changes."""
    sample = Copy(
        seq=seq,
        time=f"2026-03-01T06:47:{seq % 60:02}.113+01:00",
        mono_ns=seq,
        pid=9713,
        comm="cp",
        uid=1000,
        asked="copy_file_range",
        src="a",
        dst="b",
        off_in=0,
        off_out=0,
        length=4096,
        copied=4096,
        dispatch="dispatched",
        path="reflink",
        shared=4096,
        proof="fiemap",
        rewritten=0,
        duration_us=40,
        requests=Requests(copies=1),
    )
    return msgspec.structs.replace(sample, **changes)
