#!/bin/bash
# dissect.xfs 3.13 (PyPI): files of a large directory are not found where directory blocks are larger than filesystem blocks.
# XFS allows directory blocks of several filesystem blocks (mkfs.xfs -n size=8192; always so with blocks of 1 or 2 KiB). In such a
# filesystem the last of 2,000 files is there for the kernel and FileNotFoundError for the library.
. "$(dirname "$(readlink -f "$0")")/lib.sh"
need mkfs.xfs xfsprogs
[ "$(id -u)" = 0 ] || { echo "needs root, to mount an image" >&2; exit 2; }
from_pypi dissect.xfs==3.13
mkfs.xfs -V
trap 'umount -q tree 2>/dev/null || true; rm -rf "$FOLDER"' EXIT

mkdir tree
for size in 4096 8192; do
    rm -f image
    truncate -s 400M image
    mkfs.xfs -q -n size="$size" image
    mount -o loop image tree
    mkdir tree/many
    for number in $(seq 2000); do echo "$number" >"tree/many/file-$number"; done
    printf 'directory blocks of %s: the kernel reads %s, ' "$size" "$(cat tree/many/file-2000)"
    umount tree
    "$PYTHON" - <<'PYTHON'
from dissect.xfs import XFS
try:
    print("dissect", XFS(open("image", "rb")).get("many/file-2000").open().read().decode().strip())
except FileNotFoundError:
    print("dissect FileNotFoundError")
PYTHON
done | seen "directory blocks of 4096: the kernel reads 2000, dissect 2000
directory blocks of 8192: the kernel reads 2000, dissect FileNotFoundError"
