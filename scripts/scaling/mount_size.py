"""A mount at rest, with a million files known, and after a million requests."""

import json
import os
import subprocess

from scaling.measuring import KIB, MIB, Row, Rows, client, cpu_seconds, memory, mounted_image, scratch
from tests.mounted import END_SECONDS, FUSECOPY, READY_SECONDS, Mounted

IDLE_MOST = 40 * MIB
INODE_MOST = 1 * KIB
GROWTH_MOST = 1 * MIB
"""Over the second half of the requests: what the server keeps a bounded number of, it has by then."""

FILES = 1_000_000
REQUESTS = 1_000_000
IMAGE = 16 << 30
"""Sparse. Files without data take 1 KiB or so of it each."""


def idle(_divisor: int) -> Rows:
    """A mount that has done nothing, in the background and in the foreground."""
    with scratch() as directory:
        backing, point = directory / "backing", directory / "mnt"
        backing.mkdir()
        point.mkdir()
        command = [FUSECOPY, "mount", "--log", str(directory / "log.jsonl"), str(backing), str(point)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=READY_SECONDS)
        try:
            yield from _at_rest("background", int(os.getxattr(point, "user.fusecopy.pid")))
        finally:
            subprocess.run([FUSECOPY, "umount", str(point)], check=True, timeout=END_SECONDS)
    with mounted_image("btrfs") as mount:
        yield from _at_rest("foreground", mount.process.pid)


def _at_rest(how: str, pid: int) -> Rows:
    now = memory(pid)
    yield Row(f"server in the {how}, resident", now.rss / MIB, "MiB", IDLE_MOST / MIB)
    yield Row(f"server in the {how}, its share of it (PSS)", now.pss / MIB, "MiB", IDLE_MOST / MIB)


def tree(divisor: int) -> Rows:
    """A tree walked through the mount, and dropped again from the kernel's memory.

    Fewer inodes are known at the peak where the kernel was short of memory, or somebody else had it drop its
    caches.
    """
    files = FILES // divisor
    with mounted_image("btrfs", IMAGE) as mount:
        client("plant", mount.backing, files)
        pid = mount.process.pid
        before, cpu = memory(pid), cpu_seconds(pid)
        found = client("walk", mount.path)
        known, peak = _inodes(mount), memory(pid)
        walked = cpu_seconds(pid)
        yield Row("files found by the walk", found["files"])
        yield Row("files not found", files - found["files"], most=0)
        yield Row("inodes known at the peak", known)
        yield Row("resident before the walk", before.rss / MIB, "MiB")
        yield Row("resident at the peak", peak.rss / MIB, "MiB")
        yield Row("resident for each known inode", (peak.rss - before.rss) / known, "B", INODE_MOST)
        yield Row("server's CPU for each file found", (walked - cpu) / found["files"] * 1e6, "us")
        dropped = client("drop", mount.path)
        yield Row("server's CPU for each inode forgotten", (cpu_seconds(pid) - walked) / known * 1e6, "us")
        yield Row("longest wait for an answer meanwhile", dropped["longest"] * 1e3, "ms")
        yield Row("inodes known after the kernel dropped them", dropped["left"], most=0)
        yield Row("resident after that", memory(pid).rss / MIB, "MiB")


def _inodes(mount: Mounted) -> int:
    return int(json.loads(mount.attribute("stats"))["inodes"])


def requests(divisor: int) -> Rows:
    """Files made, written, read, copied, renamed and removed, and the server's memory after each tenth."""
    wanted = REQUESTS // divisor
    with mounted_image("btrfs") as mount:
        pid = mount.process.pid
        cpu = cpu_seconds(pid)
        sizes: list[int] = []
        for tenth in range(1, 11):
            done = client("churn", mount.path, wanted * tenth // 10)["requests"]
            sizes.append(memory(pid).rss)
            yield Row(f"resident after {done:.0f} requests", sizes[-1] / MIB, "MiB")
        yield Row("server's CPU for each request", (cpu_seconds(pid) - cpu) / done * 1e6, "us")
        yield Row("growth over the second half", (sizes[-1] - sizes[4]) / MIB, "MiB", GROWTH_MOST / MIB)
        yield Row("files left open", json.loads(mount.attribute("stats"))["open_files"], most=0)
