"""Runs a probe: the act in a child, then what the server counted and what the log says."""

import json
import os
import select
import time
from collections.abc import Iterable
from pathlib import Path

from fusecopy import bounded
from fusecopy.copying import errnos
from fusecopy.dispatch.reader import current
from fusecopy.dispatch.records import Copy, Flow
from fusecopy.errors import FusecopyError
from fusecopy.names import PREFIX
from fusecopy.observe import opcodes
from probing.place import Ground, Place
from probing.probes import Probe
from probing.records import Found, Told

ACT_SECONDS = 300.0
RECORD_SECONDS = 20.0
LOOK_SECONDS = 0.01

MOVES = ("READ", "WRITE", "COPY_FILE_RANGE", "COPY_FILE_RANGE_64", "IOCTL", "LSEEK", "FALLOCATE")
"""Requests that are told. How many ask for names and attributes depends on what was asked before."""


def ask(place: Place, section: str, probe: Probe) -> Found:
    """Do it, and say what was found."""
    try:
        ground = place.ground(probe.filesystem, *probe.options)
        other = place.ground(probe.filesystem, *probe.elsewhere) if probe.elsewhere else ground
    except FusecopyError as error:
        return Found(section, probe.name, probe.asked, f"no mount: {error.message}")
    if probe.before:
        probe.before(ground, probe.name)
    for words in probe.policy:
        os.setxattr(ground.here, f"{PREFIX}policy", words.encode())
    grounds = [ground] if other is ground else [ground, other]
    before = _requests(grounds)
    answer = _answer(probe, ground, other.here / probe.name)
    log = _told(other.log, probe)
    after = _requests(grounds)
    moved = {name: after.get(name, 0) - before.get(name, 0) for name in MOVES if probe.counted}
    return Found(
        section, probe.name, probe.asked, answer, {name: count for name, count in moved.items() if count}, log
    )


def _told(log: Path, probe: Probe) -> list[Told]:
    """What the log says of what went into the probe's destination; what is expected is waited for."""
    deadline = time.monotonic() + RECORD_SECONDS
    while True:
        found = [
            record for record in current(log) if isinstance(record, Copy | Flow) and record.dst == probe.name
        ]
        if len(found) >= probe.records or time.monotonic() > deadline:
            return [_words(copy) for copy in found]
        select.select([], [], [], LOOK_SECONDS)


def _words(copy: Copy | Flow) -> Told:
    if isinstance(copy, Flow):
        return Told("flow", "-", copy.driver, None, None, None, copy.errno)
    return Told(copy.dispatch, copy.path, copy.driver, copy.copied, copy.shared, copy.rewritten, copy.errno)


def _answer(probe: Probe, ground: Ground, to: Path) -> str:
    try:
        return str(bounded.call(lambda: probe.act(ground, to), ACT_SECONDS))
    except OSError as error:
        return errnos.name(error.errno or 0)


def _requests(grounds: Iterable[Ground]) -> dict[str, int]:
    """What the servers have received so far; they answer when all that follows earlier answers is done."""
    total: dict[str, int] = {}
    for one in grounds:
        stats = json.loads(os.getxattr(one.here, f"{PREFIX}stats"))
        for opcode, count in stats["requests"].items():
            name = opcodes.name(int(opcode))
            total[name] = total.get(name, 0) + count
    return total
