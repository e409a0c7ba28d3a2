"""`fusecopy expect` stops nothing that its command would have done, and ends with the right status."""

import os
import signal
import subprocess
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests import loopfs
from tests.expecting.running import SECONDS, expect, refused
from tests.mounted import FUSECOPY

pytestmark = [pytest.mark.root]


@pytest.fixture
def place(sharing_backing: Path) -> Path:
    (sharing_backing / "a").write_bytes(os.urandom(200_000))
    return sharing_backing


@pytest.mark.parametrize(
    ("word", "command", "status"),
    [
        ("reflink", "cp a b", 0),
        ("reflink", "cp --reflink=never a b", 24),
        ("reflink", "true", 24),
        ("offload", "cp a b", 0),
        ("offload", "cp --reflink=never a b", 24),
        ("no-fallback", "cp --reflink=never a b", 0),
        ("no-fallback", "true", 0),
        ("no-fallback", "cp a /dev/shm/fusecopy-expect-$$; rm /dev/shm/fusecopy-expect-$$", 24),
        ("shared=50%", "cp a b && cp --reflink=never a c", 0),
        ("shared=51%", "cp a b && cp --reflink=never a c", 24),
        ("reflink", "cp a b; exit 3", 3),
        ("reflink", "cp --reflink=never a b; exit 3", 3),
        ("reflink", "cp a b; kill -TERM $$", 143),
    ],
)
def test_the_status_tells_whether_it_held(place: Path, word: str, command: str, status: int) -> None:
    found = expect("sh", "-c", command, cwd=place, expected=[word])
    assert found.status == status, found.said
    if status in (0, 24):
        assert found.verdict["holds"] is (status == 0)
    assert found.verdict["command_status"] == (status if status != 24 else 0)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["reflink"], 2),
        (["clone", "--", "true"], 2),
        (["shared=101%", "--", "true"], 2),
        (["--junit", "x", "--", "true"], 2),
        (["-o", "/no/such/file", "--", "true"], 2),
        (["--", "/no/such/command"], 127),
        (["--", "/dev/null"], 126),
        (["--", FUSECOPY, "expect", "--", "true"], 125),
    ],
)
def test_what_cannot_be_run(words: list[str], status: int, tmp_path: Path) -> None:
    done = refused(*words, cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr


def test_junit_has_a_case_for_each_copy(place: Path) -> None:
    script = "cp a b && cp --reflink=never a $(printf 'c\\001')"
    done = refused("reflink", "--junit", "junit.xml", "--", "sh", "-c", script, cwd=place)
    assert done.returncode == 24
    suite = ElementTree.parse(place / "junit.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("3", "2")
    assert len(suite.findall("testcase/failure")) == 2


def test_only_what_is_copied_to_a_directory_counts(place: Path) -> None:
    (place / "d").mkdir()
    script = "cp --reflink=never a b && cp a d/c"
    assert expect("sh", "-c", script, cwd=place, expected=["reflink", "--in", "d"]).status == 0
    assert expect("sh", "-c", script, cwd=place, expected=["reflink", "--in", "."]).status == 24


def test_files_that_get_other_names_and_go(place: Path) -> None:
    script = (
        "cp a t1 && mv t1 b && mkdir q && cp --reflink=never a q/x && mv q r && "
        "cp a t2 && rm t2 && exec 3<a && exec 4>s && cat <&3 >&4 && mv s u"
    )
    found = expect("sh", "-c", script, cwd=place)
    assert found.of("x")["destination"].endswith("/r/x")
    assert found.of("x")["state"] == "rewritten"
    assert [copy["state"] for copy in found.copies].count("shared") == 3, found.copies


def test_a_copy_that_is_shared_at_once_has_its_last_name(place: Path) -> None:
    """Its program goes on by the rename, before which it was looked at; a directory's rename counts, too."""
    script = (
        "import os\n"
        "os.mkdir('q')\n"
        "for n in range(50):\n"
        "    a, b = os.open('a', os.O_RDONLY), os.open('q/t', os.O_WRONLY | os.O_CREAT | os.O_EXCL)\n"
        "    os.copy_file_range(a, b, 200000)\n"
        "    os.rename('q/t', f'q/n{n}')\n"
        "os.rename('q', 'r')\n"
    )
    found = expect("/usr/bin/python3", "-c", script, cwd=place, expected=["reflink"])
    assert found.status == 0, found.said
    names = sorted(copy["destination"] for copy in found.copies)
    assert names == sorted(str(place / f"r/n{n}") for n in range(50))


def test_a_range_that_is_copied_is_judged_by_itself(place: Path) -> None:
    script = (
        "import os; a = os.open('a', os.O_RDONLY); b = os.open('b', os.O_WRONLY | os.O_CREAT);"
        "os.write(b, bytes(4096)); os.copy_file_range(a, b, 65536, 8192, 16384)"
    )
    found = expect("/usr/bin/python3", "-c", script, cwd=place, expected=["reflink"])
    assert found.status == 0, found.said
    assert (found.of("b")["shared"], found.of("b")["size"]) == (65536, 65536)


def test_a_file_may_be_executed_as_soon_as_it_is_copied(place: Path) -> None:
    script = "for i in 1 2 3 4 5 6 7 8; do cp /bin/true t$i && ./t$i || exit 1; done"
    assert expect("sh", "-c", script, cwd=place).status == 0


def test_a_filesystem_can_be_unmounted(place: Path, tmp_path: Path) -> None:
    with loopfs.mounted("ext4", tmp_path) as other:
        outside = tmp_path / "bound"
        outside.mkdir()
        script = (
            f"mount -t tmpfs none {outside} && cp a {outside}/b && cat {outside}/b >{outside}/c && "
            f"cp a {other}/d && umount {outside}"
        )
        found = expect("sh", "-c", script, cwd=place)
    assert found.status == 0, found.said
    assert {Path(copy["destination"]).name for copy in found.copies} == {"b", "c", "d"}


def test_what_goes_on_in_the_background_is_not_in_the_way(place: Path) -> None:
    """Its calls would fail with ENOSYS if nobody answered them."""
    script = "(read go <gate; cp a late && echo copied >told) >/dev/null 2>&1 & exit 0"
    os.mkfifo(place / "gate")
    os.mkfifo(place / "told")
    assert expect("sh", "-c", script, cwd=place).status == 0
    _released(place)


def test_a_killed_supervisor_is_not_in_the_way(place: Path) -> None:
    script = "echo $PPID >parent; read go <gate; cp a late && echo copied >told"
    for name in ("parent", "gate", "told"):
        os.mkfifo(place / name)
    process = subprocess.Popen([FUSECOPY, "expect", "--", "sh", "-c", script], cwd=place)
    assert int((place / "parent").read_text()) == process.pid
    process.kill()
    process.wait(SECONDS)
    _released(place)


def _released(place: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", "echo go >gate; cat told"], cwd=place, capture_output=True, timeout=SECONDS
    )
    assert done.stdout == b"copied\n"
    assert (place / "late").read_bytes() == (place / "a").read_bytes()


def test_signals_go_on_to_the_command(place: Path) -> None:
    os.mkfifo(place / "ready")
    process = subprocess.Popen(
        [
            FUSECOPY,
            "expect",
            "--",
            "sh",
            "-c",
            "trap 'exit 5' TERM; echo x >ready; while :; do sleep 0.1; done",
        ],
        cwd=place,
        stderr=subprocess.DEVNULL,
    )
    (place / "ready").read_text()
    process.send_signal(signal.SIGTERM)
    assert process.wait(SECONDS) == 5


def test_no_process_is_left(place: Path) -> None:
    found = expect("sh", "-c", "cp a b", cwd=place)
    assert found.status == 0
    deadline = time.monotonic() + SECONDS
    while _holding(place):
        assert time.monotonic() < deadline, _holding(place)
        os.sched_yield()


def _holding(place: Path) -> list[str]:
    """Processes whose command line names it: those that stand by have their parent's."""
    found = []
    for words in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if os.fsencode(place) in words.read_bytes():
                found.append(words.parent.name)
        except OSError:
            continue
    return found
