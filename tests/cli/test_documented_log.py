"""The examples of docs/dispatch-log.md are what a mount writes, but for what differs from run to run."""

import errno
import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

import jsonschema
import pytest

from fusecopy.dispatch.schema import schema
from fusecopy.filesystem import accounts, watching
from tests.cli.commands import Place, background
from tests.conftest import require
from tests.mounted import FUSECOPY

DOCUMENT = Path(__file__).parents[2] / "docs/dispatch-log.md"

Json = dict[str, object]

DIFFERS = {
    *("time", "mono_ns", "seq", "pid", "uid", "parent", "duration_us", "connection"),
    *("fusecopy", "pyfuse3", "libfuse", "kernel", "protocol", "transport", "transport_reason"),
}
"""Fields of a run, a machine or a user."""

NAMED_BY_PLACE = {"header": {"backing", "mount"}, "tree": {"exe", "args"}, "flow": {"requests"}}
"""What is a matter of the place; into how many WRITEs the kernel cuts a write is one of its version."""

MADE_BY_MOUNT = ["header", "copy", "flow", "tree", "policy", "footer"]


def examples() -> dict[str, Json]:
    """The examples by their type; each type has one."""
    found = [json.loads(line) for line in re.findall(r"^ {4}(\{.*\})$", DOCUMENT.read_text(), re.MULTILINE)]
    return {record["type"]: record for record in found}


def alike(record: Json) -> Json:
    """A record without what differs, in its order."""
    differs = DIFFERS | NAMED_BY_PLACE.get(str(record["type"]), set())
    return {key: "..." if key in differs else value for key, value in record.items()}


@pytest.fixture(scope="module")
def written(btrfs: Path) -> dict[str, Json]:
    """The last record of each type of a mount in which happened what the examples are of."""
    require("fuse", "root")
    backing = btrfs / "documented"
    with tempfile.TemporaryDirectory(prefix="fusecopy-test-") as name:
        there = Place(backing, Path(name) / "mnt", Path(name) / "log.jsonl")
        for directory in (backing, there.point, Path(name) / "x"):
            directory.mkdir()
        (Path(name) / "x/x1").write_bytes(os.urandom(1 << 20))
        with background(there):
            happen(there)
        records = [json.loads(line) for line in there.log.read_text().splitlines()]
    subprocess.run(["rm", "-r", backing], check=True)
    return {record["type"]: record for record in records if record.get("asked") != "clone"}


def happen(there: Place) -> None:
    """A copy by reflink with a tail, a file from an archive, a tree, another policy."""
    (there.point / "a").write_bytes(os.urandom(100000))
    (there.point / "d").mkdir()
    for command in (
        ["xfs_io", "-f", "-c", "copy_range -l 70000 a", "d/b"],
        ["tar", "xf", "../y.tar"],
        [FUSECOPY, "clone", "-q", "-r", "d", "e"],
        [FUSECOPY, "policy", ".", "paths=reflink"],
    ):
        if command[0] == "tar":
            subprocess.run(["tar", "cf", "../y.tar", "-C", "../x", "x1"], cwd=there.point, check=True)
        subprocess.run(command, cwd=there.point, check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize("kind", MADE_BY_MOUNT)
def test_the_example_is_what_is_written(written: dict[str, Json], kind: str) -> None:
    assert list(examples()[kind]) == list(written[kind])
    assert alike(examples()[kind]) == alike(written[kind])


def test_what_is_written_is_of_the_json_schema(written: dict[str, Json]) -> None:
    validator = jsonschema.Draft202012Validator(json.loads(schema()))
    for record in written.values():
        validator.validate(record)


def test_sentences_of_the_examples_are_those_of_the_program() -> None:
    said = examples()["coherence"]
    assert (said["cause"], said["remedy"]) == watching.CAUSES[errno.EACCES]
    assert examples()["note"]["text"] == accounts.UNSEEN_DRIVERS


def test_nothing_is_without_an_example() -> None:
    assert examples().keys() == {*MADE_BY_MOUNT, "coherence", "note", "lost"}
