"""Each fault of the catalogue, met by programs that people copy with: they survive it, or fail clearly.

The table is printed (pytest -s, or -rP). A wrong count may fool a program; then cmp, run after it, fails
clearly.
"""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from fusecopy.faults.catalogue import FAULTS, SystemCall
from tests.conftest import require
from tests.mounted import FUSECOPY

pytestmark = [pytest.mark.root, pytest.mark.loop]

SECONDS = 60
SIZE = (4 << 20) + 777

PROGRAMS = {
    "cp": "cp a b",
    "rsync": "rsync a b",
    "python": '/usr/bin/python3 -c \'import shutil; shutil.copyfile("a", "b")\'',
    "git": "git clone -q --no-hardlinks repo clone && mv clone/a b",
}
"""What each makes of the file a is b."""

ASKS = {SystemCall.COPY_FILE_RANGE: "cp", SystemCall.FICLONE: "cp", SystemCall.SENDFILE: "python"}
"""Which program asks by which call (Python before 3.14)."""

RULES = {"nfs-copy-hangs": "nfs-copy-hangs,seconds=1", "zero-after-16m": "zero-after-16m,after=1M"}
"""How the faults are asked for here, where not by their names alone."""

EVERY_DAY = ("cifs-eio", "nfsd-short-4m", "zero-after-16m", "ficlone-einval", "lustre-enodata")

FOOLED = {"zero-after-16m"}
"""Faults that programs take for the source's end, after some progress."""


@pytest.fixture(autouse=True)
def _notifications() -> None:
    require("seccomp")


@pytest.fixture(scope="module")
def places(btrfs: Path, ext4: Path) -> dict[SystemCall, Path]:
    """Where programs come to make which call: cp makes no other after a FICLONE that did."""
    script = (
        f"head -c {SIZE} /dev/urandom >a && git init -q repo && cp a repo && cd repo && git add a && "
        "git -c user.name=n -c user.email=e@x commit -qm m"
    )
    for directory in (btrfs / "faults", ext4 / "faults"):
        directory.mkdir()
        subprocess.run(["sh", "-ec", script], cwd=directory, check=True, timeout=SECONDS)
    return {call: (btrfs if call is SystemCall.FICLONE else ext4) / "faults" for call in SystemCall}


@pytest.fixture
def place(places: dict[SystemCall, Path]) -> Path:
    return places[SystemCall.COPY_FILE_RANGE]


def _param(name: str) -> object:
    """One of each effect and call is enough for every day."""
    return pytest.param(name, marks=() if name in EVERY_DAY else pytest.mark.slow)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _met(done: "subprocess.CompletedProcess[str]") -> str:
    """How many calls were struck, as told."""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("fusecopy: fault")]
    return line.split(": ")[2]


def _run(place: Path, rule: str, script: str) -> "subprocess.CompletedProcess[str]":
    subprocess.run(["rm", "-rf", "b", "clone"], cwd=place, check=True)
    return subprocess.run(
        [FUSECOPY, "run", "--fault", rule, "--", "sh", "-c", script],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


@pytest.mark.parametrize("name", [_param(name) for name in FAULTS if name != "count-32bit"])
def test_a_known_program_survives_or_fails_clearly(places: dict[SystemCall, Path], name: str) -> None:
    program = ASKS[FAULTS[name].call]
    fault = FAULTS[name]
    place = places[fault.call]
    before = _digest(place / "a")
    done = _run(place, RULES.get(name, name), f"{PROGRAMS[program]}; status=$?; cmp a b >&2; exit $status")
    equal = (place / "b").exists() and _digest(place / "b") == before
    words = [line for line in done.stderr.splitlines() if "fusecopy: fault" not in line]
    came = "equal" if equal else "not equal"
    print(f"{name:23}{program:9}{done.returncode:3} {came:10}{_met(done)}")
    assert _digest(place / "a") == before, "a source was touched"
    assert int(_met(done).split()[0]) > 0, done.stderr
    if done.returncode:
        assert any("'b'" in line for line in words), words
    elif equal:
        assert not words
    else:
        assert name in FOOLED
        assert any(line.startswith("cmp: EOF on b after byte") for line in words), words


@pytest.mark.parametrize("program", ["rsync", "git"])
def test_a_program_that_never_asks_meets_nothing(place: Path, program: str) -> None:
    done = _run(place, "cifs-eio", f"{PROGRAMS[program]} && cmp a b")
    assert done.returncode == 0, done.stderr
    assert _met(done).startswith("0 of 0 calls")


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("ecryptfs-einval", 0),
        ("mounts-exdev", 0),
        ("cifs-eio", 1),
        ("nfsd-short-4m", 0),
        ("procfs-zero", 0),
    ],
)
def test_what_cp_is_known_to_do(place: Path, name: str, status: int) -> None:
    """The same with all coreutils from 9.1 on."""
    assert _run(place, name, "cp a b").returncode == status


def test_the_count_of_4_gib(places: dict[SystemCall, Path]) -> None:
    """Told as 0, which a program takes for the end, although all of it was copied."""
    place = places[SystemCall.FICLONE]
    script = (
        "import os; a = os.open('big', os.O_RDONLY); b = os.open('b', os.O_WRONLY | os.O_CREAT);"
        "print(os.copy_file_range(a, b, 1 << 32), os.lseek(a, 0, 1), os.fstat(b).st_size)"
    )
    with (place / "big").open("wb") as file:
        file.truncate((1 << 32) + 4096)
    done = _run(place, "count-32bit", f'/usr/bin/python3 -c "{script}"')
    assert done.stdout == f"0 {1 << 32} {1 << 32}\n", done


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("program=cp", "4 of 4 calls"),
        ("program=mv", "0 of 0 calls"),
        ("path=c2", "1 of 1 call "),
        ("path=*/c?", "4 of 4 calls"),
        ("every=2", "2 of 4 calls"),
        ("call=3", "1 of 4 calls"),
    ],
)
def test_which_calls_are_struck(places: dict[SystemCall, Path], words: str, told: str) -> None:
    script = "for n in 1 2 3 4; do cp a c$n && cmp a c$n || exit 1; done"
    done = _run(places[SystemCall.FICLONE], f"ficlone-einval,{words}", script)
    assert done.returncode == 0, done.stderr
    assert f"{_met(done)} ".startswith(told), done.stderr


def test_offsets_move_as_the_kernel_moves_them(place: Path) -> None:
    """Of the open files, where the call is given none; in memory, where it is."""
    script = (
        "import os; a = os.open('a', os.O_RDONLY); b = os.open('b', os.O_RDWR | os.O_CREAT);"
        "n = os.copy_file_range(a, b, 8 << 20);"
        "assert (n, os.lseek(a, 0, 1), os.lseek(b, 0, 1)) == (4 << 20,) * 3;"
        "n = os.copy_file_range(a, b, 8 << 20, 5, 3);"
        "assert (n, os.lseek(a, 0, 1), os.lseek(b, 0, 1)) == (4 << 20,) * 3;"
        "assert os.pread(b, 100, 3) == os.pread(a, 100, 5);"
        "n = os.sendfile(b, a, 0, 100);"
        "assert n == 100"
    )
    done = _run(place, "nfsd-short-4m", f'/usr/bin/python3 -c "{script}"')
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "rule",
    [
        "",
        "no-such-fault",
        "ecryptfs-einval,every=0",
        "ecryptfs-einval,every=x",
        "ecryptfs-einval,color=red",
        "ecryptfs-einval,seconds=3",
        "ecryptfs-einval,after=some",
        "ficlone-einval,after=1M",
    ],
)
def test_rules_without_meaning(place: Path, rule: str) -> None:
    done = _run(place, rule, "cp a b")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
    assert not (place / "b").exists()


def test_faults_do_not_go_with_another_supervisor(place: Path) -> None:
    done = _run(place, "ecryptfs-einval", f"{FUSECOPY} run --fault cifs-eio -- cp a b")
    assert (done.returncode, "another supervisor" in done.stderr) == (1, True), done.stderr
    assert not os.path.exists(place / "b")
