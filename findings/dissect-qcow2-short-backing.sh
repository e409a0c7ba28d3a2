#!/bin/bash
# dissect.hypervisor 3.21 (PyPI): a qcow2 image over a shorter backing file ends where the backing file does.
# The format lets a backing file be shorter than the image; what lies behind its end is zeros (qemu-img convert gives all 8 MiB).
# dissect.hypervisor returns the backing file's bytes and no more, without an error.
. "$(dirname "$(readlink -f "$0")")/lib.sh"
need qemu-img qemu-utils
from_pypi dissect.hypervisor==3.21
qemu-img --version | head -n 1

bytes 700416 1 >backing.raw
qemu-img create -q -f qcow2 -b backing.raw -F raw image.qcow2 8M
qemu-img convert -O raw image.qcow2 whole
printf 'qemu-img: %s bytes\n' "$(stat -c %s whole)"
"$PYTHON" - <<'PYTHON' | seen "dissect: size 8388608, read 700416"
from pathlib import Path
from dissect.hypervisor.disk.qcow2 import QCow2
image = QCow2(Path("image.qcow2"))
stream = image.open()
print(f"dissect: size {stream.size}, read {len(stream.read(8 << 20))}")
PYTHON
