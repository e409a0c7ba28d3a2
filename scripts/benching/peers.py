"""Who is measured: the backing itself, fusecopy in its variants, and the peers. One line each.

All but those called private are mounted for everybody with the kernel checking permissions
(allow_other,default_permissions) where they can be told so: fusecopy, bindfs and passthrough_hp have the
second always, bindfs also the first, go-fuse decides on the second itself, pyfuse3's example has neither.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from benching.tools import Tool
from benching.workloads import Workload
from fusecopy.cli.commands import COMMANDS


class Kind(str, Enum):
    """What a peer is in a comparison."""

    NATIVE = "native"
    OURS = "ours"
    PEER = "peer"


@dataclass(frozen=True, slots=True)
class Peer:
    """Somebody who serves the backing.

    Attributes:
        name: for the command line and people.
        tool: which of tools.find().
        kind: what it is.
        command: what serves in the foreground, with {tool}, {backing}, {point}, {scratch} and {python} in it.
        offloads: it carries copy_file_range itself.
    """

    name: str
    tool: str
    kind: Kind
    command: tuple[str, ...] = ()
    offloads: bool = True

    def filled(self, tool: Tool, backing: Path, point: Path, scratch: Path) -> list[str]:
        """The command."""
        words = {"tool": tool.path, "backing": backing, "point": point, "scratch": scratch}
        return [word.format(**words, python=sys.executable) for word in self.command]


BOTH = "allow_other,default_permissions"


def _ours(name: str, *arguments: str, offloads: bool = True) -> Peer:
    served = ("--log", "{scratch}/log.jsonl", *arguments, "{backing}", "{point}")
    return Peer(name, "fusecopy", Kind.OURS, ("{tool}", "mount", "-f", *served), offloads)


def _ll(name: str, *arguments: str, words: str = BOTH) -> Peer:
    command = ("{tool}", "-f", *arguments, "-o", f"source={{backing}},{words}", "{point}")
    return Peer(name, "passthrough_ll", Kind.PEER, command)


def _peer(name: str, *arguments: str, offloads: bool = True) -> Peer:
    return Peer(name, name.partition(":")[0], Kind.PEER, ("{tool}", *arguments), offloads)


MERGED = f"{BOTH},minfreespace=0"
"""Else mergerfs makes no file on a filesystem with less than 4 GiB free."""

LONG = "cache.entry=3600,cache.attr=3600,cache.negative_entry=3600,cache.readdir=true"
"""As long as fusecopy believes what the kernel was told; mergerfs believes for a second by itself."""

OVERLAY = "lowerdir={scratch}/lower,upperdir={backing},workdir={backing}/../work"

PEERS = (
    Peer("native", "", Kind.NATIVE),
    _ours("fusecopy", "-o", "allow_other"),
    _ours("fusecopy:private"),
    _ours("fusecopy:kernel_cache", "-o", "allow_other,kernel_cache"),
    _ours("fusecopy:exclusive", "-o", "allow_other", "--exclusive"),
    _ours("fusecopy:coherent", "-o", "allow_other", "--coherent"),
    _ours("fusecopy:passthrough", "-o", "allow_other", "--passthrough"),
    _ours("fusecopy:declines", "-o", "allow_other", "--decline", "eopnotsupp", offloads=False),
    _ll("passthrough_ll"),
    _ll("passthrough_ll:-s", "-s"),
    _ll("passthrough_ll:cache=always", words=f"{BOTH},cache=always"),
    _ll("passthrough_ll:private", words="cache=always"),
    _peer("passthrough_hp", "--foreground", "-o", "allow_other", "{backing}", "{point}", offloads=False),
    _peer("mergerfs", "-f", "-o", MERGED, "{backing}", "{point}"),
    _peer("mergerfs:long", "-f", "-o", f"{MERGED},{LONG}", "{backing}", "{point}"),
    _peer("mergerfs:passthrough", "-f", "-o", f"{MERGED},{LONG},passthrough.io=rw", "{backing}", "{point}"),
    _peer("bindfs", "-f", "{backing}", "{point}", offloads=False),
    _peer("fuse-overlayfs", "-f", "-o", f"{OVERLAY},{BOTH}", "{point}"),
    _peer("go-fuse", "-allow-other", "{point}", "{backing}", offloads=False),
    Peer("pyfuse3", "pyfuse3", Kind.PEER, ("{python}", "{tool}", "{backing}", "{point}"), False),
)


def unfit(peer: Peer, workload: Workload, filesystem: str) -> str:
    """Why a peer is not measured with a workload; empty where it is."""
    if workload.clones and filesystem == "ext4":
        return "ext4 has no reflink"
    if workload.clones and peer.kind is Kind.PEER:
        return "has no command that clones a tree"
    if workload.clones and peer.kind is Kind.OURS and "clone" not in COMMANDS:
        return "this fusecopy has no command clone"
    if workload.fallback and peer.offloads and peer.kind is not Kind.NATIVE:
        return "carries the copy itself"
    if peer.kind is Kind.OURS and not peer.offloads and not workload.fallback:
        return "is fusecopy in all else"
    return ""


def selected(names: Sequence[str]) -> list[Peer]:
    """The peers of these names; the backing itself is always among them."""
    return [peer for peer in PEERS if peer.kind is Kind.NATIVE or peer.name in names]
