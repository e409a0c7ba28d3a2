"""What the machine says of itself: versions, and which of the kernel's ways there are."""

import platform
import re
import subprocess
from pathlib import Path

from fusecopy import __version__
from fusecopy.dispatch.reader import current
from fusecopy.dispatch.records import Header
from fusecopy.observe import tracefs
from probing.place import Ground


def kernel() -> str:
    """Upstream's version: Debian's releases do not name it before 6.12, so it is looked for in the banner."""
    found = re.search(r"\bDebian (\d+\.\d+\.\d+)", platform.version()) or re.match(
        r"\d+\.\d+\.\d+", platform.release()
    )
    return found[found.lastindex or 0] if found else platform.release()


def facts(ground: Ground) -> dict[str, str]:
    """Versions, and what a mount says of itself."""
    (header,) = [record for record in current(ground.log) if isinstance(record, Header)]
    return {
        "release": platform.release(),
        "FUSE protocol": header.protocol,
        "fuse tracepoints": _tracepoints(tracefs.PLACES[0] / "events/fuse"),
        "coherence": header.coherence,
        "fusecopy": __version__,
        "libfuse": header.libfuse,
        "Python": platform.python_version(),
        "coreutils": _coreutils(),
    }


def _tracepoints(events: Path) -> str:
    return ", ".join(sorted(path.parent.name for path in events.glob("*/format"))) or "none"


def _coreutils() -> str:
    said = subprocess.run(["cp", "--version"], capture_output=True, text=True, timeout=60, check=True).stdout
    return said.splitlines()[0].split()[-1]
