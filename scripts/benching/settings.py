"""How much is measured."""

from dataclasses import dataclass

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

FILESYSTEMS = ("btrfs", "xfs", "ext4")
FILES_A_DIRECTORY = 100
CLIENTS = 10


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of one run, in bytes unless said.

    Attributes:
        big: the file that is copied whole.
        middle: the file that is read, written and copied by cat, dd and sendfile.
        image: of each filesystem; sparse.
        directories: of small files, a hundred in each.
        library: part of Python's own library that is copied, "" for the whole.
        calls: number of single calls in a row.
        reads: number of random reads.
    """

    big: int
    middle: int
    image: int
    directories: int
    library: str
    calls: int
    reads: int


FULL = Sizes(big=GIB, middle=256 * MIB, image=4 * GIB, directories=50, library="", calls=256, reads=4096)
QUICK = Sizes(
    big=64 * MIB, middle=16 * MIB, image=GIB, directories=5, library="encodings", calls=64, reads=1024
)
