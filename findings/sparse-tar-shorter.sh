#!/bin/bash
# Sparse tar archives, extracted by npm's tar 7.4.3, tar-fs 3.1.1 and decompress 4.2.1: a shorter file, under another name, and success.
# GNU tar -S with --format=posix (and bsdtar by default, for every file with a hole) stores a sparse file as GNUSparseFile.N/NAME, with the map of
# its data in front and the real name and size in pax headers (GNU.sparse.*). None of the three reads these headers: the
# data lies at the wrong offsets of a file that is too short, in a directory that nobody made, and no error is raised.
. "$(dirname "$(readlink -f "$0")")/lib.sh"
from_npm tar@7.4.3 tar-fs@3.1.1 decompress@4.2.1
tar --version | head -n 1

truncate -s 3M sparse
printf MIDDLE | dd of=sparse bs=1 seek=1M conv=notrunc status=none
printf END | dd of=sparse bs=1 seek=2M conv=notrunc status=none
tar -S --format=posix --sparse-version=1.0 -cf sparse.tar sparse

extract() {
    mkdir "out-$1"
    node -e "
const { pipeline } = require('stream/promises'), fs = require('fs');
const ways = {
  'tar': out => require('tar').x({ file: 'sparse.tar', cwd: out, strict: true }),
  'tar-fs': out => pipeline(fs.createReadStream('sparse.tar'), require('tar-fs').extract(out)),
  'decompress': out => require('decompress')('sparse.tar', out),
};
ways['$1']('out-$1').catch(error => { console.error(error); process.exit(1); });"
    printf '%s: status %s, ' "$1" "$?"
    (cd "out-$1" && find . -type f -printf '%p %s bytes\n' | sed 's/GNUSparseFile\.[0-9]*/GNUSparseFile.N/')
}
for way in tar tar-fs decompress; do extract "$way"; done | seen "tar: status 0, ./GNUSparseFile.N/sparse 8704 bytes
tar-fs: status 0, ./GNUSparseFile.N/sparse 8704 bytes
decompress: status 0, ./GNUSparseFile.N/sparse 8704 bytes"
