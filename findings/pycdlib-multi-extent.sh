#!/bin/bash
# pycdlib 1.22.0 and isoparser 0.3 (PyPI): a file of more than 4 GiB on an ISO 9660 image is cut, or is two files.
# Level 3 of ISO 9660 stores such a file as several extents under one name. pycdlib tells the first extent's length as the file's;
# isoparser lists the name twice. bsdtar and the kernel have one file of the whole size.
. "$(dirname "$(readlink -f "$0")")/lib.sh"
need xorriso xorriso
from_pypi pycdlib==1.22.0 isoparser==0.3 six==1.17.0
xorriso -version 2>/dev/null | head -n 1

mkdir tree
truncate -s 4400M tree/big
xorriso -as mkisofs -quiet -iso-level 3 -R -o - tree 2>/dev/null | cp --sparse=always /dev/stdin image.iso
printf 'in the tree: %s\n' "$(stat -c %s tree/big)"
"$PYTHON" - <<'PYTHON' | seen "pycdlib 4294965248
isoparser 4294965248 318769152"
import isoparser
import pycdlib
image = pycdlib.PyCdlib()
image.open("image.iso")
print("pycdlib", *(c.get_data_length() for c in image.list_children(rr_path="/") if c.file_identifier().startswith(b"BIG")))
print("isoparser", *(c.length for c in isoparser.parse("image.iso").root.children if c.name == b"big"))
PYTHON
