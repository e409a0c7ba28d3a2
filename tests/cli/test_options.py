"""The words of -o: forwarded, our own, swallowed, unknown."""

import errno
import json
import os
from pathlib import Path

import pytest

from fusecopy import mounts
from fusecopy.cli.options import log_limits, parse
from fusecopy.errors import Exit, UsageError
from tests.cli.commands import Place, background, run


def test_words_are_sorted() -> None:
    words = parse(
        ["ro,allow_other,log=/x/y", "paths=reflink:splice,strict,max_read=4096", "timeout=0,noatime"]
    )
    assert words.forwarded == {"ro", "allow_other"}
    assert words.own == {
        "log": "/x/y",
        "paths": "reflink:splice",
        "strict": "",
        "timeout": "0",
        "max_read": "4096",
        "noatime": "",
    }


@pytest.mark.parametrize(
    ("own", "limits"),
    [
        ({}, (10 << 20, 20)),
        ({"log_size": "50M", "log_keep": "999"}, (50 << 20, 999)),
        ({"log_size": "64K", "log_keep": "1"}, (64 << 10, 1)),
    ],
)
def test_how_much_of_the_log_is_kept(own: dict[str, str], limits: tuple[int, int]) -> None:
    assert log_limits(own) == limits


@pytest.mark.parametrize(
    "word", ["log_size=1K", "log_size=much", "log_keep=0", "log_keep=1000", "log_keep=x"]
)
def test_sizes_and_numbers_of_logs_that_make_no_sense(word: str) -> None:
    with pytest.raises(UsageError):
        log_limits(parse([word]).own)


def test_words_of_fstab_are_swallowed() -> None:
    words = parse(
        [
            "defaults,user,nofail,_netdev,noauto,x-systemd.automount,comment=hello,relatime,,",
            "lazytime,X-mount.mkdir,nousers,silent,symfollow",
        ]
    )
    assert words.forwarded == set()
    assert words.own == {}


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("alow_other", "did you mean allow_other?"),
        ("stric", "did you mean strict?"),
        ("ro=1", "did you mean ro?"),
        ("timeout", "did you mean timeout?"),
        ("zzzz", "unknown option"),
        ("xattr", "unknown option"),
    ],
)
def test_unknown_word_is_an_error_with_a_suggestion(word: str, hint: str) -> None:
    with pytest.raises(UsageError) as failure:
        parse([word])
    assert f"-o {word}: unknown option" in failure.value.message
    assert hint in failure.value.message


def test_exit_status_of_wrong_words(place: Place) -> None:
    for wrong in (
        ["-o", "alow_other"],
        ["-o", "timeout=-1"],
        ["-o", "timeout=soon"],
        ["-o", "max_read=many"],
        ["-o", "max_read=-1"],
        ["-o", "max_read="],
        ["-o", "max_read=99999999999"],
        ["-o", "decline=never"],
        ["--refuse", "EXDEV"],
        ["--paths", "reflink,reflink"],
        ["--no-such-option"],
    ):
        done = run("mount", *wrong, "--log", place.log, place.backing, place.point)
        assert (done.returncode, done.stdout) == (Exit.USAGE, ""), wrong
    assert run("mount").returncode == Exit.USAGE
    assert run("no-such-command").returncode == Exit.USAGE


@pytest.mark.fuse
@pytest.mark.root
def test_forwarded_words_reach_the_kernel(place: Place) -> None:
    (place.backing / "a").touch()
    with background(place, "-o", "ro,noexec,nofail"):
        with pytest.raises(OSError, match="Read-only") as failure:
            (place.point / "b").touch()
        assert failure.value.errno == errno.EROFS
        assert os.statvfs(place.point).f_flag & os.ST_NOEXEC


@pytest.mark.fuse
@pytest.mark.root
def test_names_that_need_escapes(place: Place) -> None:
    strange = place.backing / "a, b\\c d=\t"
    strange.mkdir()
    (strange / "x").write_text("content")
    point = place.point / "p q\\r"
    point.mkdir()
    with background(Place(strange, point, place.log)):
        assert (point / "x").read_text() == "content"
        assert os.getxattr(point, "user.fusecopy.backing") == os.fsencode(strange)
        listed = run("list").stdout
        assert str(point) in listed
    assert Path(place.log).exists()


def flags(place: Place) -> frozenset[str]:
    mount = mounts.at(str(place.point))
    assert mount is not None
    return mount.flags


@pytest.mark.parametrize("size", ["0", "1", "65536", "1048576"])
def test_largest_read(place: Place, size: str) -> None:
    content = os.urandom(300_000)
    (place.backing / "a").write_bytes(content)
    with background(place, "-o", f"max_read={size}"):
        assert (place.point / "a").read_bytes() == content
        stats = json.loads(os.getxattr(place.point, "user.fusecopy.stats"))
        reads = stats["requests"]["15"]
        assert reads >= (5 if size in ("1", "65536") else 1)


def test_symbolic_links_are_not_followed(place: Place) -> None:
    (place.backing / "link").symlink_to("a")
    (place.backing / "a").touch()
    with background(place, "-o", "nosymfollow"):
        assert "nosymfollow" in flags(place)
        with pytest.raises(OSError, match="Too many levels"):
            (place.point / "link").read_bytes()
        assert os.readlink(place.point / "link") == "a"


def test_remount_changes_flags_and_nothing_else(place: Place) -> None:
    with background(place, "-o", "noexec,strict"):
        before = flags(place)
        again = run("mount", "-o", "remount,ro,nofail", place.backing, place.point)
        assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
        assert flags(place) == before - {"rw"} | {"ro"}
        with pytest.raises(OSError, match="Read-only"):
            (place.point / "a").touch()
        assert run("mount", "-o", "remount,rw,exec", place.backing, place.point).returncode == 0
        assert flags(place) == before - {"noexec"}
        (place.point / "a").touch()
        with (place.point / "a").open("w"):
            busy = run("mount", "-o", "remount,ro", place.backing, place.point)
            assert busy.returncode == Exit.MOUNT_REFUSED
            assert "busy" in busy.stderr
        assert os.getxattr(place.point, "user.fusecopy.policy").endswith(b" strict")
    nothing = run("mount", "-o", "remount,ro", place.backing, place.point)
    assert nothing.returncode == Exit.MOUNT_POINT
