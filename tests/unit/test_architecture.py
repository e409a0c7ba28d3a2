"""The arrows: what a file imports or includes lies below it, and nothing leads back to itself."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import fusecopy

ROOT = Path(fusecopy.__file__).parent

FOLDERS = (
    "cli",
    "survey",
    "demo",
    "doctor",
    "checking",
    "views",
    "explaining",
    "expecting",
    "filesystem",
    "reporting",
    "serving",
    "native",
    "libfuse",
    "clone",
    "observe",
    "dispatch",
    "faults",
    "copying",
    "",
)
"""From the top down; the last is fusecopy/ itself."""

UP: set[tuple[str, str]] = set()
"""Arrows up that are still to be removed."""

CIRCLES: set[str] = set()
"""Files in a circle that is still to be removed."""

INCLUDE = re.compile(r'^#include "([\w/.]+)"', re.MULTILINE)

Arrows = dict[str, set[str]]


def python_files() -> Iterator[tuple[str, Path]]:
    for path in sorted(ROOT.rglob("*.py")):
        yield str(path.relative_to(ROOT).with_suffix("")), path


def c_files() -> Iterator[tuple[str, Path]]:
    """A header and the file that it declares are one: what includes the one depends on the other."""
    for path in sorted(ROOT.rglob("*.[ch]")):
        if not path.name.startswith("_native"):
            yield str(path.relative_to(ROOT).with_suffix("")), path


def imported(path: Path) -> Iterator[str]:
    """Dotted names below fusecopy; a name that is imported from a module may be a module itself."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
            yield node.module


def imports() -> Arrows:
    files = dict(python_files())
    arrows: Arrows = {}
    for name, path in files.items():
        arrows[name] = {
            target
            for dotted in imported(path)
            if dotted.startswith("fusecopy.")
            for target in [dotted.removeprefix("fusecopy.").replace(".", "/")]
            if target in files
        } | {
            f"{target}/__init__"
            for dotted in imported(path)
            for target in [dotted.removeprefix("fusecopy.").replace(".", "/")]
            if f"{target}/__init__" in files
            and f"{target}/__init__" != name
            and folder(name) != target  # a package runs before its modules, and is not what they import
        }
    return arrows


def includes() -> Arrows:
    files = list(c_files())
    headers = [path for _, path in files if path.suffix == ".h"]
    arrows: Arrows = {name: set() for name, _ in files}
    for name, path in files:
        for word in INCLUDE.findall(path.read_text()):
            beside = path.with_name(Path(word).name)
            found = beside if beside in headers else next(h for h in headers if h.name == Path(word).name)
            arrows[name].add(str(found.relative_to(ROOT).with_suffix("")))
        arrows[name].discard(name)
    return arrows


def folder(name: str) -> str:
    return name.rpartition("/")[0]


def reachable(arrows: Arrows, start: str) -> set[str]:
    seen: set[str] = set()
    left = set(arrows[start])
    while left:
        name = left.pop()
        seen.add(name)
        left |= arrows[name] - seen
    return seen


@pytest.mark.parametrize("arrows", [imports(), includes()], ids=["imports", "includes"])
def test_arrows_run_down(arrows: Arrows) -> None:
    up = {
        (name, target)
        for name, targets in arrows.items()
        for target in targets
        if FOLDERS.index(folder(target)) < FOLDERS.index(folder(name))
    }
    assert up == {pair for pair in UP if pair[0] in arrows and pair[1] in arrows}


@pytest.mark.parametrize("arrows", [imports(), includes()], ids=["imports", "includes"])
def test_nothing_leads_back_to_itself(arrows: Arrows) -> None:
    assert sum(len(targets) for targets in arrows.values()) > 10
    assert {name for name in arrows if name in reachable(arrows, name)} == CIRCLES & arrows.keys()
