"""Metrics: what Prometheus reads of a mount is what happened in it, and keeps to its conventions."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from fusecopy.dispatch.totals import Tally
from fusecopy.exposition import merged
from fusecopy.filesystem import metrics
from fusecopy.native._native import ffi, lib
from fusecopy.serving import LATENCY_BOUNDS_NS, Latencies
from tests import samples
from tests.cli.commands import run
from tests.conftest import require
from tests.mounted import Mounted, mounted

DOCUMENT = (Path(__file__).parents[2] / "docs/metrics.md").read_text()

XATTR_SIZE_MAX = 65536
"""Bytes of an attribute's value (linux/limits.h)."""

COPIES = 7

Families = dict[str, Metric]


def parsed(text: str) -> Families:
    return {family.name: family for family in text_string_to_metric_families(text)}


def facts() -> metrics.Facts:
    """Of a mount in which every operation was served in both lanes."""
    tally = Tally()
    tally.add(samples.copy(1, duration_us=16))
    tally.add(samples.copy(2, duration_us=17, dispatch="refused", path="-", copied=0, shared=None))
    rows = [lib.fusecopy_operation(opcode) for opcode in range(lib.FUSECOPY_OPCODES)]
    served = [
        Latencies(ffi.string(row.name).decode(), lane, [2**40] * (len(LATENCY_BOUNDS_NS) + 1), 2**60)
        for row in rows
        if row
        for lane in ("native", "python")
        if row.answer or lane == "python"
    ]
    about = {"version": "1", "backing": 'a "b"\\ \n', "transport": "/dev/fuse"}
    return metrics.Facts(about, 1.5, tally, 0, served, "watched, timeouts 1 s for 2 inodes", ["POLL"], 3, 4)


def shown(family: Metric) -> str:
    """Its name as it is written."""
    return f"{family.name}_total" if family.type == "counter" else family.name


def test_conventions() -> None:
    """What promtool checks: a help, base units, and _total for counters and for nothing else."""
    told = metrics.text(facts())
    for family in parsed(told).values():
        assert family.documentation.endswith(".")
        assert family.type in ("counter", "gauge", "histogram")
        assert all(sample.name.endswith("_total") == (family.type == "counter") for sample in family.samples)
        assert not family.name.endswith(("_us", "_ms", "_ns", "_kb", "_count", "_sum", "_bucket"))
        assert (family.type == "histogram") == family.name.endswith("_duration_seconds")
    if promtool := shutil.which("promtool"):
        subprocess.run([promtool, "check", "metrics"], input=told, text=True, check=True)


def test_every_metric_and_label_is_documented_and_nothing_else() -> None:
    families = parsed(metrics.text(facts())).values()
    assert set(re.findall(r"`(fusecopy_\w+)`", DOCUMENT)) == set(map(shown, families))
    rows = [line for line in DOCUMENT.splitlines() if line.startswith("|")]
    for family in families:
        row = next(line for line in rows if f"`{shown(family)}`" in line)
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert {word.strip() for word in row.split("|")[2].split(",")} - {""} == labels


def test_values_survive() -> None:
    told = parsed(metrics.text(facts()))
    (about,) = told["fusecopy_mount_info"].samples
    assert about.labels["backing"] == 'a "b"\\ \n'
    assert {sample.labels["state"]: sample.value for sample in told["fusecopy_coherence"].samples} == {
        "watched": 0,
        "partly": 1,
        "timeouts": 0,
        "none": 0,
    }


def test_histograms_add_up() -> None:
    """Each class has what took no longer than its bound, and the last has all."""
    told = parsed(metrics.text(facts()))
    for dispatch, at_16_us in (("dispatched", 1), ("refused", 0)):
        of = [
            sample
            for sample in told["fusecopy_copy_duration_seconds"].samples
            if sample.labels["dispatch"] == dispatch
        ]
        buckets = {float(sample.labels["le"]): sample.value for sample in of if "le" in sample.labels}
        assert list(buckets.values()) == sorted(buckets.values())
        assert (buckets[16e-6], buckets[64e-6], buckets[float("inf")]) == (at_16_us, 1, 1)
        assert [sample.value for sample in of if sample.name.endswith("_count")] == [1]


def test_an_attribute_has_room_for_every_operation_in_every_lane() -> None:
    assert len(metrics.text(facts())) < XATTR_SIZE_MAX


def test_several_mounts_are_one_text() -> None:
    text = metrics.text(facts())
    both = "\n".join(merged({"/mnt/a": text, '/mnt/"b': text}, "mountpoint")) + "\n"
    alone, together = parsed(text), parsed(both)
    assert alone.keys() == together.keys()
    assert both.count("# TYPE") == text.count("# TYPE")
    for name, family in together.items():
        points = [sample.labels["mountpoint"] for sample in family.samples]
        assert points == ["/mnt/a"] * (len(points) // 2) + ['/mnt/"b'] * (len(points) // 2)
        assert len(points) == 2 * len(alone[name].samples)


@pytest.fixture(scope="module")
def mount(btrfs: Path) -> Iterator[Mounted]:
    """A mount with some copies in it."""
    require("fuse", "root")
    backing = btrfs / "metrics"
    backing.mkdir()
    (backing / "a").write_bytes(os.urandom(1 << 20))
    with mounted(backing) as there:
        for number in range(COPIES):
            subprocess.run(["cp", there.path / "a", there.path / f"b{number}"], check=True)
        yield there
    shutil.rmtree(backing)


def test_a_mount_tells_what_happened_in_it(mount: Mounted) -> None:
    told = parsed(os.getxattr(mount.path, "user.fusecopy.metrics").decode())
    status = json.loads(os.getxattr(mount.path, "user.fusecopy.stats"))
    key = {"dispatch": "dispatched", "path": "reflink"}
    for name, value in (("copies", COPIES), ("copied_bytes", COPIES << 20), ("shared_bytes", COPIES << 20)):
        assert [(sample.labels, sample.value) for sample in told[f"fusecopy_{name}"].samples] == [
            (key, value)
        ]
    served = {
        (sample.labels["operation"], sample.labels["lane"]): sample.value
        for sample in told["fusecopy_request_duration_seconds"].samples
        if sample.name.endswith("_count")
    }
    native, python = status["lanes"]["CREATE"]
    assert (served.get(("CREATE", "native"), 0), served.get(("CREATE", "python"), 0)) == (native, python)
    assert native + python == COPIES
    assert sum(served.values()) > 3 * COPIES
    assert [sample.value for sample in told["fusecopy_lost_records"].samples] == [0]


def test_the_command_names_the_mount(mount: Mounted) -> None:
    told = parsed(run("metrics", mount.path).stdout)
    (copies,) = told["fusecopy_copies"].samples
    assert copies.labels["mountpoint"] == str(mount.path)
    every = parsed(run("metrics").stdout)
    assert str(mount.path) in {sample.labels["mountpoint"] for sample in every["fusecopy_copies"].samples}


def test_what_does_not_answer_is_said(mount: Mounted, tmp_path: Path) -> None:
    done = run("metrics", tmp_path, mount.path)
    assert done.returncode == 10
    assert "not the root of a fusecopy mount" in done.stderr
    assert "fusecopy_copies_total" in done.stdout
