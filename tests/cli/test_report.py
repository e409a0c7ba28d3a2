"""fusecopy report: one page that says what the log says, in a browser too."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fusecopy.dispatch.records import Copy, Requests
from fusecopy.views import digest
from fusecopy.views.digest import Digest
from fusecopy.views.report import page
from tests import samples
from tests.mounted import FUSECOPY

EVIL = '<script>alert("x")</script>&amp;'

MEMORY_MOST = 200 << 20
PAGE_MOST = 5 << 20

KINDS: tuple[dict[str, Any], ...] = (
    {},
    {
        "path": "copy_file_range",
        "shared": 0,
        "rewritten": 7,
        "cause": "The length 7 is no whole block.",
        "remedy": "Copy blocks.",
    },
    {
        "dispatch": "fallback",
        "path": "kernel-splice",
        "shared": 0,
        "cause": "Declined.",
        "remedy": "Ask again.",
    },
    {"dispatch": "bypassed", "path": "client", "shared": None, "comm": EVIL, "requests": Requests(writes=3)},
    {
        "dispatch": "refused",
        "path": "-",
        "copied": 0,
        "errno": "EXDEV",
        "cause": EVIL,
        "remedy": EVIL,
        "dst": f"{EVIL} here",
    },
)


def copies() -> Iterator[Copy]:
    """Of every kind, of many sizes, in many directories, for days."""
    number = 0
    while True:
        number += 1
        size = 1 << number % 31
        moment = f"2026-03-{1 + number % 20:02}T{number % 24:02}:{number % 60:02}:00.000+01:00"
        place = {"dst": f"d{number % 977}/{number % 31}/file", "length": size, "copied": size, "shared": size}
        kind = {**place, "rewritten": 0, **KINDS[number % len(KINDS)]}
        yield samples.copy(number, time=moment, duration_us=10 + size // 1000, **kind)


def log(path: Path, count: int) -> Path:
    encode = msgspec.json.Encoder().encode_lines
    records = copies()
    with path.open("wb") as file:
        file.write(encode([samples.HEADER]))
        while batch := list(islice(records, min(count, 10_000))):
            file.write(encode(batch))
            count -= len(batch)
    return path


def report(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([FUSECOPY, "report", *arguments], capture_output=True, text=True, timeout=120)


class _Page(HTMLParser):
    """What would be asked of a network, and the text of what is no script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.asked += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data")]


@pytest.mark.parametrize("count", [0, 1, 10_000])
def test_the_page_is_whole_and_asks_nobody(tmp_path: Path, count: int) -> None:
    made = tmp_path / "page.html"
    done = report(log(tmp_path / "log", count), "-o", made)
    assert (done.returncode, done.stderr) == (0, "")
    parsed = _Page(made.read_text())
    assert parsed.asked == []
    assert parsed.tags.count("script") == 1
    assert parsed.tags.count("svg") == {0: 0, 1: 1, 10_000: 3}[count]
    assert made.stat().st_size < PAGE_MOST


def test_it_says_what_the_sums_say(tmp_path: Path) -> None:
    stored, made = log(tmp_path / "log", 1000), tmp_path / "page.html"
    assert report(stored, "-o", made).returncode == 0
    text = made.read_text()
    sums = subprocess.run([FUSECOPY, "log", "-c", stored], capture_output=True, text=True).stdout
    for dispatch in ("fallback", "bypassed", "refused"):
        (count,) = re.findall(rf"^{dispatch} +\S+ +(\d+) ", sums, re.MULTILINE)
        assert f'<span class="tag">{dispatch}</span><b>{count}</b>' in text
    assert text.count('<td data-key="2026') == 1000


def test_what_is_chosen_is_told_of(tmp_path: Path) -> None:
    made = tmp_path / "page.html"
    assert report(log(tmp_path / "log", 1000), "-x", "-o", made).returncode == 0
    assert "What became of 400 copies" in made.read_text()


def test_several_logs_are_one_page(tmp_path: Path) -> None:
    one, other, made = log(tmp_path / "one", 10), log(tmp_path / "other", 20), tmp_path / "page.html"
    assert report(one, other, "-o", made).returncode == 0
    assert "What became of 30 copies" in made.read_text()


def test_the_log_is_not_written_over(tmp_path: Path) -> None:
    stored = log(tmp_path / "log", 1)
    before = stored.read_bytes()
    done = report(stored, "-o", stored)
    assert done.returncode == 2
    assert "is the log itself" in done.stderr
    assert stored.read_bytes() == before


def test_a_digest_does_not_grow_with_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("MOMENTS", 20), ("DIRECTORIES", 50), ("CAUSES", 3), ("LISTED", 7)):
        monkeypatch.setattr(digest, name, value)
    whole, count = Digest(), 5000
    change = msgspec.structs.replace
    stored = [
        change(copy, cause=f"{chr(97 + copy.seq % 26)} is {copy.seq}") if copy.cause else copy
        for copy in islice(copies(), count)
    ]
    for begin in range(0, count, 100):
        whole.add_all(list(stored[begin : begin + 100]))
    assert len(whole.moments) <= 20
    assert len(whole.directories) <= 50
    assert len(whole.causes) <= 3 + 4
    assert len(whole.listed) == 7
    assert min(duration for duration, _, _ in whole.listed) == sorted(copy.duration_us for copy in stored)[-7]
    for sums in (whole.moments, whole.directories):
        assert sum(one.copies for one in sums.values()) == count
        assert sum(one.bytes for one in sums.values()) == sum(copy.copied or copy.length for copy in stored)
    assert sum(one.copies for one in whole.causes.values()) == sum(copy.cause is not None for copy in stored)
    assert "other causes" in page(whole)


@pytest.fixture
def chromium() -> str:
    """A real browser."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        pytest.skip("missing here: a Chromium (apt install chromium)")
    return found


def browse(chromium: str, home: Path, url: str, *options: str) -> "subprocess.CompletedProcess[str]":
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={home}"]
    return subprocess.run(
        [chromium, *words, "--enable-logging=stderr", "--window-size=1000,2000", *options, url],
        capture_output=True,
        text=True,
        timeout=150,
        env={**os.environ, "HOME": str(home)},
    )


@pytest.mark.parametrize(
    "count",
    [pytest.param(0, marks=pytest.mark.slow), pytest.param(1, marks=pytest.mark.slow), 10_000],
)
def test_in_a_browser(tmp_path: Path, chromium: str, count: int) -> None:
    """No complaint in its console; the script has filtered by what the address says."""
    made = tmp_path / "page.html"
    assert report(log(tmp_path / "log", count), "-o", made).returncode == 0
    seen = browse(chromium, tmp_path, f"{made.as_uri()}#refused%20script", "--dump-dom")
    assert "CONSOLE" not in seen.stderr, seen.stderr
    rows = re.findall(r"<tr( hidden[^>]*)?><td data-key=\"2026", seen.stdout)
    assert len(rows) == min(count, 1000)
    if count == 10_000:
        refused = sum('<span class="tag">refused' in line for line in made.read_text().split("<tr>"))
        assert 0 < rows.count("") <= refused
        assert seen.stdout.count("<th><button>") + seen.stdout.count('<th class="n"><button>') == 8


@pytest.mark.slow
def test_in_light_and_dark(tmp_path: Path, chromium: str) -> None:
    """Both are drawn, and otherwise."""
    made, pictures = tmp_path / "page.html", [tmp_path / "light.png", tmp_path / "dark.png"]
    assert report(log(tmp_path / "log", 100), "-o", made).returncode == 0
    for preferred, picture in zip((1, 0), pictures, strict=True):
        setting = f"--blink-settings=preferredColorScheme={preferred}"
        browse(chromium, tmp_path, made.as_uri(), setting, f"--screenshot={picture}")
    light, dark = (picture.read_bytes() for picture in pictures)
    assert light[:4] == dark[:4] == b"\x89PNG"
    assert light != dark


@pytest.mark.slow
def test_of_a_million_records(tmp_path: Path) -> None:
    made = tmp_path / "page.html"
    stored = log(tmp_path / "log", 1_000_000)
    program = "import resource, sys; from fusecopy.cli.commands import main\ntry: main(sys.argv[1:])\n"
    told = "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    done = subprocess.run(
        [sys.executable, "-c", program + told, "report", stored, "-o", made],
        capture_output=True,
        text=True,
        check=True,
        timeout=900,
    )
    assert int(done.stdout.split()[-1]) * 1024 < MEMORY_MOST
    assert made.stat().st_size < PAGE_MOST
    assert "What became of 1,000,000 copies" in made.read_text()
