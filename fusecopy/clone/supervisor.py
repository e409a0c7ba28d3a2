"""The supervisor's threads: each takes a call, serves it, answers, and takes the next.

One more thread than there are calls under way is always waiting, so that nobody waits for a slow clone of
another; threads that find enough of them waiting end.
"""

import errno
import sys
import threading
import traceback
from collections.abc import Callable

from fusecopy.clone._native import lib
from fusecopy.clone.ficlone import ficlone, ficlonerange
from fusecopy.clone.fidedupe import fidedupe
from fusecopy.clone.fiemap import fiemap
from fusecopy.clone.files import Devices
from fusecopy.clone.listener import Listener, Notification, NotServed
from fusecopy.clone.pinned import PinnedThread, pinned

WAITING = 4
"""Threads that may wait for a call at the same time."""

SERVICES: dict[int, Callable[[Notification, PinnedThread, Devices], None]] = {
    lib.FICLONE: ficlone,
    lib.FICLONERANGE: ficlonerange,
    lib.FIDEDUPERANGE: fidedupe,
    lib.FS_IOC_FIEMAP: fiemap,
}


class Supervisor:
    """Serves the calls of one listener."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._devices = Devices()
        self._lock = threading.Lock()
        self._waiting = 0

    def serve(self) -> None:
        """Serve in this thread and in those it starts, which take no signals if this one has them blocked.
        Returns when enough others wait, or nobody is left to call."""
        with self._lock:
            self._waiting += 1
        while (call := self._listener.receive()) is not None:
            with self._lock:
                self._waiting -= 1
                alone = self._waiting == 0
            if alone:
                threading.Thread(target=self.serve, daemon=True).start()
            self._serve(call)
            with self._lock:
                if self._waiting >= WAITING:
                    return
                self._waiting += 1

    def _serve(self, call: Notification) -> None:
        """Answer a call, whatever happens: its thread waits."""
        try:
            with pinned(self._listener, call) as caller:
                SERVICES[call.command](call, caller, self._devices)
            code = 0
        except NotServed:
            self._listener.leave_to_kernel(call)
            return
        except OSError as error:
            code = error.errno or errno.EIO
        except Exception:
            sys.stderr.write("fusecopy: unexpected error while serving an ioctl; its caller got EIO\n")
            traceback.print_exc()
            code = errno.EIO
        self._listener.answer(call, code)
