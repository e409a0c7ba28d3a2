"""What came of each test, and whether that was to be expected."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

Outcome = Literal["pass", "skip", "fail"]


class Result(NamedTuple):
    """One test's outcome; of others than "pass" what the suite said, or in a list of expected ones, why."""

    test: str
    outcome: Outcome
    why: str = ""


class Expected(NamedTuple):
    """The results that are not "pass" and were looked into, of one suite.

    Attributes:
        results: by filesystem, or "all", and test.
    """

    results: Mapping[tuple[str, str], Result]

    def of(self, kind: str, test: str) -> Result | None:
        """What is expected on a filesystem; None for "pass"."""
        return self.results.get((kind, test)) or self.results.get(("all", test))


def read(path: Path) -> Expected:
    """A list: lines of filesystem, test, outcome and reason, between tabs; those with # say something."""
    found: dict[tuple[str, str], Result] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        if line and not line.startswith("#"):
            kind, test, outcome, why = line.split("\t")
            if outcome not in ("skip", "fail") or not why:
                raise ValueError(f"{path}: {line}")
            found[kind, test] = Result(test, "skip" if outcome == "skip" else "fail", why)
    return Expected(found)


def unexpected(kind: str, results: Iterable[Result], expected: Expected) -> list[Result]:
    """Results that are worse than expected."""
    return [
        one for one in results if one.outcome != "pass" and not _is_expected(one, expected.of(kind, one.test))
    ]


def _is_expected(one: Result, expected: Result | None) -> bool:
    return expected is not None and (one.outcome == expected.outcome or expected.outcome == "fail")


def lines(kind: str, results: Iterable[Result]) -> Sequence[str]:
    """Results that are not "pass", as a list has them."""
    return [f"{kind}\t{one.test}\t{one.outcome}\t{one.why}" for one in results if one.outcome != "pass"]
