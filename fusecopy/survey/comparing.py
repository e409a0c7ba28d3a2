"""What the log said of a program, and whether that is what was seen of its calls."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from fusecopy.dispatch.records import Copy, Flow, Record
from fusecopy.dispatch.writer import LINGER_SECONDS
from fusecopy.survey.records import Calls, Logged
from fusecopy.survey.strace import Names

DRIVERS = dict.fromkeys(("FICLONE", "FICLONERANGE", "FIDEDUPERANGE"), "ioctl")
"""What the log calls the driver of a call where that is not the call's own name."""

UNCOUNTED = frozenset({"mmap", "ioctl"})
"""No call tells how much of what it maps a program changes, nor a clone of a whole file how much that is."""


def said(records: Iterable[Copy | Flow]) -> list[Logged]:
    """Records of one program, those that are alike as one."""
    alike = defaultdict[tuple[str, str, str, str | None], list[Copy | Flow]](list)
    for record in records:
        dispatch, path = (record.dispatch, record.path) if isinstance(record, Copy) else ("flow", "client")
        alike[dispatch, path, record.driver, record.errno].append(record)
    return [
        Logged(dispatch, path, driver, len(some), sum(map(_bytes, some)), _shared(some), errno)
        for (dispatch, path, driver, errno), some in alike.items()
    ]


def below(records: Iterable[Record], directory: str) -> list[Copy | Flow]:
    """The copies and flows into a directory of the mount."""
    return [
        record
        for record in records
        if isinstance(record, Copy | Flow) and record.dst.startswith(f"{directory}/")
    ]


def differences(calls: Calls, names: Names, records: Sequence[Copy | Flow], directory: Path) -> list[str]:
    """Where calls and log differ: in bytes by call, and in names that nothing has. Empty where they agree.

    Args:
        directory: the program's, as it is afterwards.
    """
    if calls.tracer == "strace":
        found = list(_bytes_that_differ(calls, said(records)))
    else:
        found = [] if _noted(calls) == bool(records) else ["only one of both tells of a copy"]
    for record in records:
        _, *parts = Path(record.dst).parts
        if not (directory / Path(*parts)).exists() and not _is_explained(record, parts, names):
            found.append(f"the log names {record.dst}, which is not there")
    return found


def _is_explained(record: Copy | Flow, parts: Sequence[str], names: Names) -> bool:
    """Whether a file was removed, or had another name only after its record was written."""
    written = datetime.fromisoformat(record.time).timestamp() + LINGER_SECONDS
    return parts[-1] in names.removed or any(names.renamed.get(part, 0) > written for part in parts)


def _noted(calls: Calls) -> bool:
    return any(calls.moved.values())


def _bytes_that_differ(calls: Calls, logged: Sequence[Logged]) -> Iterable[str]:
    seen, told = Counter[str](), Counter[str]()
    for name, count in calls.moved.items():
        seen[DRIVERS.get(name, name)] += count
    for one in logged:
        told[one.driver] += one.bytes
    for name in sorted(seen.keys() | told.keys()):
        differs = told[name] and not seen[name] if name in UNCOUNTED else seen[name] != told[name]
        if differs:
            yield f"{name}: {seen[name]} bytes seen, {told[name]} logged"


def _bytes(record: Copy | Flow) -> int:
    if isinstance(record, Copy) and record.dispatch in ("dispatched", "fallback", "refused"):
        return record.copied or 0
    return record.requests.write_bytes


def _shared(records: Sequence[Copy | Flow]) -> int | None:
    shared = [record.shared if isinstance(record, Copy) else 0 for record in records]
    return None if None in shared else sum(count or 0 for count in shared)
