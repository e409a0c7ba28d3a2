#!/bin/bash
# jefferson 0.4.8 (PyPI): of a JFFS2 file with three names one is extracted.
# The other two are missing afterwards; nothing is said and the status is 0.
. "$(dirname "$(readlink -f "$0")")/lib.sh"
need mkfs.jffs2 mtd-utils
from_pypi jefferson==0.4.8
mkfs.jffs2 -V 2>&1 | head -n 1

mkdir tree
bytes 300000 1 >tree/one
ln tree/one tree/two
ln tree/one tree/three
mkfs.jffs2 -l -e 128KiB -r tree -o image 2>/dev/null
venv/bin/jefferson -d out image >/dev/null 2>&1
{ echo "status $?"; find out -type f | wc -l; } | seen "status 0
1"
