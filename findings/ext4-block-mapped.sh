#!/bin/bash
# ext4 1.4.1 (PyPI): a filesystem without extents opens, and seems to be empty.
# Block-mapped files, as of ext3 and of mkfs.ext4 -O ^extents, are valid ext4. The library opens the volume, finds no file by
# its name, and says FileNotFoundError instead of "not supported".
. "$(dirname "$(readlink -f "$0")")/lib.sh"
need mke2fs e2fsprogs
need debugfs e2fsprogs
from_pypi ext4==1.4.1
mke2fs -V 2>&1 | head -n 1

mkdir tree
bytes 5000 1 >tree/file
for feature in extents ^extents; do
    rm -f image
    mke2fs -q -t ext4 -O "$feature,^64bit" -d tree image 16M >/dev/null
    printf '%s: debugfs %s, ' "$feature" "$(debugfs -R 'cat file' image 2>/dev/null | wc -c)"
    "$PYTHON" - <<'PYTHON'
import ext4
volume = ext4.Volume(open("image", "rb"))
try:
    print("ext4", len(volume.inode_at("/file").open().read()))
except FileNotFoundError:
    print("ext4 FileNotFoundError")
PYTHON
done | seen "extents: debugfs 5000, ext4 5000
^extents: debugfs 5000, ext4 FileNotFoundError"
