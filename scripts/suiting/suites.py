"""How each suite is run on a mount, and what its output says of each test."""

import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benching.commands import run
from benching.place import mounted
from suiting import sources
from suiting.place import Place, unmount
from suiting.results import Outcome, Result
from suiting.running import said

HOUR = 3600


class Suite(NamedTuple):
    """A suite.

    Attributes:
        source: where it comes from; None for one that the system installs.
        run: runs it on a place, from its directory; the names of tests are optional.
    """

    source: sources.Source | None
    run: Callable[[Path, Place, Sequence[str]], list[Result]]


# ---- pjdfstest -------------------------------------------------------------------------------------------

_NOT_OK = re.compile(r"^not ok (\d+)\b(?! *# TODO)(.*)$", re.MULTILINE)
_OK = re.compile(r"^ok (\d+)", re.MULTILINE)


def pjdfstest(suite: Path, place: Place, names: Sequence[str]) -> list[Result]:
    """Every file of tests on the mount; what fails there on the backing, too."""
    found = []
    for file in sorted((suite / "tests").glob("*/*.t")):
        test = str(file.relative_to(suite / "tests"))
        if names and not any(test.startswith(name) for name in names):
            continue
        text = _pjd(file, place.mount)
        on_backing = (
            {number for number, _ in _NOT_OK.findall(_pjd(file, place.backing))}
            if _NOT_OK.search(text)
            else set()
        )
        for number, words in _NOT_OK.findall(text):
            where = "so does the backing: " if number in on_backing else ""
            found.append(
                Result(
                    f"{test}:{number}", "fail", where + re.sub(r"pjdfstest_\w{20,}", "...", words.strip(" -"))
                )
            )
        found += [Result(f"{test}:{number}", "pass") for number in _OK.findall(text)]
    return found


def _pjd(file: Path, top: Path) -> str:
    where = top / "pjdfstest"
    where.mkdir(exist_ok=True)
    return said(["sh", file], where, 600)


# ---- xfstests --------------------------------------------------------------------------------------------

GROUPS = (
    "copy_range",
    "rename",
    "locks",
    "seek",
    "attr",
    "atime",
    "perms",
    "dedupe",
    "punch",
    "zero",
    "prealloc",
    "collapse",
    "insert",
    "fiemap",
    "clone",
)
"""In this order, so that who has little time has the most of it."""

OPTIONS = "-o allow_other,dev,suid"
SBIN = Path("/sbin").resolve()
HELPER = "mount.fuse.fusecopy"
"""What mount(8) runs for `mount -t fuse.fusecopy`, as the suite does."""

UMOUNT = """#!/bin/sh
for word; do
    shift
    case $word in
    "$TEST_DEV") word=$TEST_DIR ;;
    "$SCRATCH_DEV") word=$SCRATCH_MNT ;;
    esac
    set -- "$@" "$word"
done
exec /bin/umount "$@"
"""
_XFS = re.compile(r"^(generic/\d+)[ \t]+(.*)$", re.MULTILINE)


def xfstests(suite: Path, place: Place, names: Sequence[str]) -> list[Result]:
    """Its quick generic tests of the groups above, with both its directories served from the filesystem."""
    tests = list(names) or _quick(suite)
    top = place.root.parent
    around = {"FSTYP": "fuse", "FUSE_SUBTYP": ".fusecopy", "HOST_OPTIONS": "/nonexistent"}
    around |= {"MOUNT_OPTIONS": OPTIONS, "TEST_FS_MOUNT_OPTS": OPTIONS}
    around |= {"TEST_DEV": str(place.root / "test"), "SCRATCH_DEV": str(place.root / "scratch")}
    around |= {"TEST_DIR": str(top / "test"), "SCRATCH_MNT": str(top / "scratch")}
    around |= {"RESULT_BASE": str(top / "results"), "PATH": f"{top}:{os.environ['PATH']}"}
    for name in ("test", "scratch"):
        (top / name).mkdir()
        (place.root / name).mkdir()
    try:
        with _helpers(top):
            text = said(["./check", "--exact-order", *tests], suite, 3 * HOUR, around)
    finally:
        for name in ("test", "scratch"):
            unmount(top / name)
            (top / name).rmdir()
    return [of_check(test, words, suite, top / "results") for test, words in _XFS.findall(text)]


def _quick(suite: Path) -> list[str]:
    begin = re.compile(r"^_begin_fstest (.*)$", re.MULTILINE)
    found = []
    for file in sorted((suite / "tests" / "generic").glob("[0-9][0-9][0-9]")):
        groups = set(" ".join(begin.findall(file.read_text())).split())
        if "quick" in groups and groups.intersection(GROUPS):
            found.append(
                (min(at for at, group in enumerate(GROUPS) if group in groups), f"generic/{file.name}")
            )
    return [name for _, name in sorted(found)]


@contextmanager
def _helpers(top: Path) -> Iterator[None]:
    """What mount(8) is to run, in a layer over its directory that nobody else sees; and an umount that takes
    a mount's source for it although that is a directory: the suite knows sources that are block devices."""
    for name in ("upper", "work"):
        (top / name).mkdir()
    program = run("sh", "-c", "command -v mount.fusecopy").strip()
    scripts = {top / "umount": UMOUNT, top / "upper" / HELPER: f'#!/bin/sh\nexec {program} "$@" >/dev/null\n'}
    for script, text in scripts.items():
        script.write_text(text)
        script.chmod(0o755)
    layers = f"lowerdir={SBIN},upperdir={top / 'upper'},workdir={top / 'work'}"
    with mounted(SBIN, "-t", "overlay", "-o", layers, "fusecopy-suites"):
        yield


def of_check(test: str, words: str, suite: Path, results: Path) -> Result:
    """What check says of a test: a time, [not run] and why, or that it failed."""
    words = re.sub(rf"{re.escape(str(results.parent))}/(\w+/)*", "", words)
    if re.fullmatch(r"[\d.s ]*", words):
        return Result(test, "pass")
    if "[not run]" in words:
        return Result(test, "skip", words.partition("[not run]")[2].strip())
    right, seen = (
        (folder / f"{test}.out{end}") for folder, end in ((suite / "tests", ""), (results, ".bad"))
    )
    differ = []
    if seen.exists():
        known, got = (file.read_text(errors="replace").splitlines()[1:] for file in (right, seen))
        differ = [f"+{line}" for line in got if line not in known] or [
            f"-{line}" for line in known if line not in got
        ]
    words = re.sub(r" \(see .*\)", "", words).strip(" -")
    return Result(test, "fail", " | ".join([words, *differ[:2]]).replace("\t", " ")[:200])


# ---- fsx and fsstress, of xfstests -----------------------------------------------------------------------

SEEDS = (1, 2, 3)


def fsx(suite: Path, place: Place, _names: Sequence[str]) -> list[Result]:
    """Random operations on one file, its contents compared after each; with mapped pages and without."""
    found = []
    for seed in SEEDS:
        for options in ((), ("-R", "-W")):
            name = f"fsx -S {seed} {' '.join(options)}".strip()
            command: list[str | Path] = [
                suite / "ltp" / "fsx",
                "-q",
                "-N",
                "5000",
                "-S",
                str(seed),
                *options,
                place.mount / "fsx",
            ]
            found.append(_by_status(name, said(command, place.mount, HOUR)))
    return found


def fsstress(suite: Path, place: Place, _names: Sequence[str]) -> list[Result]:
    """Random operations of four processes on a tree; then mount and backing must have the same."""
    found = []
    for seed in SEEDS:
        top = place.mount / f"stress{seed}"
        top.mkdir()
        command: list[str | Path] = [
            suite / "ltp" / "fsstress",
            "-d",
            top,
            "-n",
            "1000",
            "-p",
            "4",
            "-s",
            str(seed),
        ]
        found.append(_by_status(f"fsstress -s {seed}", said(command, place.mount, HOUR)))
        compared = said(["diff", "-r", "--no-dereference", top, place.backing / top.name], place.mount, HOUR)
        found.append(_by_status(f"fsstress -s {seed}, compared", _without_special(compared)))
    return found


def _without_special(text: str) -> str:
    """diff's words, without what it says of fifos and devices that it cannot compare."""
    left = [line for line in text.splitlines() if not re.match(r"File .* is a (fifo|character|block)", line)]
    same = not [line for line in left if line and not line.startswith("status")]
    return "status 0\n" if same else "\n".join(left)


def _by_status(test: str, text: str) -> Result:
    lines = [line for line in text.splitlines() if line.strip()]
    if lines[-1] == "status 0":
        return Result(test, "pass")
    return Result(test, "fail", " | ".join(lines[-3:]).replace("\t", " ")[:200])


# ---- stress-ng -------------------------------------------------------------------------------------------

STRESSORS = """
access chdir chmod chown copy-file dentry dir dirdeep dirmany dup fallocate fanotify fiemap
file-ioctl filename flock getdent handle hdd inode-flags inotify io iomix lease link locka lockf
lockofd mknod open rename seek sendfile splice symlink sync-file touch utime verity
xattr
"""


def stress_ng(_suite: Path, place: Place, names: Sequence[str]) -> list[Result]:
    """Its stressors of files, a few seconds each, with their results verified."""
    found = []
    for name in names or STRESSORS.split():
        command: list[str | Path] = [
            "stress-ng",
            f"--{name}",
            "2",
            "-t",
            "3s",
            "--verify",
            "--temp-path",
            place.mount,
        ]
        text = said(command, place.mount, 120)
        words = [line.partition("]")[2] for line in text.splitlines() if re.search("fail:|skipping", line)]
        outcome: Outcome = "skip" if "skipping" in text else "pass" if "\nstatus 0\n" in text else "fail"
        why = " ".join(words[0].split()) if words and outcome != "pass" else ""
        found.append(Result(name, outcome, re.sub(r"^stress-ng-\S+: ", "", why)[:200]))
    return found


# ---- libfuse's system calls ------------------------------------------------------------------------------

_STARTED = re.compile(r"^\+.* \[(.*)\] START$", re.MULTILINE)


def libfuse(suite: Path, place: Place, _names: Sequence[str]) -> list[Result]:
    """Its test of system calls, as root and as nobody, which looks at mount and backing after each."""
    found = []
    for user in ("root", "nobody"):
        where = place.mount / user
        where.mkdir()
        shutil.chown(where, user)
        command: list[str | Path] = [
            "setpriv",
            f"--reuid={user}",
            suite / "test_syscalls",
            where,
            f":{place.backing / user}",
            "-u",
        ]
        text = said(command, where, 600)
        names = dict.fromkeys(name for name in _STARTED.findall(text) if not name.startswith("check_"))
        found += [_of_system_call(name, user, text) for name in names]
    return found


def _of_system_call(name: str, user: str, text: str) -> Result:
    """It ends with OK, or says SKIP, or what was wrong."""
    test = f"{name} as {user}"
    if re.search(rf" \[{re.escape(name)}\] OK$", text, re.MULTILINE):
        return Result(test, "pass")
    words = re.search(rf"^(?!\+).* \[{re.escape(name)}\] (.*)$", text, re.MULTILINE)
    why = words[1] if words else "did not end"
    return Result(test, "skip" if why == "SKIP" else "fail", why)


SUITES = {
    "pjdfstest": Suite(sources.PJDFSTEST, pjdfstest),
    "xfstests": Suite(sources.XFSTESTS, xfstests),
    "fsx": Suite(sources.XFSTESTS, fsx),
    "fsstress": Suite(sources.XFSTESTS, fsstress),
    "stress-ng": Suite(None, stress_ng),
    "libfuse": Suite(sources.LIBFUSE, libfuse),
}
