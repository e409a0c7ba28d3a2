#!/bin/bash
# @reflink/reflink 0.1.19 (npm): a clone of an executable file cannot be executed.
# reflinkFileSync gives the clone the mode of a new file (0644) instead of its source's. fs.copyFileSync, in whose place it is used, keeps
# the mode, and so do cp --reflink and PyPI's reflink.
. "$(dirname "$(readlink -f "$0")")/lib.sh"
need mkfs.btrfs btrfs-progs
[ "$(id -u)" = 0 ] || { echo "needs root, to mount an image" >&2; exit 2; }
from_npm @reflink/reflink@0.1.19
uname -sr
trap 'umount -q there 2>/dev/null || true; rm -rf "$FOLDER"' EXIT

umask 022
mkdir there
truncate -s 200M image
mkfs.btrfs -q image >/dev/null
mount -o loop image there
bytes 100000 1 >there/program
chmod 755 there/program
node -e "
const fs = require('fs');
require('@reflink/reflink').reflinkFileSync('there/program', 'there/clone');
fs.copyFileSync('there/program', 'there/copy');
for (const name of ['program', 'clone', 'copy']) console.log(name, (fs.statSync('there/' + name).mode & 0o777).toString(8));
" | seen "program 755
clone 644
copy 755"
