"""A program: clones in the current directory while both files are open, mapped and dirty; says nothing.

Works on the backing as well as in a mount, which shows that it asks for nothing that a clone need not give.
"""

import fcntl
import mmap
import os
import struct

FICLONE = 0x40049409
FICLONERANGE = 0x4020940D
SIZE = 16 * 4096


def page(letter: bytes, pages: int = 16) -> bytes:
    return letter * 4096 * pages


def clone_range(source: int, destination: int, offset: int, length: int, to: int) -> None:
    fcntl.ioctl(destination, FICLONERANGE, struct.pack("=qQQQ", source, offset, length, to))


with open("a", "wb", 0) as file:
    file.write(page(b"a"))
with open("b", "wb", 0) as file:
    file.write(page(b"b"))
a, b, reader = os.open("a", os.O_RDWR), os.open("b", os.O_RDWR), os.open("b", os.O_RDONLY)
map_a, map_b = mmap.mmap(a, SIZE), mmap.mmap(b, SIZE)

# What was written by mmap and by write goes along; readers and maps of the destination see it at once.
assert map_b[:] == page(b"b")
map_a[:] = page(b"c")
os.pwrite(a, b"d" * 4096, 4096)
fcntl.ioctl(b, FICLONE, a)
expected = b"c" * 4096 + b"d" * 4096 + page(b"c", 14)
for found in (map_b[:], os.pread(reader, SIZE, 0), os.pread(a, SIZE, 0)):
    assert found == expected

map_a[:] = page(b"h")
fcntl.ioctl(b, FICLONE, a)
assert map_b[:] == os.pread(reader, SIZE, 0) == page(b"h")
map_a[:] = expected
fcntl.ioctl(b, FICLONE, a)

# Afterwards neither sees what is written to the other.
map_a[:4096] = b"e" * 4096
os.pwrite(b, b"f" * 4096, 8192)
assert map_b[:4096] == b"c" * 4096
assert os.pread(reader, 4096, 8192) == b"f" * 4096
assert os.pread(a, 4096, 8192) == b"c" * 4096

# Dirty pages of the destination outside the range stay, those within are the source's.
map_b[:] = page(b"g")
clone_range(a, b, 0, 4096, 4096)
assert map_b[:] == b"g" * 4096 + b"e" * 4096 + page(b"g", 14)
map_b.flush()
assert os.pread(reader, SIZE, 0) == b"g" * 4096 + b"e" * 4096 + page(b"g", 14)

# A destination that grows has its new size at once, for stat, read and mmap.
clone_range(a, b, 0, SIZE, 2 * SIZE)
with open("c", "wb", 0) as file:
    assert os.copy_file_range(b, file.fileno(), SIZE, 2 * SIZE, 0) == SIZE
assert os.fstat(b).st_size == os.stat("b").st_size == 3 * SIZE
assert os.pread(reader, SIZE, SIZE) == bytes(SIZE)
with mmap.mmap(b, 3 * SIZE) as grown:
    assert grown[2 * SIZE :] == os.pread(a, SIZE, 0)

# The times are those of a write.
os.utime("b", (1, 1))
before = os.stat("a").st_mtime_ns
fcntl.ioctl(b, FICLONE, a)
assert os.fstat(b).st_mtime > 1
assert os.stat("a").st_mtime_ns == before
