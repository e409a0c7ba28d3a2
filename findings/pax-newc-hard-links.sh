#!/bin/bash
# pax 20201030 (Debian 12's, from MirBSD): hard-linked files of a newc archive are extracted empty, every one of them.
# In a newc archive, as GNU cpio and rpm write it, the data stands with the last of a file's names. pax -r makes the first name, empty, and
# links the others to it. GNU cpio extracts the same archive whole.
. "$(dirname "$(readlink -f "$0")")/lib.sh"
need pax pax
need cpio cpio
printf 'pax %s, %s\n' "$(dpkg-query -W -f '${Version}' pax)" "$(cpio --version | head -n 1)"

mkdir tree by-cpio by-pax
bytes 3000 1 >tree/one
ln tree/one tree/two
ln tree/one tree/three
(cd tree && find . -type f | cpio -o -H newc --quiet >../archive)
(cd by-cpio && cpio -i --quiet <../archive)
status=0
(cd by-pax && pax -r <../archive) || status=$?
{
    echo "cpio" $(stat -c %s by-cpio/*)
    echo "pax" $(stat -c %s by-pax/*) "status $status"
} | seen "cpio 3000 3000 3000
pax 0 0 0 status 0"
