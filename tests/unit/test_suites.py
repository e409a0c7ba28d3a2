"""scripts/suites: lists of expected results, what is worse than they say, and how output is read."""

import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "scripts"))

from suiting.results import Expected, Result, read, unexpected  # noqa: E402
from suiting.suites import SUITES, of_check  # noqa: E402


def test_every_list_can_be_read_and_belongs_to_a_suite() -> None:
    lists = sorted((TOP / "docs" / "suites").glob("*.txt"))
    assert lists
    for path in lists:
        assert path.stem in SUITES
        assert read(path).results


def test_a_line_without_a_reason_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("ext4\tgeneric/001\tfail\t\n")
    with pytest.raises(ValueError, match="generic/001"):
        read(path)


def test_what_is_worse_than_expected() -> None:
    expected = Expected(
        {("all", "a"): Result("a", "skip", "why"), ("xfs", "b"): Result("b", "fail", "why")},
    )
    passed, skipped, failed = (Result("a", outcome) for outcome in ("pass", "skip", "fail"))
    assert unexpected("xfs", [passed, skipped], expected) == []
    assert unexpected("xfs", [failed], expected) == [failed]
    assert unexpected("xfs", [Result("b", "fail"), Result("b", "skip")], expected) == []
    assert unexpected("ext4", [Result("b", "fail")], expected) == [Result("b", "fail")]


def test_what_check_says_is_read(tmp_path: Path) -> None:
    suite, results = tmp_path / "suite", tmp_path / "results"
    for folder in (suite / "tests" / "generic", results / "generic"):
        folder.mkdir(parents=True)
    (suite / "tests" / "generic" / "003.out").write_text("QA output created by 003\nright\n")
    (results / "generic" / "003.out.bad").write_text("QA output created by 003\nright\nwrong\n")
    assert of_check("generic/001", " 19s ...  3s", suite, results).outcome == "pass"
    assert of_check("generic/002", "[not run] no FIEMAP", suite, results) == Result(
        "generic/002", "skip", "no FIEMAP"
    )
    assert of_check("generic/003", "- output mismatch (see 003.out.bad)", suite, results) == Result(
        "generic/003", "fail", "output mismatch | +wrong"
    )
