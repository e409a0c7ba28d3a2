#!/bin/bash
# fuse2fs 1.47.0 (Debian 12): a time that a program sets loses its nanoseconds.
# The inodes have room for them (256 bytes), and the kernel's ext4 keeps them in the same image.
. "$(dirname "$(readlink -f "$0")")/lib.sh"
need fuse2fs fuse2fs
[ "$(id -u)" = 0 ] || { echo "needs root, to mount an image" >&2; exit 2; }
printf 'fuse2fs %s\n' "$(dpkg-query -W -f '${Version}' fuse2fs)"
uname -sr
trap 'umount -q there 2>/dev/null || true; rm -rf "$FOLDER"' EXIT

mkdir there
mke2fs -q -t ext4 -I 256 image 64M 2>/dev/null >/dev/null
set_and_look() {
    touch -d '2020-01-01 00:00:00.123456789 UTC' there/file
    printf '%s: %s\n' "$1" "$(TZ=UTC stat -c %y there/file)"
    umount there
}
{
    fuse2fs image there -o rw
    set_and_look fuse2fs
    # Its last writes follow the unmount.
    for _ in $(seq 1000); do pgrep -f "fuse2fs image there" >/dev/null || break; done
    mount -o loop image there
    set_and_look ext4
} | seen "fuse2fs: 2020-01-01 00:00:00.000000000 +0000
ext4: 2020-01-01 00:00:00.123456789 +0000"
