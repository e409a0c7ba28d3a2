"""A verdict in the words of programs: JSON and JUnit's XML."""

import json
import os
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree

from fusecopy.dispatch.records import encode_path
from fusecopy.expecting.expectation import UNKNOWN, Expectation
from fusecopy.expecting.records import Copy
from fusecopy.expecting.watching import Watched
from fusecopy.terminal import printable


def json_lines(watched: Watched, expectation: Expectation | None, unmet: str) -> Iterator[str]:
    """One object for each copy, and one for the verdict."""
    for copy in watched.copies:
        yield json.dumps(_of_copy(copy, expectation))
    yield json.dumps(
        {
            "type": "verdict",
            "expected": str(expectation) if expectation else None,
            "holds": not unmet if expectation else None,
            "why_not": unmet or None,
            "command_status": watched.status,
            "copies": len(watched.copies),
            **sums(watched.copies),
            "unseen_calls": watched.unseen,
            "lost_names": watched.lost,
        }
    )


def sums(copies: Sequence[Copy]) -> dict[str, int]:
    """Bytes of all copies."""
    return {
        name: sum(getattr(copy, name) for copy in copies)
        for name in ("size", "shared", "rewritten", "unprovable", "holes")
    }


def junit(watched: Watched, expectation: Expectation, unmet: str) -> str:
    """A test suite with one case for each copy, and one for the whole, as CI systems read it."""
    broken = [copy for copy in watched.copies if expectation.breaks(copy)] if unmet else []
    passed_over = [copy for copy in watched.copies if expectation.allow_unknown and copy.state in UNKNOWN]
    suite = ElementTree.Element(
        "testsuite",
        name=f"fusecopy expect {expectation}",
        tests=str(len(watched.copies) + 1),
        failures=str(len(broken) + bool(unmet)),
        errors="0",
        skipped=str(len(passed_over)),
    )
    whole = ElementTree.SubElement(suite, "testcase", classname="fusecopy", name=f"expect {expectation}")
    if unmet:
        ElementTree.SubElement(whole, "failure", message=_xml(unmet))
    for copy in watched.copies:
        name = _xml(f"{copy.source} -> {copy.destination}")
        case = ElementTree.SubElement(suite, "testcase", classname=_xml(copy.program), name=name)
        if copy in broken:
            ElementTree.SubElement(case, "failure", message=_xml(said(copy)))
        elif copy in passed_over:
            ElementTree.SubElement(case, "skipped", message=_xml(said(copy)))
    text: str = ElementTree.tostring(suite, encoding="unicode")
    return f"<?xml version='1.0'?>\n{text}\n"


def maker(copy: Copy) -> str:
    """What made a copy, in one word; with a question mark where it is only what was called last."""
    return copy.made_by or f"{copy.asked[-1]}?"


def said(copy: Copy) -> str:
    """What came of a copy, in one sentence."""
    reason = f": {copy.reason}" if copy.reason else ""
    asked = f", asked by {', '.join(copy.asked)}" if copy.asked else ""
    return (
        f"{copy.state} by {maker(copy)}{asked}: {copy.shared} bytes shared, {copy.rewritten} rewritten, "
        f"{copy.unprovable} unprovable of {copy.size}{reason}"
    )


def _of_copy(copy: Copy, expectation: Expectation | None) -> dict[str, object]:
    found: dict[str, object] = {"type": "copy", "program": copy.program, "pid": copy.process}
    for key, path in (("source", copy.source), ("destination", copy.destination)):
        text, encoded = encode_path(os.fsencode(path))
        found[key] = text
        if encoded is not None:
            found[f"{key}_b64"] = encoded
    return {
        **found,
        "asked": list(copy.asked),
        "made_by": copy.made_by,
        "state": str(copy.state),
        **sums([copy]),
        "as_expected": not expectation.breaks(copy) if expectation else None,
        **({"reason": copy.reason} if copy.reason else {}),
    }


def _xml(text: str) -> str:
    """Text without what XML cannot hold."""
    return printable(text)
