#!/bin/bash
# Linux 6.18: who watches a file by inotify or fanotify is told of every kind of write but one: libaio's.
# io_submit(2) (fs/aio.c) calls the file's write without fsnotify_modify, which write(2), splice(2) and io_uring call. A watcher that waits for
# IN_MODIFY of a database or a virtual machine's image that is written so hears nothing until it is closed.
. "$(dirname "$(readlink -f "$0")")/lib.sh"
need fio fio
from_pypi inotify_simple==2.0.1
fio --version
uname -sr

cat >watch.py <<'PYTHON'
import subprocess
from inotify_simple import INotify, flags

for engine in ("psync", "posixaio", "libaio"):
    with open("file", "wb") as file:
        file.write(b"x" * 65536)
    watcher = INotify()
    watcher.add_watch("file", flags.MODIFY | flags.CLOSE_WRITE)
    subprocess.run(
        ["fio", "--name=x", "--filename=file", "--rw=write", "--bs=4k", "--size=64k", "--overwrite=1",
         f"--ioengine={engine}", "--output=/dev/null"],
        check=True,
    )
    told = {flag.name for event in watcher.read(timeout=1000) for flag in flags.from_mask(event.mask)}
    print(engine, *sorted(told))
PYTHON
"$PYTHON" watch.py | seen "psync CLOSE_WRITE MODIFY
posixaio CLOSE_WRITE MODIFY
libaio CLOSE_WRITE"
