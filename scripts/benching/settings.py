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
        calls: number of single copies of 64 KiB in a row: more than any server can put off.
        paused: number of single copies with pauses between them.
        files: number of files that are created, or opened and read, one by one.
        transactions: number of a database's transactions.
        reads: number of random reads.
    """

    big: int
    middle: int
    image: int
    directories: int
    library: str
    calls: int
    paused: int
    files: int
    transactions: int
    reads: int


FULL = Sizes(
    big=GIB,
    middle=256 * MIB,
    image=4 * GIB,
    directories=50,
    library="",
    calls=4096,
    paused=256,
    files=2000,
    transactions=150,
    reads=4096,
)
QUICK = Sizes(
    big=64 * MIB,
    middle=16 * MIB,
    image=GIB,
    directories=5,
    library="encodings",
    calls=512,
    paused=32,
    files=200,
    transactions=20,
    reads=1024,
)
