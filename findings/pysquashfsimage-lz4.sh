#!/bin/bash
# PySquashfsImage 0.9.0 with lz4 4.4.5 (PyPI): no image that mksquashfs packed with lz4 can be opened.
# SquashFS stores bare LZ4 blocks; the library hands them to lz4.frame, which wants the frame format, and raises RuntimeError.
# gzip, xz and zstd images of the same tree are read.
. "$(dirname "$(readlink -f "$0")")/lib.sh"
need mksquashfs squashfs-tools
from_pypi PySquashfsImage==0.9.0 lz4==4.4.5 zstandard==0.25.0
mksquashfs -version | head -n 1

mkdir tree
bytes 300000 1 >tree/file
for way in gzip xz zstd lz4; do
    mksquashfs tree "$way.sqfs" -comp "$way" -quiet -no-progress >/dev/null
    "$PYTHON" - "$way" 2>/dev/null <<'PYTHON'
import sys
from PySquashfsImage import SquashFsImage
way = sys.argv[1]
try:
    got = SquashFsImage.from_file(way + ".sqfs").select("/file").read_bytes()
    print(way, got == open("tree/file", "rb").read())
except RuntimeError:
    print(way, "RuntimeError")
PYTHON
done | seen "gzip True
xz True
zstd True
lz4 RuntimeError"
