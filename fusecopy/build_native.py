"""Builds the native modules: fusecopy.PACKAGE._native from the C files of PACKAGE and their headers.

Structs and numbers come from the kernel's own headers. A header is read twice, by the compiler and by cffi,
which is told what Python uses of the system's by PACKAGE/foreign.cdef.
"""

import os
import re
import shlex
import subprocess
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).parent

FIRST = ("request", "shared", "sharing", "tree")
"""Headers that declare what others use."""

FLAGS = ["-O2", "-std=gnu11", "-Wall", "-Wextra", "-fvisibility=hidden"]
"""Nothing but what pyfuse3 is to find leaves a module: two of them may give one name to two functions."""

SANITIZE = [f"-fsanitize={kind}" for kind in os.environ.get("FUSECOPY_SANITIZE", "").split()]
"""For scripts/sanitize."""


def module(package: str, *others: str, shared: tuple[str, ...] = (), libraries: str = "") -> FFI:
    """A builder of one module.

    Args:
        others: further folders of it, whose headers hold what the package's include.
        shared: files of fusecopy/ itself.
        libraries: what pkg-config is to be asked for.
    """
    folders = [HERE / folder for folder in (*others, package)]
    files = [HERE / name for name in shared] + [
        path for folder in folders for path in folder.glob("[!_]*.[ch]")
    ]
    headers = sorted((path for path in files if path.suffix == ".h"), key=_order)
    system = [path for path in headers if path.stem in ("foreign", "fuse")]
    own = [path for path in headers if path not in system]
    builder = FFI()
    builder.cdef((HERE / package / "foreign.cdef").read_text())
    builder.cdef(declared([path for path in own if path.stem != "python"]))
    for path in own:
        if path.stem == "python":
            builder.cdef(f'extern "Python+C" {{ {declared([path])} }}')
    builder.set_source(
        f"fusecopy.{package}._native",
        "\n".join(f'#include "{path.relative_to(HERE)}"' for path in (*system, *own)),
        sources=sorted(_named(path) for path in files if path.suffix == ".c"),
        depends=[_named(path) for path in headers],
        include_dirs=[_named(folder) for folder in (HERE, *folders)],
        define_macros=[("_GNU_SOURCE", None)],
        extra_compile_args=[*(pkg_config("--cflags", libraries) if libraries else ()), *FLAGS, *SANITIZE],
        extra_link_args=[*(pkg_config("--libs", libraries) if libraries else ()), "-ldl", *SANITIZE],
    )
    return builder


def declared(headers: list[Path]) -> str:
    """What headers declare, without guards and includes: cffi knows no preprocessor but for constants."""
    text = "\n".join(path.read_text() for path in headers)
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    text = re.sub(r"^#define FUSECOPY_\w+_H$", "", text, flags=re.MULTILINE)
    text = re.sub(r"^#define (\w+) \((-?\d+)\)\s*$", r"#define \1 \2", text, flags=re.MULTILINE)
    return re.sub(r"^#(include|ifndef|endif).*$", "", text, flags=re.MULTILINE)


def pkg_config(argument: str, name: str) -> list[str]:
    """What pkg-config says of a library; a build without it ends with one clear line."""
    try:
        return shlex.split(subprocess.check_output(["pkg-config", argument, name], text=True))
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(
            "fusecopy needs pkg-config and the headers of libfuse 3 to build"
            " (Debian: apt install gcc pkg-config libfuse3-dev)"
        ) from error


def _order(path: Path) -> tuple[bool, str]:
    return path.stem not in FIRST, str(path)


def _named(path: Path) -> str:
    return str(path.relative_to(HERE.parent))


copying = module("copying")
filesystem = module("filesystem", shared=("become.c", "become.h"))
clone = module("clone", shared=("become.c", "become.h"))
PROOFS = ("copying/calls.c", "copying/calls.h", "copying/sharing.c", "copying/sharing.h")

native = module("native", "libfuse", shared=PROOFS, libraries="fuse3")
