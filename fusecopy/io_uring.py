"""Requests by FUSE over io_uring (Linux 6.14): what the machine allows. A switch of the fuse module, off by
default and for the whole machine, decides; it is the administrator's, and fusecopy never sets it.
"""

from pathlib import Path

SWITCH = Path("/sys/module/fuse/parameters/enable_uring")
POSSIBLE = Path("/sys/devices/system/cpu/possible")

HOW = f"root turns it on, for the whole machine and for mounts made from then on: echo Y >{SWITCH}"


def is_on() -> bool:
    """Whether the kernel offers it to new mounts."""
    return _read(SWITCH) == "Y"


def lacking() -> str:
    """Why the kernel does not offer it, and what to do; empty where it does."""
    if is_on():
        return ""
    if SWITCH.exists():
        return f"enable_uring is off; {HOW}"
    return "the kernel has no FUSE over io_uring (Linux 6.14, CONFIG_FUSE_IO_URING)"


def possible_processors() -> int:
    """How many queues the kernel wants: one for each processor that there can be, numbered from 0."""
    last = _read(POSSIBLE).replace(",", "-").rpartition("-")[2]
    return int(last) + 1 if last.isdecimal() else 0


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
