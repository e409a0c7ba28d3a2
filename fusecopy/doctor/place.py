"""What a directory's filesystem does with copies, tried out on files without names in it."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from fusecopy.copying import calls, filesystems
from fusecopy.copying._native import lib
from fusecopy.copying.backing import Backing, measure, unnamed
from fusecopy.copying.sharing import shared_bytes
from fusecopy.doctor.findings import Finding, State, refused
from fusecopy.errors import BackingError

BLOCKS = 4
"""Length of the files that are tried, in blocks; more than a filesystem would hold inline."""


def examine(directory: str) -> list[Finding]:
    """Try out a directory.

    Raises:
        BackingError: it cannot be opened, or takes no files.
    """
    backing = measure(directory)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return [
            _filesystem(fd, backing),
            _reflink(fd, backing),
            *([_alignment(fd, backing.block_size)] if backing.reflink else []),
            _copy_file_range(fd, backing.block_size),
            _dedupe(fd, backing.block_size),
            _fiemap(fd, backing),
            _holes(backing),
        ]
    except OSError as error:
        raise BackingError(
            f"{directory} takes no files, so nothing can be measured in it: {refused(error)}",
            "Name a directory in which you may write and that has some space.",
        ) from error
    finally:
        os.close(fd)


@contextmanager
def _files(directory: int, block: int, *contents: bytes) -> Iterator[list[int]]:
    """Files without names, each with BLOCKS blocks of the given byte and written out."""
    with ExitStack() as stack:
        files = [stack.enter_context(unnamed(directory)) for _ in contents]
        for file, content in zip(files, contents, strict=True):
            os.pwrite(file, content * block * BLOCKS, 0)
            os.fsync(file)
        yield files


def _filesystem(directory: int, backing: Backing) -> Finding:
    found = backing.filesystem
    if calls.gives_places(directory):
        found += f", blocks of {backing.block_size}"
    try:
        nocow = bool(calls.inode_flags(directory) & lib.FS_NOCOW_FL)
    except OSError:
        nocow = False
    if nocow:
        meaning = "+C: new files share with No_COW files only"
        return Finding("filesystem", State.LIMITED, found, meaning)
    meaning = "sharing goes by blocks" if backing.reflink else "no reflinks"
    return Finding("filesystem", State.OK, found, meaning)


def _reflink(directory: int, backing: Backing) -> Finding:
    if backing.reflink:
        return Finding("reflink", State.OK, "FICLONERANGE works", "copies can share extents")
    if filesystems.mount_of(directory).is_fuse:
        meaning = "on FUSE always; try the backing"
        return Finding("reflink", State.MISSING, "FICLONERANGE is refused", meaning)
    return Finding("reflink", State.MISSING, "FICLONERANGE is refused", "copies write again")


def _alignment(directory: int, block: int) -> Finding:
    """The smallest power of two at which a clone may begin in both files."""
    with _files(directory, block, b"x", b"y") as (one, other):
        steps = [1 << power for power in range(block.bit_length())]
        step = next((step for step in steps if _clones_at(one, other, step, block)), 0)
    if not step:
        return Finding("alignment", State.UNKNOWN, "no offset but 0 was taken", "only whole files are shared")
    meaning = "else no sharing"
    return Finding("alignment", State.OK, f"offsets in multiples of {step}", meaning)


def _clones_at(one: int, other: int, offset: int, length: int) -> bool:
    try:
        calls.clone_range(one, offset, length, other, offset)
    except OSError:
        return False
    return True


def _copy_file_range(directory: int, block: int) -> Finding:
    length = block * BLOCKS
    with _files(directory, block, b"x", b"") as (one, other):
        try:
            copied = os.copy_file_range(one, other, length, 0, 0)
        except OSError as error:
            meaning = "programs fall back to reading and writing"
            return Finding("copy_file_range", State.MISSING, refused(error), meaning)
        sharing = shared_bytes(one, 0, other, 0, copied, equal=True)
    if filesystems.mount_of(directory).is_fuse:
        meaning = "its server copies or the kernel splices"
        return Finding("copy_file_range", State.LIMITED, "works", meaning)
    if sharing.unprovable:
        return Finding("copy_file_range", State.LIMITED, "works", "whether it shares is unprovable here")
    if sharing.shared == copied:
        return Finding("copy_file_range", State.OK, "shares", "cp shares without being told to")
    return Finding("copy_file_range", State.LIMITED, "copies", "the kernel writes the bytes again")


def _dedupe(directory: int, block: int) -> Finding:
    with _files(directory, block, b"x", b"x") as (one, other):
        try:
            same, _ = calls.dedupe_range(one, 0, block * BLOCKS, other, 0)
            sharing = shared_bytes(one, 0, other, 0, block * BLOCKS, equal=True)
        except OSError as error:
            return Finding("dedupe", State.MISSING, refused(error), "equal files stay apart")
    if same and sharing.unprovable:
        return Finding("dedupe", State.LIMITED, "FIDEDUPERANGE works", "whether it shares is unprovable here")
    if same and sharing.shared:
        return Finding("dedupe", State.OK, "FIDEDUPERANGE shares", "equal files can be joined")
    return Finding("dedupe", State.LIMITED, "FIDEDUPERANGE shared nothing", "equal files stay apart")


def _fiemap(directory: int, backing: Backing) -> Finding:
    if not backing.fiemap:
        return Finding("FIEMAP", State.MISSING, "is refused", "sharing is unprovable")
    if not calls.gives_places(directory):
        return Finding("FIEMAP", State.LIMITED, "does not say where files lie", "sharing is unprovable")
    return Finding("FIEMAP", State.OK, "works", "sharing can be proven")


def _holes(backing: Backing) -> Finding:
    if backing.holes:
        return Finding("holes", State.OK, "SEEK_HOLE finds them", "sparse files stay sparse")
    return Finding("holes", State.MISSING, "SEEK_HOLE finds none", "holes are copied as zeros")
