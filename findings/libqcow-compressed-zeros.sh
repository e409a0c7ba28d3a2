#!/bin/bash
# libqcow 20260703 (PyPI libqcow-python): data of a compressed qcow2 image is read as zeros.
# An image written by qemu-img convert -c, which qemu-img compare calls identical to its source, gives zeros for some of the
# compressed clusters, without an error.
. "$(dirname "$(readlink -f "$0")")/lib.sh"
need qemu-img qemu-utils
from_pypi libqcow-python==20260703
qemu-img --version | head -n 1

bytes 300000 2 >raw
truncate -s 3M raw
bytes 200000 3 >>raw
truncate -s 8M raw
qemu-img convert -c -O qcow2 raw image.qcow2
qemu-img compare -q raw image.qcow2 && echo "qemu-img: identical"
"$PYTHON" - <<'PYTHON' | seen "pyqcow: the size is right
pyqcow: bytes that differ: all are zeros: True"
import pyqcow
image = pyqcow.file()
image.open("image.qcow2")
got = image.read_buffer(image.get_media_size())
want = open("raw", "rb").read()
print("pyqcow: the size is", "right" if len(got) == len(want) else "wrong")
wrong = [a for a, b in zip(got, want) if a != b]
print("pyqcow: bytes that differ: all are zeros:", bool(wrong) and not any(wrong))
PYTHON
