"""The supervisor's threads: each takes a call, serves it, answers, and takes the next.

One more thread than there are calls under way is always waiting, so that nobody waits for a slow clone of
another; threads that find enough of them waiting end.
"""

import errno
import sys
import threading
import traceback
from collections.abc import Callable

from fusecopy.clone import faulty
from fusecopy.clone._native import lib
from fusecopy.clone.ficlone import ficlone, ficlonerange
from fusecopy.clone.fidedupe import fidedupe
from fusecopy.clone.fiemap import fiemap
from fusecopy.clone.files import Devices
from fusecopy.clone.listener import Listener, Notification, NotServed
from fusecopy.clone.pinned import PinnedThread, pinned
from fusecopy.faults.rules import Faults

WAITING = 4
"""Threads that may wait for a call at the same time."""

SERVICES: dict[int, Callable[[Notification, PinnedThread, Devices], None]] = {
    lib.FICLONE: ficlone,
    lib.FICLONERANGE: ficlonerange,
    lib.FIDEDUPERANGE: fidedupe,
    lib.FS_IOC_FIEMAP: fiemap,
}


class Supervisor:
    """Serves the calls of one listener.

    Args:
        faults: what some of them are to be answered instead.
    """

    def __init__(self, listener: Listener, faults: Faults | None = None) -> None:
        self._listener = listener
        self._faults = faults
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
                count = faulty.answer(call, caller, self._faults) if self._faults else None
                if count is None:
                    self._service(call)(call, caller, self._devices)
                    count = 0
            self._listener.answer(call, count)
            return
        except NotServed:
            self._listener.leave_to_kernel(call)
            return
        except OSError as error:
            code = error.errno or errno.EIO
        except Exception:
            sys.stderr.write("fusecopy: unexpected error while serving a call; its caller got EIO\n")
            traceback.print_exc()
            code = errno.EIO
        self._listener.refuse(call, code)

    @staticmethod
    def _service(call: Notification) -> Callable[[Notification, PinnedThread, Devices], None]:
        """Raises NotServed for what is here for the sake of a fault only."""
        if call.number in faulty.CALLS:
            raise NotServed
        return SERVICES[call.command]
