#!/bin/bash
# mkfs.btrfs 6.2 (Debian 12), --rootdir: holes become data.
# btrfs has holes, and mke2fs -d, which makes an image in the same way, keeps them. With mkfs.btrfs a file of 8 MiB with four bytes of data
# takes 8 MiB of the image. Of a file's time both leave out the nanoseconds, which both filesystems have.
. "$(dirname "$(readlink -f "$0")")/lib.sh"
need mkfs.btrfs btrfs-progs
need mke2fs e2fsprogs
[ "$(id -u)" = 0 ] || { echo "needs root, to mount an image" >&2; exit 2; }
mkfs.btrfs --version
mke2fs -V 2>&1 | head -n 1
uname -sr
trap 'umount -q there 2>/dev/null || true; rm -rf "$FOLDER"' EXIT

mkdir tree there
truncate -s 8M tree/file
printf DATA | dd of=tree/file bs=1 seek=4M conv=notrunc status=none
touch -d '2020-01-01 00:00:00.123456789 UTC' tree/file
sync
look() {
    [ "$(du -k "$2/file" | cut -f1)" -lt 1000 ] && holes=holes || holes="no holes"
    cmp -s tree/file "$2/file" && same=same || same=others
    echo "$1: $holes, bytes $same, $(TZ=UTC stat -c %y "$2/file")"
}
{
    look tree tree
    truncate -s 300M image
    mkfs.btrfs -q --rootdir tree image >/dev/null
    mount -o loop image there
    look mkfs.btrfs there
    umount there
    rm image
    mke2fs -q -t ext4 -I 256 -d tree image 64M >/dev/null 2>&1
    mount -o loop image there
    look mke2fs there
} | seen "tree: holes, bytes same, 2020-01-01 00:00:00.123456789 +0000
mkfs.btrfs: no holes, bytes same, 2020-01-01 00:00:00.000000000 +0000
mke2fs: holes, bytes same, 2020-01-01 00:00:00.000000000 +0000"
