#!/bin/bash
# libvmdk 20260714 (PyPI libvmdk-python): a zeroed grain is read as the image file's own second sector.
# VMDK files with the feature of zeroed grains mark a grain of zeros by the grain table entry 1. libvmdk takes that for a
# place in the file and gives what lies at sector 1: the text of the descriptor, in the middle of a disk.
. "$(dirname "$(readlink -f "$0")")/lib.sh"
need qemu-img qemu-utils
from_pypi libvmdk-python==20260714
qemu-img --version | head -n 1

bytes 300000 2 >raw
truncate -s 8M raw
qemu-img convert -O vmdk -o zeroed_grain=on raw image.vmdk
qemu-io -c 'write -z 0 65536' image.vmdk >/dev/null
printf 'qemu-img: %s\n' "$(qemu-img convert -O raw image.vmdk out && head -c 21 out | tr '\0' .)"
"$PYTHON" - <<'PYTHON' | seen "pyvmdk: # Disk DescriptorFile"
import pyvmdk
image = pyvmdk.handle()
image.open("image.vmdk")
image.open_extent_data_files()
print("pyvmdk:", image.read_buffer(65536)[:21].decode())
PYTHON
