"""The text that Prometheus reads, version 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats).

It is a line for a sample; what makes it is shorter than what a library would have each server import.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

Labels = dict[str, str]

FAMILY = re.compile(r"# (?:HELP|TYPE) (\w+)")
SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)", re.DOTALL)


class Histogram(NamedTuple):
    """What was counted in classes: up to each bound, then beyond them. Bounds and total are in base units."""

    labels: Labels
    bounds: Sequence[float]
    counts: Sequence[int]
    total: float


def family(name: str, kind: str, meaning: str, samples: Iterable[tuple[Labels, float]]) -> Iterator[str]:
    """The lines of a counter or gauge."""
    yield f"# HELP {name} {meaning}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        yield _sample(name, labels, value)


def histogram(name: str, meaning: str, histograms: Iterable[Histogram]) -> Iterator[str]:
    """The lines of a histogram."""
    yield from family(name, "histogram", meaning, [])
    for labels, bounds, counts, total in histograms:
        upper = [*(f"{bound:g}" for bound in bounds), "+Inf"]
        for bound, count in zip(upper, accumulate(counts), strict=True):
            yield _sample(f"{name}_bucket", {**labels, "le": bound}, count)
        yield _sample(f"{name}_sum", labels, total)
        yield _sample(f"{name}_count", labels, sum(counts))


def merged(texts: Mapping[str, str], label: str) -> Iterator[str]:
    """The lines of several texts as those of one, in which each sample has the key of its text as a label."""
    families: dict[str, list[str]] = {}
    for key, text in texts.items():
        name = ""
        for line in text.split("\n")[:-1]:
            if found := FAMILY.match(line):
                name = found[1]
            lines = families.setdefault(name, [])
            if not found:
                lines.append(_labelled(line, label, key))
            elif line not in lines:
                lines.append(line)
    for lines in families.values():
        yield from lines


def _labelled(line: str, label: str, value: str) -> str:
    found = SAMPLE.fullmatch(line)
    if not found:
        raise ValueError(f"not a sample: {line}")
    name, inside, number = found.groups()
    labels = ",".join(filter(None, (f'{label}="{_escaped(value)}"', inside)))
    return f"{name}{{{labels}}} {number}"


def _sample(name: str, labels: Labels, value: float) -> str:
    inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"{name}{{{inside}}} {value}" if inside else f"{name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
