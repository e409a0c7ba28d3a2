"""What the lab is made of: releases, packages, sizes and bounds."""

RELEASE = "bookworm"
"""The guests' Debian: what its mkfs programs make, the oldest kernel here can mount, and so can later."""

SUITES = ("bullseye", "bookworm", "trixie", "trixie-backports")
"""Where kernels are looked for; each has security updates too, where Debian makes them."""

SECURED = ("bullseye", "bookworm", "trixie")

PACKAGES = (
    "kmod", "busybox-static", "iproute2", "procps", "util-linux", "ca-certificates",
    "nfs-kernel-server", "nfs-common", "rpcbind", "samba", "samba-vfs-modules", "cifs-utils",
)  # fmt: skip
"""What guests have beside what scripts/setup installs."""

KERNEL_ONLY = ("linux-binary", "linux-modules", "linux-base")
"""From 7.3 on linux-image is empty, and these three hold what it held."""

BOOT_MODULES = ("virtio_pci", "virtio_blk")
"""What an initrd needs to find the root filesystem, as far as the kernel has it not built in."""

USER_MODE = "user-mode-linux"
"""The package with Linux as a program: `--kernel uml`."""

UML = "uml"
HERE = "here"
"""Names the kernel of this machine: no guest is booted."""

COLUMN = "column.json"
"""What the task `probe` leaves."""

TREE = "/opt/fusecopy"
"""Where the guests have this clone."""

MIB = 1 << 20
GUEST_MIB = 2048
GUEST_PROCESSORS = 2
RESULT_BYTES = 64 * MIB
IMAGE_ROOM = 4096 * MIB
"""What the guest's image has free; sparse."""

COMMAND_SECONDS = 600
BUILD_SECONDS = 3600
"""For the guest's Debian and for compiling pyfuse3 in it."""
BOOT_SECONDS = 180
TASK_SECONDS = 1800
LISTS_SECONDS = 7 * 86400
"""How long the lists of packages are believed, when they have what is asked for."""
