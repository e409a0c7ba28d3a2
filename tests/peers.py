"""Other people's FUSE servers, where they are installed or can be built."""

import atexit
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

EXAMPLES = Path("/usr/share/doc/libfuse3-dev/examples")
"""Where Debian puts libfuse's examples as source."""


@cache
def passthrough_ll() -> Path | None:
    """libfuse's own example: installed, or built from Debian's copy of its source."""
    if found := shutil.which("passthrough_ll"):
        return Path(found)
    source = EXAMPLES / "passthrough_ll.c"
    if not source.exists() or not shutil.which("gcc"):
        return None
    directory = Path(tempfile.mkdtemp(prefix="fusecopy-test-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    flags = subprocess.check_output(["pkg-config", "--cflags", "--libs", "fuse3"], text=True).split()
    built = directory / "passthrough_ll"
    # Without the word it has no copies.
    done = subprocess.run(["gcc", "-O2", "-w", "-DHAVE_COPY_FILE_RANGE", source, *flags, "-o", built])
    return built if done.returncode == 0 else None
