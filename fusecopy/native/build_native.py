"""Builds fusecopy.native._native: the C files here and in libfuse/, and what their headers declare."""

import re
import shlex
import subprocess
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).parent.parent
FOLDERS = ("libfuse", "native")

SOURCES = [
    path for folder in FOLDERS for path in sorted((HERE / folder).glob("*.c")) if path.stem != "_native"
]
HEADERS = [path for folder in FOLDERS for path in sorted((HERE / folder).glob("*.h")) if path.stem != "fuse"]
FIRST = ("request", "shared")
"""Headers that declare what others use."""


def declarations() -> str:
    """All headers as one declaration for cffi, which knows no preprocessor but for constants; and what Python
    reads of the system's."""
    foreign = (HERE / "native" / "foreign.cdef").read_text()
    headers = sorted(HEADERS, key=lambda path: (path.stem not in FIRST, path.stem))
    text = "\n".join(path.read_text() for path in headers if path.stem != "python")
    called = declared((HERE / "libfuse" / "python.h").read_text())
    return f'{foreign}\n{declared(text)}\nextern "Python+C" {{\n{called}\n}}\n'


def declared(header: str) -> str:
    """What a header declares, without its guards and includes."""
    text = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
    text = re.sub(r"^#define FUSECOPY_\w+_H$", "", text, flags=re.MULTILINE)
    text = re.sub(r"^#define (\w+) \((-?\d+)\)\s*$", r"#define \1 \2", text, flags=re.MULTILINE)
    return re.sub(r"^#(include|ifndef|endif).*$", "", text, flags=re.MULTILINE)


def pkg_config(*arguments: str) -> list[str]:
    """What pkg-config says of fuse3, as compiler arguments; a build without it ends with one clear line."""
    try:
        return shlex.split(subprocess.check_output(["pkg-config", *arguments, "fuse3"], text=True))
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(
            "fusecopy needs pkg-config and the headers of libfuse 3 to build"
            " (Debian: apt install gcc pkg-config libfuse3-dev)"
        ) from error


ffibuilder = FFI()
ffibuilder.cdef(declarations())
ffibuilder.set_source(
    "fusecopy.native._native",
    "\n".join(f'#include "{path.name}"' for path in [HERE / "libfuse" / "fuse.h", *HEADERS]),
    sources=[str(path.relative_to(HERE.parent)) for path in SOURCES],
    depends=[str(path.relative_to(HERE.parent)) for path in (*HEADERS, HERE / "libfuse" / "fuse.h")],
    include_dirs=[str((HERE / folder).relative_to(HERE.parent)) for folder in FOLDERS],
    define_macros=[("_GNU_SOURCE", None)],
    extra_compile_args=[*pkg_config("--cflags"), "-O2", "-Wall", "-Wextra"],
    extra_link_args=[*pkg_config("--libs"), "-ldl"],
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)
