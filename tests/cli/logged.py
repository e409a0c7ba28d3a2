"""A log with one event of every kind, and the command that shows it as a process of its own."""

import json
import os
import re
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fusecopy.dispatch.records import Copy, Flow, Header, Policy, Record, Requests
from fusecopy.dispatch.writer import Writer
from tests import samples

MIB = 1 << 20


def copy(seq: int, **changes: Any) -> Copy:
    whole = {"length": 1024 * MIB, "copied": 1024 * MIB, "shared": 1024 * MIB, "duration_us": 412}
    return samples.copy(seq, **{**whole, **changes})


FALLBACK = copy(
    2,
    pid=9788,
    dispatch="fallback",
    path="kernel-splice",
    src="d/a",
    dst="x1",
    length=8 * MIB,
    copied=8 * MIB,
    shared=0,
    proof="written",
    rewritten=8 * MIB,
    duration_us=31000,
    requests=Requests(1, 33, 8 * MIB, 128, 8 * MIB),
)
REFUSED = copy(
    3,
    comm="install",
    dispatch="refused",
    path="-",
    dst="new\n\x1b[31mline",
    length=300000,
    copied=0,
    shared=0,
    proof="-",
    errno="EXDEV",
    cause="The source lies on another filesystem.",
    remedy="Copy both to one filesystem first, since extents cannot be shared between two of them.",
)
BYPASSED = copy(
    4,
    pid=9901,
    comm="python3-with-a-long-name",
    dispatch="bypassed",
    path="client",
    dst="py1",
    length=4 * MIB,
    copied=4 * MIB,
    shared=None,
    proof="unprovable",
    rewritten=None,
    duration_us=18000,
    requests=Requests(0, 32, 4 * MIB, 64, 4 * MIB),
)
FLOW = Flow(
    seq=5,
    time="2026-03-01T06:47:05.000+01:00",
    mono_ns=5,
    pid=77,
    comm="tar",
    uid=0,
    dst="out",
    duration_us=1500,
    requests=Requests(writes=3, write_bytes=300),
)
POLICY = Policy("2026-03-01T06:48:00.000+01:00", 0, "splice")
EVENTS: list[Record] = [copy(1), FALLBACK, REFUSED, BYPASSED, FLOW, POLICY]

SUMS = """\
DISPATCH   PATH            COPIES ASKED SHARED REWRITTEN REQUESTS  TOOK   RATE
dispatched reflink              1  1.0G   1.0G         0        1 412us 2.4T/s
fallback   kernel-splice        1  8.0M      0      8.0M      162  31ms 258M/s
refused    -                    1  293K      0         0        1 412us      -
bypassed   client               1  4.0M     0+        0+       96  18ms 222M/s
total                           4  1.0G  1.0G+     8.0M+      260  50ms  20G/s

COMM                       COPIES ASKED SHARED REWRITTEN REQUESTS  TOOK   RATE
cp                              2  1.0G   1.0G      8.0M      163  31ms  32G/s
install                         1  293K      0         0        1 412us      -
python3-with-a-long-name        1  4.0M     0+        0+       96  18ms 222M/s

1 flow of writes with no source in the mount: 300
+: of some copies it is not known, so it is at least this
"""


def write(path: Path, records: list[Record], pid: int = 4711) -> Path:
    values = {field: getattr(samples.HEADER, field) for field in samples.HEADER.__struct_fields__}
    writer = Writer(path, Header(**{**values, "pid": pid}))
    for record in records:
        writer.put(record)
    writer.close()
    return path


def seqs(output: str) -> list[int]:
    return [record["seq"] for record in map(json.loads, output.splitlines()) if "seq" in record]


@contextmanager
def command(
    *arguments: str | Path, stdout: int = subprocess.PIPE, lines: int = 5
) -> Iterator[subprocess.Popen[bytes]]:
    """The command as a process of its own."""
    program = "from fusecopy.cli.log import command; command()"
    environment = {**os.environ, "LINES": str(lines), "PYTHONPATH": str(Path(__file__).parents[2])}
    environment.pop("NO_COLOR", None)
    words = [sys.executable, "-c", program, *map(str, arguments)]
    process = subprocess.Popen(words, stdout=stdout, stderr=subprocess.PIPE, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


def drained(terminal: int) -> str:
    """All that is written to a terminal until its other side is closed, which reads as EIO."""
    data = b""
    try:
        while chunk := os.read(terminal, 4096):
            data += chunk
    except OSError:
        pass
    finally:
        os.close(terminal)
    return data.decode()


def read_until(terminal: int, pattern: str) -> str:
    shown = ""
    while not re.search(pattern, shown):
        assert select.select([terminal], [], [], 20)[0], shown
        shown += os.read(terminal, 4096).decode()
    return shown
