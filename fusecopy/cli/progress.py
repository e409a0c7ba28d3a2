"""How far something is, told on stderr while it goes on."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from fusecopy.views.format import size

SECONDS = 0.2
ERASE_LINE = "\r\x1b[K"


@contextmanager
def shown(done: Callable[[], tuple[int, int]]) -> Iterator[None]:
    """Tell every now and then, in another thread, how many entries and bytes are done, until the context
    ends."""
    ended = threading.Event()
    thread = threading.Thread(target=_tell, args=(done, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        click.echo(ERASE_LINE, nl=False, err=True)


def _tell(done: Callable[[], tuple[int, int]], ended: threading.Event) -> None:
    while not ended.wait(SECONDS):
        entries, count = done()
        click.echo(f"{ERASE_LINE}{entries} entries, {size(count)}", nl=False, err=True)
