"""Work shared by threads: everything is done once, the newest first, and a failure ends it."""

import threading

import pytest

from fusecopy.copying.work import Work


def test_tasks_make_tasks_until_none_is_left() -> None:
    done: list[int] = []

    def do(number: int) -> None:
        done.append(number)
        work.add(below for below in (2 * number, 2 * number + 1) if below < 1000)

    work = Work(do)
    work.add([1])
    threads = [threading.Thread(target=work.run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(done) == list(range(1, 1000))
    assert (work.failure, work.stopped) == (None, False)


def test_the_newest_comes_first() -> None:
    done: list[int] = []
    work = Work(done.append)
    work.add([1, 2, 3])
    work.run()
    assert done == [3, 2, 1]


def test_the_first_failure_ends_it() -> None:
    def do(number: int) -> None:
        raise ValueError(number)

    work = Work(do)
    work.add([1, 2])
    work.run()
    assert isinstance(work.failure, ValueError)
    assert work.failure.args == (2,)


@pytest.mark.parametrize("failure", [None, OSError()])
def test_what_is_stopped_begins_nothing(failure: OSError | None) -> None:
    done: list[int] = []
    work = Work(done.append)
    work.add([1])
    work.stop(failure)
    work.run()
    assert (done, work.failure) == ([], failure)
