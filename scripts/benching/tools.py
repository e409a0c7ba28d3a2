"""Finding, building and installing the programs that serve; what is not to be had says why."""

import shutil
import sys
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from benching.commands import BenchError, environment, run

EXAMPLES = Path("/usr/share/doc/libfuse3-dev/examples")
KEPT = Path(__file__).parents[2] / "build" / "bench"
"""What --install fetched and no package manager keeps."""

DEBIAN = ("mergerfs", "bindfs", "fuse-overlayfs")
PYFUSE3_EXAMPLE = KEPT / "passthroughfs.py"


@dataclass(frozen=True, slots=True)
class Tool:
    """A program that serves.

    Attributes:
        path: the program; empty where it is not to be had.
        version: as far as it is known.
        absent: why it is not to be had.
    """

    path: str
    version: str
    absent: str = ""


Tools = Mapping[str, Tool]


def find(scratch: Path, given: Mapping[str, Path]) -> Tools:
    """Every tool of peers.PEERS by name; passthrough_ll and passthrough_hp are compiled into `scratch`.

    Args:
        given: programs of the user's own, by name, in place of those found.

    Raises:
        BenchError: no peer has such a name.
    """
    found = _found(scratch)
    if unknown := given.keys() - found.keys():
        raise BenchError(f"no peer is called {', '.join(sorted(unknown))}", f"choose from {', '.join(found)}")
    return {**found, **{name: Tool(str(path), f"given: {path}") for name, path in given.items()}}


def _found(scratch: Path) -> dict[str, Tool]:
    libfuse = f"libfuse {run('pkg-config', '--modversion', 'fuse3').strip()}, its example, -O2"
    return {
        "": Tool("", ""),
        "fusecopy": _tool(str(Path(sys.executable).with_name("fusecopy")), _first_line("--version")),
        "passthrough_ll": _example(scratch, "passthrough_ll.c", ("gcc",), libfuse),
        "passthrough_hp": _example(scratch, "passthrough_hp.cc", ("g++", "-std=c++17"), libfuse),
        **{name: _tool(name, _packaged, "scripts/bench --install") for name in DEBIAN},
        "go-fuse": Tool("", "", "go-fuse's example/loopback, by --program go-fuse=PATH"),
        "pyfuse3": _pyfuse3(),
    }


def install() -> None:
    """Fetch the peers that Debian and the package index have, and matplotlib for the plots.

    Raises:
        BenchError: something could not be fetched.
    """
    run("apt-get", "update", "-qq")
    run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *DEBIAN)
    pip = (sys.executable, "-m", "pip", "-q", "--disable-pip-version-check")
    run(*pip, "install", "--editable", f"{KEPT.parents[1]}[bench]")
    shutil.rmtree(KEPT, ignore_errors=True)
    KEPT.mkdir(parents=True)
    wanted = f"pyfuse3=={_pyfuse3_version()}"  # its examples are in the source archive, not in the wheel
    run(*pip, "download", "--no-deps", "--no-binary", "pyfuse3", "--dest", KEPT, wanted)
    with tarfile.open(next(KEPT.glob("pyfuse3-*.tar.gz"))) as archive:
        found = next(name for name in archive.getnames() if name.endswith("/examples/passthroughfs.py"))
        content = archive.extractfile(found)
        assert content is not None
        PYFUSE3_EXAMPLE.write_bytes(content.read())


def _tool(name: str, version: Callable[[str], str], remedy: str = "") -> Tool:
    path = shutil.which(name, path=environment()["PATH"])
    return Tool(path, version(path)) if path else Tool("", "", f"not found: {remedy}")


def _packaged(path: str) -> str:
    return f"{_first_line('--version')(path)}, as packaged"


def _first_line(option: str) -> Callable[[str], str]:
    return lambda path: run(path, option, seconds=20).splitlines()[0]


def _example(scratch: Path, name: str, compiler: tuple[str, ...], version: str) -> Tool:
    """One of libfuse's examples, compiled; without the definition it would have no copy_file_range."""
    source, program = EXAMPLES / name, scratch / Path(name).stem
    if not source.exists():
        return Tool("", "", f"{source} does not exist")
    flags = run("pkg-config", "--cflags", "--libs", "fuse3").split()
    try:
        run(*compiler, "-O2", "-w", "-DHAVE_COPY_FILE_RANGE", source, "-o", program, *flags)
    except BenchError as error:
        return Tool("", "", f"{name} does not compile: {error.message.splitlines()[-1]}")
    return Tool(str(program), version)


def _pyfuse3() -> Tool:
    if not PYFUSE3_EXAMPLE.exists():
        return Tool("", "", "its example is not in the wheel: scripts/bench --install")
    return Tool(str(PYFUSE3_EXAMPLE), f"pyfuse3 {_pyfuse3_version()}")


def _pyfuse3_version() -> str:
    return metadata.version("pyfuse3")
