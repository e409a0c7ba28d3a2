"""Who waits for what follows answers waits for no more than that."""

import threading
from collections.abc import Callable

from fusecopy.native._native import ffi, lib
from fusecopy.native.files import NativeFile


def waiter(wait: Callable[[], None]) -> threading.Thread:
    """A thread that is waiting."""
    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    return thread


def test_a_small_wait_does_not_pay_for_a_large_one() -> None:
    files = [NativeFile(-1, (1, number)) for number in range(4)]
    for source, destination in (files[:2], files[2:]):
        clone = ffi.new("struct fusecopy_event *", {"kind": lib.FUSECOPY_CLONED, "clone": {"copied": 1}})
        clone.source, clone.destination = source.native, destination.native
        lib.fusecopy_note(clone)
    everything = waiter(lib.fusecopy_barrier)
    first = waiter(lambda: lib.fusecopy_barrier_write(files[0].native, 0, 1))
    events = ffi.new("struct fusecopy_events *")
    assert lib.fusecopy_next_events(events)
    assert events.count == 1
    assert lib.fusecopy_next_events(events)  # the first is done
    first.join(20)
    assert not first.is_alive()
    assert everything.is_alive()
    lib.fusecopy_end_events()
    assert not lib.fusecopy_next_events(events)
    everything.join(20)
    assert not everything.is_alive()
