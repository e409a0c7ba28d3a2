# Shared by the scripts of this folder: a temporary folder, pinned packages, and the comparison at the end.
set -eu

FOLDER=$(mktemp -d)
trap 'rm -rf "$FOLDER"' EXIT
cd "$FOLDER"

# need COMMAND PACKAGE...: a tool of the system that makes the input.
need() {
    command -v "$1" >/dev/null && return
    echo "$1 is needed here: apt-get install $2" >&2
    exit 2
}

# from_pypi NAME==VERSION...: in a virtual environment of the temporary folder; sets PYTHON.
from_pypi() {
    python3 -m venv venv
    PYTHON=$FOLDER/venv/bin/python
    "$PYTHON" -m pip install -qq --disable-pip-version-check "$@" 2>/dev/null
    printf 'PyPI: %s\n' "$*"
}

# from_npm NAME@VERSION...: in the temporary folder.
from_npm() {
    need npm npm
    npm install --silent --no-save --no-audit --no-fund "$@" >/dev/null
    printf 'npm: %s, node %s\n' "$*" "$(node --version)"
}

# bytes NUMBER SEED: so many bytes, none of them zero.
bytes() {
    python3 -c 'import sys; n, s = map(int, sys.argv[1:]); sys.stdout.buffer.write(bytes((i * 7 + s) % 251 + 1 for i in range(n)))' "$1" "$2"
}

# seen EXPECTED: compares what was seen (standard input) with what this script describes.
seen() {
    cat >saw.txt
    sed 's/^/  /' saw.txt
    printf '%s\n' "$1" >described.txt
    if cmp -s saw.txt described.txt; then
        echo "as described"
    else
        echo "changed; described was:" >&2
        sed 's/^/  /' described.txt >&2
        exit 1
    fi
}
