"""The process behind a request, as the log names it."""

import os
from functools import lru_cache

from fusecopy import serving
from fusecopy.observe.caller import Caller


def identify(thread: int, uid: int | None = None) -> Caller:
    """The process of a thread as it is now; `uid` is the request's, without it the process's own counts (-1:
    gone)."""
    known = serving.look(thread, uid)
    if known is None:
        return Caller(thread, "?", -1 if uid is None else uid, group=_group(thread))
    return caller(known)


@lru_cache(maxsize=2 * serving.REMEMBERED)
def caller(thread: serving.Thread) -> Caller:
    """The same of what was seen of it."""
    return Caller(
        pid=thread.pid,
        comm=thread.comm.removesuffix(b"\n").decode(errors="replace"),
        uid=thread.uid,
        parent=thread.parent,
        group=thread.group,
        exe=thread.exe.decode(errors="replace"),
        args=thread.args.rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace"),
    )


def _group(thread: int) -> int:
    try:
        return os.getpgid(thread) if thread > 0 else 0
    except OSError:
        return 0
