"""One log is one server's, and nothing else is taken for a log."""

import os
import select
import subprocess
from functools import partial
from pathlib import Path

import pytest

from fusecopy.cli import mount
from fusecopy.dispatch.claim import BusyError, claim
from fusecopy.dispatch.reader import read
from fusecopy.dispatch.records import Header
from fusecopy.dispatch.writer import Writer
from fusecopy.errors import Exit, LogError
from tests import samples
from tests.cli.commands import Place, background, run

COPY = samples.copy(seq=1)

FOREIGN = {
    "text": b"some notes\n",
    "binary": bytes(range(256)) * 10,
    "no newline": b"x",
    "zeros": bytes(4096),
    "JSON": b'{"type":"copy","name":"not ours"}\n',
    "another's header": b'{"type":"header","schema":1}\n',
    "array": b"[1]\n",
    "half JSON": b'{"tyz',
    "a brace": b"{",
    "long line": b'{"type":"header","x":"' + b"x" * 100_000,
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_foreign_file_is_neither_appended_to_nor_rotated_away(tmp_path: Path, what: str) -> None:
    for name in ("log", "log.1", "log.5", "log.3.gz"):
        file = tmp_path / what / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(FOREIGN[what])
        with pytest.raises(LogError, match=f"{name} is not a dispatch log"):
            claim(tmp_path / what / "log", 0)
        assert file.read_bytes() == FOREIGN[what]
        file.unlink()
        (tmp_path / what / "log").unlink(missing_ok=True)


@pytest.mark.parametrize("begin", [b"", b'{"type":"hea', b'{"type":"header","time":"2026'])
def test_an_empty_file_and_a_header_cut_by_a_crash_are_ours(tmp_path: Path, begin: bytes) -> None:
    log = tmp_path / "log"
    log.write_bytes(begin)
    writer = Writer(log, samples.HEADER, claimed=claim(log, 0).descriptor)
    writer.put(COPY)
    writer.close()
    assert COPY in list(read(log))


def test_two_writers_never_share_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    first = Writer(log, samples.HEADER, max_bytes=4096, keep=2)
    for _ in range(50):  # over several rotations
        first.put(COPY)
        assert first.flush()
        with pytest.raises(BusyError):
            claim(log, 0)
    first.reopen()
    assert first.flush()
    with pytest.raises(BusyError, match=f"pid {samples.HEADER.pid}"):
        claim(log, 0)
    first.close()
    second = claim(log, 0)
    assert second.path == log
    second.give_up()
    assert log.exists()


def test_a_claim_that_comes_to_nothing_leaves_nothing(tmp_path: Path) -> None:
    log = tmp_path / "deep" / "log"
    claim(log, 0).give_up()
    assert not log.exists()


def test_a_claim_that_comes_to_nothing_leaves_what_was_there(tmp_path: Path) -> None:
    log, link = tmp_path / "log", tmp_path / "link"
    log.touch(0o640)
    link.symlink_to(log)
    for name in (log, link):
        before = log.stat()
        claim(name, 0).give_up()
        assert os.path.samestat(before, log.stat())


@pytest.mark.fuse
@pytest.mark.root
def test_two_mounts_given_one_log(place: Place) -> None:
    other = Place(place.backing, place.point.with_name("other"), place.log)
    other.point.mkdir()
    with background(place):
        done = run("mount", "--log", place.log, other.backing, other.point)
        assert done.returncode == Exit.LOG
        assert "another server writes this dispatch log" in done.stderr
        assert not other.point.is_mount()
    with background(other):
        pass  # free again
    assert len([record for record in read(place.log) if isinstance(record, Header)]) == 2


@pytest.mark.fuse
@pytest.mark.root
def test_a_lazily_detached_server_keeps_its_log(place: Place) -> None:
    (place.backing / "a").write_bytes(bytes(70000))
    with background(place) as old:
        server = os.pidfd_open(old)
        held = os.open(place.point, os.O_RDONLY | os.O_DIRECTORY)
        try:
            assert run("umount", "--lazy", place.point).returncode == 0
            refused = run("mount", "--log", place.log, place.backing, place.point)
            assert refused.returncode == Exit.LOG
            assert f"pid {old}" in refused.stderr
            elsewhere = place.log.with_name("second.jsonl")
            assert run("mount", "--log", elsewhere, place.backing, place.point).returncode == 0
            source = os.open("a", os.O_RDONLY, dir_fd=held)
            target = os.open("of the old mount", os.O_WRONLY | os.O_CREAT, dir_fd=held)
            os.copy_file_range(source, target, 70000)
            os.close(source)
            os.close(target)
            subprocess.run(["cp", place.point / "a", place.point / "new"], check=True, timeout=30)
            shown = run("log", place.point).stdout
        finally:
            os.close(held)
            assert select.select([server], [], [], 30)[0], "the detached server did not end"
            os.close(server)
        assert "of the old mount" not in shown
        assert shown.count(" new") == 1


def test_beside_a_log_that_a_detached_server_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A mount made anew at its place has a log of its own, where none was named."""
    monkeypatch.setattr(mount, "default_log", lambda _: tmp_path / "mnt.jsonl")
    monkeypatch.setattr(mount, "claim", partial(claim, seconds=0))
    claims = [mount.claimed({}, "/backing", "/mnt") for _ in range(3)]
    assert [each.path.name for each in claims] == ["mnt.jsonl", "mnt.2.jsonl", "mnt.3.jsonl"]
    claims[1].give_up()
    assert mount.claimed({}, "/backing", "/mnt").path.name == "mnt.2.jsonl"
