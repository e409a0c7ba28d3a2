"""Requests wait for what is still to be told of their files and names, and for nothing else."""

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fusecopy.filesystem.inodes import InodeTable
from fusecopy.native._native import ffi, lib
from fusecopy.native.entries import Entry
from fusecopy.native.inodes import ROOT

if TYPE_CHECKING:
    from fusecopy.native._native import CData

UNKNOWN = 0xFFFFFFFF
"""A number that no file has."""

OPCODES = {
    ffi.string(row.name).decode(): opcode
    for opcode in range(lib.FUSECOPY_OPCODES)
    if (row := lib.fusecopy_operation(opcode))
}


def waiter(wait: Callable[[], None]) -> threading.Thread:
    """A thread that is waiting."""
    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    thread.join(0.05)
    assert thread.is_alive()
    return thread


def ends(thread: threading.Thread) -> None:
    """Nothing holds up a thread any more."""
    thread.join(20)
    assert not thread.is_alive()


def passes(wait: Callable[[], None]) -> None:
    """Nothing is waited for, although there is something to be told."""
    assert lib.fusecopy_is_pending()
    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    ends(thread)
    assert lib.fusecopy_is_pending()


class OpenedFile:
    """An open file, of this identity in the backing."""

    def __init__(self, device: int, ino: int) -> None:
        self.native = ffi.new("struct fusecopy_file *", {"fd": -1, "device": device, "ino": ino})

    @property
    def fh(self) -> int:
        return int(ffi.cast("uintptr_t", self.native))

    def tell_others(self) -> None:
        self.native.tells_others = True


def note(kind: int, source: OpenedFile, destination: OpenedFile | None = None) -> None:
    event = ffi.new("struct fusecopy_event *", {"kind": kind, "clone": {"copied": 1}})
    event.source = source.native
    if destination:
        event.destination = destination.native
    lib.fusecopy_note(event)


def tell() -> None:
    """Do what is to be done first; what was taken before is done then."""
    lib.fusecopy_next_events(EVENTS)


def tell_all() -> None:
    while lib.fusecopy_is_pending():
        lib.fusecopy_next_events(EVENTS)


EVENTS = ffi.new("struct fusecopy_events *")

lib.fusecopy_end_events()  # so that nobody waits for more events: `tell` returns when there are none


@dataclass
class Place:
    """The mount's root, with files `a`, `b`, `c` and a directory `d`; `b` is in the inode table, too."""

    path: Path
    b: int

    def file(self, name: str) -> OpenedFile:
        st = (self.path / name).stat()
        return OpenedFile(st.st_dev, st.st_ino)

    def request(
        self, name: str, payload: bytes = b"", arguments: "CData | None" = None, number: int = ROOT
    ) -> Callable[[], None]:
        """What waits before such a request is answered."""
        opcode = OPCODES[name]
        header = ffi.new("struct fuse_in_header *", {"opcode": opcode, "nodeid": number})
        request = ffi.new("struct fusecopy_request *")
        request.header, request.arguments = header, arguments or ffi.NULL
        names = ffi.new("char[]", payload)
        request.payload, request.payload_size = names, len(payload) + 1
        scope = lib.fusecopy_operation(opcode).before

        def wait(*kept: object) -> None:
            lib.fusecopy_barrier(scope, request)

        return partial(wait, header, arguments, names)

    def unlink(self, name: str) -> Callable[[], None]:
        return self.request("UNLINK", name.encode())

    def rename(self, old: str, new: str) -> Callable[[], None]:
        arguments = ffi.new("struct fuse_rename2_in *", {"newdir": ROOT})
        return self.request("RENAME2", f"{old}\0{new}".encode(), arguments)

    def link(self) -> Callable[[], None]:
        return self.request("LINK", b"new", ffi.new("struct fuse_link_in *", {"oldnodeid": self.b}))

    def truncate(self, number: int = 0) -> Callable[[], None]:
        arguments = ffi.new("struct fuse_setattr_in *", {"valid": lib.FATTR_SIZE})
        return self.request("SETATTR", arguments=arguments, number=number or self.b)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    for name in ("a", "b", "c"):
        (tmp_path / name).touch()
    (tmp_path / "d").mkdir()
    table = InodeTable(os.open(tmp_path, os.O_PATH), 8, timeout=1)
    _, b = Entry.entered(os.open(tmp_path / "b", os.O_PATH), table.root, b"b")
    yield Place(tmp_path, b.number)
    tell_all()
    table.close()


def test_a_small_wait_does_not_pay_for_a_large_one() -> None:
    files = [OpenedFile(1, number) for number in range(4)]
    note(lib.FUSECOPY_CLONED, *files[:2])
    note(lib.FUSECOPY_CLONED, *files[2:])
    everything = waiter(lib.fusecopy_barrier_all)
    first = waiter(lambda: lib.fusecopy_barrier_clone(files[0].native, 0, 1))
    tell()
    assert EVENTS.count == 1
    tell()  # the first is done
    ends(first)
    assert everything.is_alive()
    tell_all()
    ends(everything)


CHANGES: dict[str, Callable[[Place], Callable[[], None]]] = {
    "unlink": lambda place: place.unlink("b"),
    "rename": lambda place: place.rename("b", "new"),
    "replace": lambda place: place.rename("a", "b"),
    "link": lambda place: place.link(),
    "truncate": lambda place: place.truncate(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_concerns_the_file_is_waited_for(
    place: Place, change: Callable[[Place], Callable[[], None]]
) -> None:
    files = {name: place.file(name) for name in "abc"}
    note(lib.FUSECOPY_RELEASED, files["c"])
    passes(change(place))
    for kind, *concerned in (
        (lib.FUSECOPY_RELEASED, files["b"]),
        (lib.FUSECOPY_CLONED, files["b"], files["c"]),
        (lib.FUSECOPY_CLONED, files["c"], files["b"]),
    ):
        note(kind, *concerned)
        note(lib.FUSECOPY_RELEASED, files["c"])
        thread = waiter(change(place))
        while thread.is_alive():
            tell()
            thread.join(0.05)
        assert lib.fusecopy_is_pending()  # what came later was not waited for
        tell_all()
        note(lib.FUSECOPY_RELEASED, files["c"])
        passes(change(place))


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_was_written_may_have_come_from_what_was_read(
    place: Place, change: Callable[[Place], Callable[[], None]]
) -> None:
    written, read = place.file("c"), place.file("b")
    written.native.is_written = True
    note(lib.FUSECOPY_RELEASED, written)
    passes(change(place))
    lib.fusecopy_note_source(read.native.device, read.native.ino, place.b)
    thread = waiter(change(place))
    tell_all()
    ends(thread)


def test_what_may_name_others_is_waited_for(place: Place) -> None:
    telling = place.file("c")
    note(lib.FUSECOPY_RELEASED, telling)
    passes(place.unlink("a"))
    telling.tell_others()
    note(lib.FUSECOPY_RELEASED, telling)
    thread = waiter(place.unlink("a"))
    tell_all()
    ends(thread)


def test_a_directory_s_name_is_part_of_all_below_it(place: Place) -> None:
    note(lib.FUSECOPY_RELEASED, place.file("c"))
    passes(place.request("RMDIR", b"d"))
    thread = waiter(place.rename("d", "e"))
    tell_all()
    ends(thread)


def test_what_is_not_there_is_not_waited_for(place: Place) -> None:
    note(lib.FUSECOPY_RELEASED, place.file("c"))
    passes(place.unlink("none"))


def test_a_file_that_is_not_known_waits_for_everything(place: Place) -> None:
    note(lib.FUSECOPY_RELEASED, place.file("c"))
    passes(place.truncate())
    thread = waiter(place.truncate(UNKNOWN))
    tell_all()
    ends(thread)


def test_a_write_waits_for_clones_that_it_would_disturb(place: Place) -> None:
    a, b = place.file("a"), place.file("b")

    def write(file: OpenedFile, offset: int) -> Callable[[], None]:
        arguments = ffi.new("struct fuse_read_in *", {"fh": file.fh, "offset": offset, "size": 1})
        return place.request("WRITE", arguments=arguments)

    note(lib.FUSECOPY_RELEASED, a)
    passes(write(a, 0))
    tell_all()
    for file in (a, b):
        note(lib.FUSECOPY_CLONED, a, b)
        thread = waiter(write(file, 0))
        tell_all()
        ends(thread)


def test_an_event_is_found_among_thousands(place: Place) -> None:
    """The ring grows with its chains; thousands of other files' events lie on both sides."""
    others = [OpenedFile(1, number) for number in range(3000)]
    concerned = place.file("b")
    for other in others[:1500]:
        note(lib.FUSECOPY_RELEASED, other)
    note(lib.FUSECOPY_RELEASED, concerned)
    for other in others[1500:]:
        note(lib.FUSECOPY_RELEASED, other)
    passes(place.unlink("a"))
    thread = waiter(place.unlink("b"))
    told = 0
    while thread.is_alive():
        tell()
        told += EVENTS.count
        thread.join(0 if told < 1500 else 0.05)
        assert told <= 1600
    assert told >= 1500
