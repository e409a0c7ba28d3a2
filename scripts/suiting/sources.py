"""Where the suites come from: a pinned commit of a repository, or a package of the system."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from benching.commands import BenchError, run


@dataclass(frozen=True, slots=True)
class Source:
    """A repository at one commit, and how it is built.

    Attributes:
        packages: of Debian, that building or running it takes, besides those of scripts/setup.
        build: command lines, run in it.
    """

    url: str
    commit: str
    packages: str
    build: tuple[str, ...]


PJDFSTEST = Source(
    "https://github.com/pjd/pjdfstest",
    "85a8aea9e685999ef0540392fd80535f873d7ff7",
    "autoconf automake gcc make perl",
    ("autoreconf -ifs", "./configure", "make pjdfstest"),
)
XFSTESTS = Source(
    "https://github.com/kdave/xfstests",
    "63a29724a85f1999e49bf0a9bf0d22643b6116e5",
    "autoconf automake gcc make libtool pkg-config xfslibs-dev libaio-dev libacl1-dev libattr1-dev uuid-dev "
    "libcap-dev libgdbm-dev e2fslibs-dev acl attr bc gawk quota xfsprogs uuid-runtime psmisc",
    # How it takes a type with a subtype for its own, as it does of two others.
    ("sed -i \"s|-e 's/fuse.ceph-fuse/ceph-fuse/'|& -e 's/fuse.fusecopy/fuse/'|\" common/rc", "make -j2"),
)
LIBFUSE = Source(
    "https://github.com/libfuse/libfuse",
    "e8d407ce93bf0d87efe7bbfafdfbd3c471597a02",
    "gcc",
    ("touch test/fuse_config.h", "gcc -D_GNU_SOURCE -Itest -Iinclude -o test_syscalls test/test_syscalls.c"),
)
BUILT = ".built-for-fusecopy"


def built(source: Source, cache: Path, given: Path | None) -> Path:
    """The suite, ready to run.

    Args:
        cache: where it is cloned to, once.
        given: a clone that is there already, to take it from without a network.

    Raises:
        BenchError: it cannot be had or built.
    """
    where = cache / f"{source.url.rpartition('/')[2]}-{source.commit[:12]}"
    if (where / BUILT).exists():
        return where
    shutil.rmtree(where, ignore_errors=True)
    cache.mkdir(parents=True, exist_ok=True)
    run("git", "clone", "--quiet", "--no-checkout", str(given or source.url), where)
    run("git", "-C", where, "checkout", "--quiet", source.commit)
    for line in source.build:
        try:
            run("sh", "-c", line, cwd=where, seconds=1800)
        except BenchError as error:
            raise BenchError(error.message, f"It takes: apt-get install {source.packages}") from error
    (where / BUILT).touch()
    return where


def installed(name: str, package: str) -> None:
    """See that a command is installed. Raises BenchError."""
    if not shutil.which(name):
        raise BenchError(f"{name} is not installed", f"apt-get install {package}")
