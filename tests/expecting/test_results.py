"""As root it is known what calls returned; and that holds for programs of every making."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import require
from tests.expecting.running import expect
from tests.tracepoints import tracefs_mounted

pytestmark = [pytest.mark.root, pytest.mark.loop]

SIZE = 3_000_000

ONE_CALL = """
import ctypes, os, sys
a, b = os.open("a", os.O_RDONLY), os.open("b", os.O_RDWR | os.O_CREAT)
libc = ctypes.CDLL(None)
flags = int(sys.argv[1])
count = libc.copy_file_range(a, None, b, None, ctypes.c_size_t(3_000_000), flags)
if count < 0:
    os.write(b, os.read(a, 3_000_000))
"""
"""One copy_file_range and no more; with a flag it is refused, and the program goes on by itself."""


@pytest.fixture
def place(ext4: Path, tmp_path: Path) -> Iterator[Path]:
    """Where nothing is shared, so that the extents do not tell which call it was."""
    directory = ext4 / tmp_path.name
    directory.mkdir()
    (directory / "a").write_bytes(os.urandom(SIZE))
    (directory / "one.py").write_text(ONE_CALL)
    with tracefs_mounted():
        require("tracefs")
        yield directory
    shutil.rmtree(directory)


@pytest.mark.parametrize(
    ("flags", "trace", "made_by", "status"),
    [
        ("0", (), "copy_file_range", 0),
        ("1", (), "read/write", 24),
        ("0", ("--no-trace",), None, 24),
        ("1", ("--no-trace",), None, 24),
    ],
)
def test_which_call_made_a_copy(
    place: Path, flags: str, trace: tuple[str, ...], made_by: str | None, status: int
) -> None:
    found = expect("/usr/bin/python3", "one.py", flags, cwd=place, expected=["offload", *trace])
    copy = found.of("b")
    assert (copy["made_by"], copy["asked"], copy["state"]) == (made_by, ["copy_file_range"], "rewritten")
    assert found.status == status


def test_many_processes(place: Path) -> None:
    script = "for n in 1 2 3 4 5 6 7 8; do /usr/bin/python3 one.py 0 & done; wait"
    found = expect("sh", "-c", script, cwd=place, expected=["offload"])
    assert {copy["made_by"] for copy in found.copies} == {"copy_file_range"}


SOURCES = {
    "c": (
        "copy.c",
        "#define _GNU_SOURCE\n#include <fcntl.h>\n#include <unistd.h>\nint main(void) { int a = open(\"a\","
        " O_RDONLY), b = open(\"b\", O_RDWR | O_CREAT, 0600); return copy_file_range(a, 0, b, 0, 3000000, 0)"
        " != 3000000; }\n",
        ["gcc", "-static", "copy.c", "-o", "copy"],
        ["./copy"],
    ),
    "go": (
        "copy.go",
        "package main\nimport (\"io\"; \"os\")\nfunc main() { a, _ := os.Open(\"a\");"
        " b, _ := os.Create(\"b\");"
        " if n, err := io.Copy(b, a); n != 3000000 || err != nil { os.Exit(1) } }\n",
        ["go", "build", "-o", "copy", "copy.go"],
        ["./copy"],
    ),
    "rustc": (
        "copy.rs",
        "fn main() { assert_eq!(std::fs::copy(\"a\", \"b\").unwrap(), 3000000); }\n",
        ["rustc", "copy.rs", "-o", "copy"],
        ["./copy"],
    ),
    "java": (
        "Copy.java",
        "import java.nio.file.*;\nclass Copy { public static void main(String[] x) throws Exception {"
        " Files.copy(Path.of(\"a\"), Path.of(\"b\")); } }\n",
        ["javac", "Copy.java"],
        ["java", "Copy"],
    ),
    "node": (
        "copy.js",
        "require(\"fs\").copyFileSync(\"a\", \"b\");\n",
        ["true"],
        ["node", "copy.js"],
    ),
}  # fmt: skip
"""By the program that makes them: a file, how it is built, how it is run."""


@pytest.mark.slow
@pytest.mark.parametrize("maker", SOURCES)
def test_programs_of_every_making(place: Path, maker: str) -> None:
    name, text, build, run = SOURCES[maker]
    if not shutil.which("gcc" if maker == "c" else maker):
        pytest.skip(f"missing here: {maker}")
    (place / name).write_text(text)
    environment = {**os.environ, "GOCACHE": str(place / "cache"), "HOME": str(place)}
    if maker == "rustc":
        environment["HOME"] = os.environ["HOME"]
    subprocess.run(build, cwd=place, env=environment, check=True, timeout=300)
    found = expect(*run, cwd=place, expected=["no-fallback"])
    copy = found.of("b")
    print(maker, copy["program"], copy["asked"], copy["made_by"], copy["state"])
    assert copy["size"] == SIZE
    assert copy["made_by"] in ("copy_file_range", "sendfile", "read/write")
    assert (copy["made_by"] in copy["asked"]) == (copy["made_by"] != "read/write")
