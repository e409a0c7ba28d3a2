"""A program: what an ordinary user may do with root's files in the current directory. Prints the results."""

import errno
import fcntl
import json
import os
import stat
import struct

FICLONE = 0x40049409
FIDEDUPERANGE = 0xC0189436


def clone(destination: str, flags: int) -> str:
    source, into = os.open("source", os.O_RDONLY), os.open(destination, flags)
    try:
        fcntl.ioctl(into, FICLONE, source)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    finally:
        os.close(source)
        os.close(into)
    return "0"


def dedupe(destination: str) -> int:
    source, into = os.open("source", os.O_RDONLY), os.open(destination, os.O_RDONLY)
    request = bytearray(struct.pack("=QQHHIqQQiI", 0, 8192, 1, 0, 0, into, 0, 0, 0, 0))
    fcntl.ioctl(source, FIDEDUPERANGE, request, True)
    os.close(source)
    os.close(into)
    return int(struct.unpack_from("=i", request, 48)[0])


results: dict[str, object] = {
    "clone into root's, read-only": clone("roots", os.O_RDONLY),
    "clone into setuid": clone("setuid", os.O_WRONLY),
    "mode of setuid": oct(stat.S_IMODE(os.stat("setuid").st_mode)),
    "dedupe into root's": dedupe("roots"),
    "dedupe into everybody's": dedupe("everybodys"),
    "dedupe into our own": dedupe("own"),
    "uid": os.getuid(),
}
print(json.dumps(results))
