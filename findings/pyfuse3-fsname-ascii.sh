#!/bin/bash
# pyfuse3 3.5.0 (PyPI): a mount option with a letter outside ASCII raises UnicodeEncodeError.
# fsname= commonly names the directory that is served, whose name may hold any bytes; the kernel and libfuse take them, as sshfs and
# bindfs show. pyfuse3.init encodes options as us-ascii, whatever the locale, before it calls libfuse.
. "$(dirname "$(readlink -f "$0")")/lib.sh"
need gcc gcc
need pkg-config pkg-config
[ -e /dev/fuse ] || { echo "needs /dev/fuse" >&2; exit 2; }
from_pypi pyfuse3==3.5.0
pkg-config --modversion fuse3

mkdir there
LC_ALL=C.UTF-8 "$PYTHON" - <<'PYTHON' | seen "backing: mounted
bäcking: UnicodeEncodeError"
import pyfuse3

for name in ("backing", "bäcking"):
    try:
        pyfuse3.init(pyfuse3.Operations(), "there", {f"fsname={name}"})
    except UnicodeEncodeError as error:
        print(f"{name}: {type(error).__name__}")
    else:
        print(f"{name}: mounted")
        pyfuse3.close(unmount=True)
PYTHON
