#!/bin/bash
# reflink 0.2.2 (PyPI): a clone that is refused removes the destination that was there before.
# reflink.reflink(SOURCE, DESTINATION) opens DESTINATION, asks for FICLONE and, where that fails, unlinks DESTINATION, whoever
# made it. The kernel refuses FICLONE on ext4 and tmpfs always, and on btrfs and XFS into a longer file where the
# source's end is not aligned; each time the older file is gone. cp --reflink=always leaves it there.
. "$(dirname "$(readlink -f "$0")")/lib.sh"
from_pypi reflink==0.2.2

bytes 5000 1 >source
bytes 200000 2 >precious
"$PYTHON" - <<'PYTHON' | seen "reflink raised an error
precious is gone"
import os
import reflink
try:
    reflink.reflink("source", "precious")
except (OSError, reflink.ReflinkImpossibleError):
    print("reflink raised an error")
print("precious is", "still there" if os.path.exists("precious") else "gone")
PYTHON
