#!/bin/bash
# uv 0.13.9 (PyPI): --link-mode clone, where the filesystem has no clones, silently makes hard links into the cache.
# A clone may be changed without changing its source. With clone asked for, on tmpfs (or ext4), the installed files are the cache's own:
# nothing is said, the status is 0, and a line added to one is in what uv installs elsewhere from then on. Where it has to copy, because the
# cache lies on another filesystem, uv does warn.
. "$(dirname "$(readlink -f "$0")")/lib.sh"
[ "$(stat -f -c %T /dev/shm)" = tmpfs ] || { echo "needs a tmpfs at /dev/shm" >&2; exit 2; }
from_pypi uv==0.13.9
venv/bin/uv --version
uname -sr

THERE=$(mktemp -d /dev/shm/uv.XXXXXX)
trap 'rm -rf "$FOLDER" "$THERE"' EXIT
"$PYTHON" - <<'PYTHON'
import zipfile
with zipfile.ZipFile("thing-1-py3-none-any.whl", "w") as wheel:
    wheel.writestr("thing.py", "answer = 42\n")
    wheel.writestr("thing-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1\n")
    wheel.writestr("thing-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr("thing-1.dist-info/RECORD", "")
PYTHON
install() {
    status=0
    venv/bin/uv pip install --offline --python "$PYTHON" --cache-dir "$1" --link-mode clone \
        --target "$THERE/$2" ./thing-1-py3-none-any.whl 2>said.txt || status=$?
    echo "$2: status $status, warnings $(grep -c ^warning said.txt), links $(stat -c %h "$THERE/$2/thing.py")"
}
{
    install "$THERE/cache" one
    echo "answer = 43" >>"$THERE/one/thing.py"
    install "$THERE/cache" two
    cat "$THERE/two/thing.py"
    install "$FOLDER/cache" elsewhere
} | seen "one: status 0, warnings 0, links 2
two: status 0, warnings 0, links 3
answer = 42
answer = 43
elsewhere: status 0, warnings 1, links 1"
