"""Work for several threads, newest task first, so that a tree is gone into deep before wide."""

import threading
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

Task = TypeVar("Task")


class Work(Generic[Task]):
    """Tasks that may add tasks. It ends when none is left, when one has failed, or when it is stopped.

    Attributes:
        failure: what the first task that failed raised.
    """

    def __init__(self, do: Callable[[Task], None]) -> None:
        self._do = do
        self._changed = threading.Condition()
        self._tasks: list[Task] = []
        self._busy = 0
        self._stopped = False
        self.failure: BaseException | None = None

    @property
    def stopped(self) -> bool:
        """Whether no further task will be begun; long tasks ask."""
        return self._stopped

    def add(self, tasks: Iterable[Task]) -> None:
        """Add tasks; the last comes first."""
        with self._changed:
            self._tasks += tasks
            self._changed.notify_all()

    def stop(self, failure: BaseException | None = None) -> None:
        """Begin no further task. From any thread."""
        with self._changed:
            self._stopped = True
            self.failure = self.failure or failure
            self._changed.notify_all()

    def run(self) -> None:
        """Do tasks until the work has ended; called by every thread that works."""
        while (task := self._next()) is not None:
            try:
                self._do(task)
            except BaseException as error:
                self.stop(error)
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()

    def _next(self) -> Task | None:
        with self._changed:
            self._changed.wait_for(lambda: self._tasks or not self._busy or self._stopped)
            if self._stopped or not self._tasks:
                return None
            self._busy += 1
            return self._tasks.pop()
