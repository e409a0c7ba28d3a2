"""What is measured: each workload as data, over a backing with this in it.

big         what is copied whole             files/    directories of a hundred small files each
middle      what is read, written, moved     library/  Python's own library
out/        empty; results go here               library.tar  the same
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benching.commands import answer
from benching.settings import CLIENTS, FILES_A_DIRECTORY, KIB, MIB, Sizes

PAUSE_SECONDS = 0.002
CLIENT_RANGES = 50
COPIERS = (1, 4, 16)

REPOSITORY = (
    "git init -q out/repository && cd out/repository && cp -r ../../library . && git add -A"
    " && git -c user.name=x -c user.email=x@example.org commit -qm whole && git rm -rq library"
    " && git -c user.name=x -c user.email=x@example.org commit -qm empty"
)
"""A repository whose newest commit is empty and whose commit before has the library."""

OBJECTS = 24
PROGRAM = (
    "mkdir out/program && cd out/program"
    f" && for n in $(seq {OBJECTS}); do echo '#include <stdio.h>' >$n.c;"
    ' echo "int f$n(void) { return printf(\\"$n\\"); }" >>$n.c; done'
    f" && echo 'all: $(patsubst %,%.o,$(shell seq {OBJECTS}))' >Makefile"
)
"""Small C files and a Makefile that has them compiled."""

Argument = str | int | float | Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Job:
    """A function of client.py and its arguments; paths are relative to the mount."""

    name: str
    arguments: Mapping[str, Argument]


@dataclass(frozen=True, slots=True)
class Same:
    """What must be equal afterwards on the backing: two files, their first `length` bytes, or two trees."""

    source: str
    result: str
    length: int = 0

    def problem(self, backing: Path) -> str:
        """What differs; empty where nothing does."""
        source, result = backing / self.source, backing / self.result
        if source.is_dir():
            # fuse-overlayfs marks directories that it makes by files of that name.
            return answer("diff", "-rq", "--no-dereference", "-x", ".wh.*", str(source), str(result))
        limit = ("-n", str(self.length)) if self.length else ()
        differs = answer("cmp", *limit, str(source), str(result))
        if not differs and self.length and result.stat().st_size != self.length:
            return f"{self.result} has {result.stat().st_size} bytes instead of {self.length}"
        return differs


@dataclass(frozen=True, slots=True)
class Workload:
    """One thing that is measured.

    Attributes:
        name: for the command line.
        title: for people.
        job: what the client does.
        native: what it does on the backing itself, where that differs.
        prepare: a command run on the backing before, unmeasured.
        same: what must be equal afterwards.
        gone: what must not be there afterwards.
        count: what the job must have counted.
        units: the files or calls it consists of; requests are told for each.
        cold: the kernel's caches are dropped before.
        fallback: how peers without an offload copy, and fusecopy when it declines.
        clones: by fusecopy's own command, which peers do not have; only where there are reflinks.
    """

    name: str
    title: str
    job: Job
    native: Job | None = None
    prepare: tuple[str, ...] = ()
    same: tuple[Same, ...] = ()
    gone: str = ""
    count: int = 0
    units: int = 1
    cold: bool = False
    fallback: bool = False
    clones: bool = False


@dataclass(frozen=True, slots=True)
class Contents:
    """What was laid out on the backing.

    Attributes:
        directories: of files/, by name.
        files: number of files in files/.
        library: number of files in library/.
    """

    directories: list[str]
    files: int
    library: int


@dataclass(frozen=True, slots=True)
class Ranges:
    """Single calls of one length."""

    name: str
    words: str
    length: int
    count: int
    pause: float = 0.0
    fallback: bool = False

    def workload(self) -> Workload:
        """As a workload; each call has a range of its own, because XFS does a repeated one for nothing."""
        total = self.length * self.count
        arguments: dict[str, Argument] = {
            "source": "big",
            "result": "out/big",
            "length": self.length,
            "count": self.count,
            "pause": self.pause,
        }
        return Workload(
            self.name,
            self.words,
            Job("copies", arguments),
            same=(Same("big", "out/big", total),),
            units=self.count,
            fallback=self.fallback,
        )


def workloads(sizes: Sizes, contents: Contents) -> list[Workload]:
    """All workloads, in the order in which they are run and told."""
    return [
        *_single_copies(sizes),
        *_trees(contents),
        *_walks(contents),
        *_streams(sizes),
        *_small_files(sizes, contents),
        *_programs(contents),
        *_copiers(sizes),
        _ten_clients(contents),
    ]


def in_words(size: int) -> str:
    """A power of 1024 as people write it."""
    for unit, name in ((1 << 30, "GiB"), (MIB, "MiB")):
        if size >= unit:
            return f"{size // unit} {name}"
    return f"{size // KIB} KiB"


def _single_copies(sizes: Sizes) -> list[Workload]:
    big, some = in_words(sizes.big), max(1, sizes.calls // 8)
    call = "one copy_file_range of"
    pause = f"{PAUSE_SECONDS * 1000:.0f} ms apart"
    ranges = [
        Ranges("call-big", f"{call} {big}", sizes.big, 1),
        Ranges("call-1m", f"{call} 1 MiB, {some} in turn", MIB, some),
        Ranges("call-64k", f"{call} 64 KiB, {sizes.calls} in turn", 64 * KIB, sizes.calls),
        Ranges("call-64k-paused", f"{call} 64 KiB, {pause}", 64 * KIB, sizes.paused, PAUSE_SECONDS),
        Ranges("declined", f"{call} {in_words(sizes.middle)} that is declined", sizes.middle, 1,
               fallback=True),
    ]  # fmt: skip
    whole = Workload("cp-big", f"cp of {big}", _run("cp", "big", "out/big"), same=(Same("big", "out/big"),))
    return [whole, *(one.workload() for one in ranges)]


def _trees(contents: Contents) -> list[Workload]:
    few = [f"files/{name}" for name in contents.directories[:5]]
    first, second = (f"{few[0]}/{number:03}" for number in range(2))
    one = Job("programs", {"warm": [["cp", first, "out/warm"]], "commands": [["cp", second, "out/one"]]})
    whole = {"files": contents.files, "library": contents.library}
    return [
        Workload("cp-one", "cp of one small file", one, same=(Same(second, "out/one"),)),
        Workload(
            "cp-few",
            f"cp -r of {len(few) * FILES_A_DIRECTORY} small files",
            _run("cp", "-r", *few, "out"),
            same=tuple(Same(name, f"out/{Path(name).name}") for name in few),
            units=len(few) * FILES_A_DIRECTORY,
        ),
        *(_copied(tree, number) for tree, number in whole.items()),
        *(_cloned(tree, number) for tree, number in whole.items()),
        Workload(
            "rm",
            f"rm -r of {contents.files} small files",
            _run("rm", "-r", "out/files"),
            prepare=("cp", "-r", "files", "out"),
            gone="out/files",
            units=contents.files,
        ),
    ]


def _copied(tree: str, number: int) -> Workload:
    return Workload(
        f"cp-{tree}",
        f"cp -r of {_tree_words(tree, number)}",
        _run("cp", "-r", tree, "out"),
        same=(Same(tree, f"out/{tree}"),),
        units=number,
    )


def _cloned(tree: str, number: int) -> Workload:
    return Workload(
        f"clone-{tree}",
        f"fusecopy clone -r of {_tree_words(tree, number)}; native: cp -a --reflink=always",
        _run("fusecopy", "clone", "-q", "-r", tree, f"out/{tree}"),
        native=_run("cp", "-a", "--reflink=always", tree, f"out/{tree}"),
        same=(Same(tree, f"out/{tree}"),),
        units=number,
        clones=True,
    )


def _tree_words(tree: str, number: int) -> str:
    return f"{number} small files" if tree == "files" else f"Python's library, {number} files"


def _walks(contents: Contents) -> list[Workload]:
    def one(kind: str, cold: bool) -> Workload:
        return Workload(
            f"walk-{kind}",
            f"stat of {contents.files} files, {kind}",
            Job("walk", {"path": "files", "warm": not cold}),
            count=contents.files,
            units=contents.files,
            cold=cold,
        )

    return [one("cold", True), one("warm", False)]


def _streams(sizes: Sizes) -> list[Workload]:
    size, words = sizes.middle, in_words(sizes.middle)

    def reading(name: str, state: str, warm: bool = False, cold: bool = False) -> Workload:
        job = Job("read", {"path": "middle", "warm": warm})
        return Workload(name, f"read of {words}, {state}", job, count=size, cold=cold)

    def writing(name: str, state: str, warm: bool) -> Workload:
        job = Job("write", {"path": "out/new", "length": size, "warm": warm})
        return Workload(name, f"write of {words}, {state}", job, cold=not warm)

    chosen = Job("random_reads", {"path": "middle", "count": sizes.reads})
    return [
        reading("read-cold", "nothing cached", cold=True),
        reading("read-fresh", "cached by the backing, not by the mount"),
        reading("read-warm", "for the second time", warm=True),
        writing("write-cold", "a new file, nothing cached", warm=False),
        writing("write-warm", "over what was just written", warm=True),
        Workload("random", "random read of 4 KiB", chosen, count=sizes.reads * 4096, units=sizes.reads),
    ]


def _small_files(sizes: Sizes, contents: Contents) -> list[Workload]:
    opened = min(sizes.files, contents.files)
    return [
        Workload(
            "create",
            f"create, 12 bytes, close: {sizes.files} files in turn",
            Job("create", {"directory": "out/created", "count": sizes.files}),
            units=sizes.files,
        ),
        Workload(
            "open",
            f"open, read, close: {opened} files in turn",
            Job("open_read", {"path": "files", "count": opened}),
            count=opened,
            units=opened,
        ),
        Workload(
            "database",
            f"SQLite, {sizes.transactions} transactions",
            Job("database", {"path": "out/database", "transactions": sizes.transactions}),
            count=sizes.transactions,
            units=sizes.transactions,
        ),
    ]


def _copiers(sizes: Sizes) -> list[Workload]:
    """As many copies together as one client makes by itself."""
    return [
        Workload(
            f"copiers-{number}",
            f"{number} at once: {sizes.calls // number * number} copies of 64 KiB",
            Job(
                "copiers",
                {"number": number, "source": "big", "length": 64 * KIB, "count": sizes.calls // number},
            ),
            same=tuple(
                Same("big", f"out/{n}.ranges", 64 * KIB * (sizes.calls // number)) for n in range(number)
            ),
            units=sizes.calls // number * number,
        )
        for number in COPIERS
    ]


def _programs(contents: Contents) -> list[Workload]:
    same = (Same("middle", "out/middle"),)
    cat = _run("sh", "-c", "cat middle >out/middle")
    dd = _run("dd", "if=middle", "of=out/middle", "bs=128k", "status=none")
    sending = Job("sendfile", {"source": "middle", "result": "out/middle"})
    return [
        Workload("cat", "cat to a file", cat, same=same),
        Workload("dd", "dd bs=128k", dd, same=same),
        Workload("sendfile", "sendfile", sending, same=same),
        Workload(
            "tar",
            f"tar x of Python's library, {contents.library} files",
            _run("tar", "-xf", "library.tar", "-C", "out"),
            same=(Same("library", "out/library"),),
            units=contents.library,
        ),
        Workload(
            "checkout",
            f"git checkout of {contents.library} files",
            _run("git", "-C", "out/repository", "checkout", "-q", "HEAD~1"),
            prepare=("sh", "-c", REPOSITORY),
            same=(Same("library", "out/repository/library"),),
            units=contents.library,
        ),
        Workload(
            "status",
            f"git status of {contents.library} files",
            Job(
                "programs",
                {
                    "warm": [["git", "-C", "out/repository", "checkout", "-q", "HEAD~1"]],
                    "commands": [["git", "-C", "out/repository", "status", "--short"]],
                },
            ),
            prepare=("sh", "-c", REPOSITORY),
            units=contents.library,
        ),
        Workload(
            "make",
            f"make -j2 of {OBJECTS} C files",
            _run("make", "-s", "-j2", "-C", "out/program"),
            prepare=("sh", "-c", PROGRAM),
            units=OBJECTS,
        ),
    ]


def _ten_clients(contents: Contents) -> Workload:
    tree, length = f"files/{contents.directories[0]}", 64 * KIB
    arguments: dict[str, Argument] = {
        "number": CLIENTS,
        "tree": tree,
        "source": "big",
        "length": length,
        "count": CLIENT_RANGES,
    }
    same = [
        pair
        for number in range(CLIENTS)
        for pair in (
            Same(tree, f"out/{number}.tree"),
            Same("big", f"out/{number}.ranges", length * CLIENT_RANGES),
        )
    ]
    return Workload(
        "clients",
        f"{CLIENTS} clients at once: cp -r of {FILES_A_DIRECTORY} files, {CLIENT_RANGES} copies of 64 KiB",
        Job("clients", arguments),
        same=tuple(same),
        units=CLIENTS * (FILES_A_DIRECTORY + CLIENT_RANGES),
    )


def _run(*command: str) -> Job:
    return Job("programs", {"commands": [list(command)]})
