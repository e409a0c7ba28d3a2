#!/bin/bash
# qemu-img 7.2.22 (Debian 12): convert -C clones a raw image whose size is no multiple of 512, and then writes all of it again.
# -C, "try to use copy offloading", is copy_file_range, which shares the extents on btrfs. qemu-img rounds the size up to whole sectors. The
# call for the last, incomplete one returns 0, as it must at the file's end; qemu-img takes that for a failure of the whole, goes over to
# reading and writing, and begins with the first byte. The image is right, and nothing of it is shared.
. "$(dirname "$(readlink -f "$0")")/lib.sh"
need qemu-img qemu-utils
need mkfs.btrfs btrfs-progs
need filefrag e2fsprogs
[ "$(id -u)" = 0 ] || { echo "needs root, to mount an image" >&2; exit 2; }
qemu-img --version | head -n 1
uname -sr
trap 'umount -q there 2>/dev/null || true; rm -rf "$FOLDER"' EXIT

mkdir there
truncate -s 300M image
mkfs.btrfs -q image >/dev/null
mount -o loop image there
for size in 1048576 1049810; do
    bytes "$size" 1 >"there/$size"
    sync
    qemu-img convert -C -f raw -O raw "there/$size" "there/$size.copy"
    sync
    filefrag -v "there/$size.copy" | grep -q shared && what=shared || what="not shared"
    cmp -n "$size" "there/$size" "there/$size.copy"
    echo "$size bytes: $what"
done | seen "1048576 bytes: shared
1049810 bytes: not shared"
