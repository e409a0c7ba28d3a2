#!/bin/bash
# mkfs.btrfs 6.2 (Debian 12): root cannot make a filesystem while somebody's mount has a source that root may not look at.
# mkfs.btrfs asks whether the device is mounted, and for that looks at the source of every mount there is. Where one is a path within a
# user's FUSE mount, which is closed to root too, stat(2) says EACCES and mkfs gives up. mkfs.ext4 and mkfs.xfs do not mind.
[ "$(id -u)" = 0 ] || { echo "needs root" >&2; exit 2; }
# In a mount namespace of its own: meanwhile nobody else's mkfs fails.
[ -n "${ALONE:-}" ] || ALONE=1 exec unshare --mount --propagation private "$0"
. "$(dirname "$(readlink -f "$0")")/lib.sh"
need bindfs bindfs
need mkfs.btrfs btrfs-progs
need mkfs.xfs xfsprogs
mkfs.btrfs --version
bindfs --version
uname -sr
trap 'umount -q other theirs 2>/dev/null || true; rm -rf "$FOLDER"' EXIT

chmod 755 .
mkdir -m 777 served theirs other
mkdir -m 777 served/within
setpriv --reuid=nobody --regid=nogroup --clear-groups bindfs --no-allow-other served theirs
make() {
    for kind in ext4 xfs btrfs; do
        rm -f image
        truncate -s 400M image
        mkfs.$kind -q image >/dev/null 2>said.txt && echo "mkfs.$kind: done" || echo "mkfs.$kind: $(tail -n 1 said.txt)"
    done
}
{
    make
    echo "with a mount from within it:"
    setpriv --reuid=nobody --regid=nogroup --clear-groups bindfs --no-allow-other theirs/within other
    make
} | seen "mkfs.ext4: done
mkfs.xfs: done
mkfs.btrfs: done
with a mount from within it:
mkfs.ext4: done
mkfs.xfs: done
mkfs.btrfs: ERROR: cannot check mount status of image: Permission denied"
