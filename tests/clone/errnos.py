"""A program: clones and dedupes between files of the current directory and prints what came of each call.

Arguments: of each pair the source, the destination and where in it.
"""

import errno
import fcntl
import json
import os
import struct
import sys

FICLONERANGE = 0x4020940D
FIDEDUPERANGE = 0xC0189436
BLOCK = 4096


def ioctl(fd: int, command: int, argument: bytes | bytearray) -> str:
    try:
        fcntl.ioctl(fd, command, argument)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "0"


def outcome(source: str, destination: str, to: int) -> list[object]:
    """Of a clone of the whole and a dedupe of a block; and the destination's size."""
    reading, writing = os.open(source, os.O_RDONLY), os.open(destination, os.O_RDWR)
    request = bytearray(struct.pack("=QQHHIqQQiI", 0, BLOCK, 1, 0, 0, writing, to, 0, 0, 0))
    cloned = ioctl(writing, FICLONERANGE, struct.pack("=qQQQ", reading, 0, 0, to))
    deduped = ioctl(reading, FIDEDUPERANGE, request)
    os.close(reading)
    os.close(writing)
    return [cloned, deduped, struct.unpack_from("=Qi", request, 40), os.stat(destination).st_size]


words = sys.argv[1:]
print(json.dumps([outcome(words[at], words[at + 1], int(words[at + 2])) for at in range(0, len(words), 3)]))
