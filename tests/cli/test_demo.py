"""fusecopy demo: everything claimed is seen, and nothing stays behind however it ends."""

import json
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusecopy.demo.scenarios import SCENARIOS
from tests.mounted import FUSECOPY

SECONDS = 60

CLAIM_PAGES = Path(__file__).parents[2] / "docs/claims"

CLAIMS = {
    1: ["sendfile arrived as WRITEs of 65536 bytes, a pipe's 16 pages", "splice arrived as"],
    2: ["splice wrote every byte again", "sendfile wrote every byte again", "reflink wrote none"],
    3: ["answered: one copy request, no READ, no WRITE", "declined: the same call returned the same"],
    4: ["EOPNOTSUPP:", "EXDEV:", "EIO:", "EINVAL:", "the server was asked every time", "ENOSYS:"],
    5: ["copy: every byte again", "reflink: all shared", "dedupe: the copy made first is shared now"],
    6: ["FICLONERANGE and copy_file_range share the same extents"],
    7: ["of 70000 bytes 17 blocks (69632) are shared, the tail of 368 is copied"],
}
"""What is seen on btrfs, by scenario."""

WITHOUT_REFLINK = {
    2: [
        "splice wrote every byte again",
        "sendfile wrote every byte again",
        "no reflink here: the kernel spliced",
    ],
    5: [
        "copy: every byte again, nothing shared",
        "reflink and dedupe are refused here, and nothing else is done instead",
    ],
    6: ["without reflink copy_file_range copies it, and nothing is proven to be shared"],
    7: ["without reflink nothing is proven to be shared"],
}


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Where the demonstration puts everything; left empty, and no mount or loop device of it left."""
    with tempfile.TemporaryDirectory(prefix="fusecopy-test-") as name:
        os.chmod(name, 0o1777)
        yield Path(name)
        assert list(Path(name).iterdir()) == []
        assert os.fsencode(name) not in Path("/proc/self/mountinfo").read_bytes()
        loops = subprocess.run(["losetup", "-ln", "-O", "BACK-FILE"], capture_output=True, text=True)
        assert name not in loops.stdout


def demo(scratch: Path, *arguments: str, prefix: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
    """Run it to its end with its files in `scratch`."""
    return subprocess.run(
        [*prefix, FUSECOPY, "demo", *arguments],
        env={**os.environ, "TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


@pytest.mark.fuse
@pytest.mark.loop
def test_every_claim_is_seen_on_btrfs(scratch: Path) -> None:
    done = demo(scratch)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("The backing is a btrfs image of its own on a loop device")
    seen = [line for line in done.stdout.splitlines() if line.startswith("seen: ")]
    expected = [claim for claims in CLAIMS.values() for claim in claims]
    assert len(seen) == len(expected)
    for line, claim in zip(seen, expected, strict=True):
        assert line.startswith(f"seen: {claim}")
    assert done.stdout.count("$ fusecopy log") == 2


@pytest.mark.fuse
@pytest.mark.root
@pytest.mark.parametrize("number", list(WITHOUT_REFLINK))
def test_an_ordinary_user_without_reflink_is_told_what_differs(
    scratch: Path, number: int, fuse_for_all: None
) -> None:
    # /dev/shm is a tmpfs: no reflink, whatever the machine's disks have.
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        os.chmod(memory, 0o1777)
        done = demo(Path(memory), "--only", str(number), prefix=("runuser", "-u", "nobody", "--"))
    assert (done.returncode, done.stderr) == (0, "")
    begun, _, reason = done.stdout.splitlines()[0].partition(", because ")
    assert begun == "The backing is a temporary directory on tmpfs, without reflink"
    assert reason == "only root may mount an image."
    seen = [line for line in done.stdout.splitlines() if line.startswith("seen: ")]
    assert [line.removeprefix("seen: ") for line in seen] == WITHOUT_REFLINK[number]


@pytest.fixture
def fuse_for_all() -> Iterator[None]:
    """/dev/fuse as udev makes it, for an ordinary user."""
    before = os.stat("/dev/fuse").st_mode
    os.chmod("/dev/fuse", 0o666)
    yield
    os.chmod("/dev/fuse", before & 0o7777)


@pytest.mark.parametrize("number", [0, len(SCENARIOS) + 1])
def test_there_is_no_such_scenario(scratch: Path, number: int) -> None:
    done = demo(scratch, "--only", str(number))
    assert done.returncode == 2
    assert f"is not in the range 1<=x<={len(SCENARIOS)}" in done.stderr


@pytest.mark.fuse
@pytest.mark.loop
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_in_order(scratch: Path, number: signal.Signals) -> None:
    """Sent as a terminal does, to all of its process group, while a scenario is on."""
    process = subprocess.Popen(
        [FUSECOPY, "demo"],
        env={**os.environ, "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.startswith("2. "):
                break
        os.killpg(process.pid, number)
        said, _ = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    assert process.returncode == 1
    assert "Traceback" not in said
    assert "\n3. " not in said


@pytest.mark.fuse
@pytest.mark.loop
def test_a_reader_that_goes_ends_it_in_order(scratch: Path) -> None:
    done = subprocess.run(
        f"{FUSECOPY} demo | head -n 1",
        shell=True,
        env={**os.environ, "TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.stdout.startswith("The backing is a btrfs image")
    assert done.stdout.count("\n") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", CLAIMS)
def test_page_and_recording_tell_what_is_seen(number: int) -> None:
    """docs/claims/: what a page quotes was printed, and scripts/record wrote an asciicast of it."""
    (page,) = CLAIM_PAGES.glob(f"{number}-*.md")
    quoted = [line for line in page.read_text().splitlines() if line.startswith("    seen: ")]
    assert all(any(claim in line for line in quoted) for claim in CLAIMS[number])
    header, *events = (CLAIM_PAGES / f"{number}.cast").read_text().splitlines()
    assert json.loads(header)["version"] == 2
    times, kinds, texts = zip(*(json.loads(event) for event in events), strict=True)
    assert list(times) == sorted(times)
    assert set(kinds) == {"o"}
    printed = re.sub(r"\x1b\[\d*m|\r", "", "".join(texts))
    assert all(line.strip() in printed for line in quoted)
    assert "NOT SEEN" not in printed
