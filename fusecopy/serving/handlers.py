"""What the native layer calls, on a thread of the request loop: it is answered there and then."""

from typing import TYPE_CHECKING, Protocol

from fusecopy.native._native import ffi
from fusecopy.serving.answers import Task, answer
from fusecopy.serving.operations import Operations
from fusecopy.serving.rings import Rings

if TYPE_CHECKING:
    from fusecopy.native._native import FusecopyRequest


class Dispatcher(Protocol):
    """The running session.

    Attributes:
        tasks: what serves each opcode.
        operations: behind them.
        rings: the threads that serve requests by io_uring.
    """

    tasks: dict[int, Task]
    operations: Operations
    rings: Rings

    def crowded(self) -> bool:
        """There is no spare thread left; whether one was started."""


_session: Dispatcher


def dispatch_to(session: Dispatcher) -> None:
    """Handlers called from now on are for `session`."""
    global _session
    _session = session


@ffi.def_extern()
def on_left(request: "FusecopyRequest") -> None:
    answer(request, _session.tasks[request.header.opcode], _session.operations.run_out)


@ffi.def_extern()
def on_crowded() -> bool:
    return _session.crowded()


@ffi.def_extern()
def on_short_handed(queue: int) -> None:
    _session.rings.add(queue)
