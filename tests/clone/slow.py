"""A program: eight threads clone in the current directory, whose server is stopped, and one clones elsewhere.

Arguments: a directory in another mount, and the pid of this one's server.
"""

import fcntl
import os
import signal
import sys
import threading
import time
from pathlib import Path

FICLONE = 0x40049409
THREADS = 8
IN_IOCTL = ("16 ", "29 ")
SECONDS = 20


def clone(source: int, destination: int) -> None:
    fcntl.ioctl(destination, FICLONE, source)


elsewhere, server = Path(sys.argv[1]), int(sys.argv[2])
pairs = [(os.open("a", os.O_RDONLY), os.open(f"b{n}", os.O_WRONLY | os.O_CREAT)) for n in range(THREADS)]
source, destination = (os.open(elsewhere / name, os.O_RDWR | os.O_CREAT) for name in ("a", "b"))
os.kill(server, signal.SIGSTOP)
try:
    threads = [threading.Thread(target=clone, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    numbers = [thread.native_id for thread in threads]
    until = time.monotonic() + SECONDS
    while not all(Path(f"/proc/self/task/{n}/syscall").read_text().startswith(IN_IOCTL) for n in numbers):
        assert time.monotonic() < until
    clone(source, destination)
    print(f"done, {sum(thread.is_alive() for thread in threads)} wait")
finally:
    os.kill(server, signal.SIGCONT)
for thread in threads:
    thread.join()
