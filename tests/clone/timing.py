"""A program: prints the least microseconds of FICLONE, and of copy_file_range, of the file `a`."""

import fcntl
import os
import sys
import time

FICLONE = 0x40049409


def least(how: str, rounds: int) -> float:
    source, size = os.open("a", os.O_RDONLY), os.stat("a").st_size
    found = []
    for number in range(rounds):
        destination = os.open(f"{how}{number}", os.O_WRONLY | os.O_CREAT)
        begun = time.perf_counter_ns()
        if how == "FICLONE":
            fcntl.ioctl(destination, FICLONE, source)
        else:
            assert os.copy_file_range(source, destination, size, 0, 0) == size
        found.append(time.perf_counter_ns() - begun)
        os.close(destination)
    os.close(source)
    return min(found) / 1000


print(least("FICLONE", int(sys.argv[1])))
print(least("copy_file_range", int(sys.argv[1])))
