"""A program: clones while another thread swaps the files behind the descriptors' numbers.

In the current directory `open` may be read and written, `secret` only written and `guarded` only read. Prints
how often a clone was made, what it was refused with, and what it brought.
"""

import errno
import fcntl
import json
import os
import threading
from collections import Counter

FICLONE = 0x40049409
ROUNDS = 400

readable, secret = os.open("open", os.O_RDONLY), os.open("secret", os.O_WRONLY)
ours, guarded = os.open("ours", os.O_RDWR | os.O_CREAT), os.open("guarded", os.O_RDONLY)
source, destination = os.dup(readable), os.dup(ours)
ended = threading.Event()


def swap() -> None:
    while not ended.is_set():
        for one, other in ((readable, ours), (secret, ours), (readable, guarded), (secret, guarded)):
            os.dup2(one, source)
            os.dup2(other, destination)


results: Counter[str] = Counter()
contents: Counter[str] = Counter()
swapper = threading.Thread(target=swap)
swapper.start()
for _ in range(ROUNDS):
    os.ftruncate(ours, 0)
    try:
        fcntl.ioctl(destination, FICLONE, source)
        results["0"] += 1
    except OSError as error:
        results[errno.errorcode[error.errno or 0]] += 1
    contents[os.pread(ours, 4, 0).decode()] += 1
ended.set()
swapper.join()
print(json.dumps([results, contents]))
