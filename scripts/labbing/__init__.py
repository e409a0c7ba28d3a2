"""The lab: the same tasks on Debian's kernels, in QEMU guests. Standard library only: a bare host runs it."""
