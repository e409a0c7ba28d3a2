"""Compile the native modules for another machine, in a copy of the tree: cross.py MACHINE ROOT."""

import subprocess
import sys
from pathlib import Path

from fusecopy import build_native

PACKAGES = ("clone", "copying", "filesystem", "native")


def main(machine: str, root: Path) -> None:
    tree = root / "srv"
    compiler = [f"{machine}-linux-gnu-gcc", f"--sysroot={root}", "-shared", "-fPIC", "-DPy_LIMITED_API"]
    python = next((root / "usr/include").glob("python3.*"))
    for package in PACKAGES:
        builder = getattr(build_native, package)
        _, _, _, keywords = builder._assigned_source
        generated = tree / "fusecopy" / package / "_native.c"
        builder.emit_c_code(str(generated))
        subprocess.run(
            [
                *compiler,
                *(f"-I{tree / folder}" for folder in keywords["include_dirs"]),
                *(flag for flag in keywords["extra_compile_args"] if not flag.startswith("-I")),
                "-Wno-zero-length-bounds",  # a file handle of the kernel's headers
                "-D_GNU_SOURCE",
                f"-I{python}",
                f"-I{root}/usr/include/fuse3",
                str(generated),
                *(str(tree / source) for source in keywords["sources"]),
                "-o",
                str(generated.with_name("_native.abi3.so")),
                *keywords["extra_link_args"],
            ],
            check=True,
        )


main(sys.argv[1], Path(sys.argv[2]))
