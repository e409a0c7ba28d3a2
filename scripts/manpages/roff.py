"""man(7): what needs escaping, and the few forms that help texts and docs/ have."""

import re
from collections.abc import Iterable

MARKUP = re.compile(r"\*\*(.+?)\*\*|`([^`]+)`|\[([^\]]+)\]\(([^)]+)\)", re.DOTALL)

BLOCK = re.compile(r"\n\s*\n")


def plain(text: str) -> str:
    """One line of text as roff has to have it to be shown as it is."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("~", "\\(ti").replace("^", "\\(ha")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)


def words(text: str) -> str:
    """Text with the markup of Markdown: code and strong words are bold, links lose their address."""
    parts, at = [], 0
    text = " ".join(text.split())
    for found in MARKUP.finditer(text):
        strong, code, link, _ = found.groups()
        inside = code if code is not None else link
        parts.append(plain(text[at : found.start()]))
        parts.append(f"\\fB{plain(strong)}\\fP" if strong is not None else _inside(inside, code is not None))
        at = found.end()
    parts.append(plain(text[at:]))
    return re.sub(r"^([.'])", r"\\&\1", "".join(parts))


def _inside(text: str, code: bool) -> str:
    return f"\\fB{plain(text)}\\fP" if code else plain(text)


def title(name: str, section: int, version: str) -> list[str]:
    """The first line of a page."""
    return [f'.TH {name.upper()} {section} "" "fusecopy {version}"']


def section(name: str) -> str:
    """A heading."""
    return f'.SH "{name.upper()}"'


def entries(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """A list of names, each with what it means."""
    lines = []
    for name, meaning in pairs:
        lines += [".TP", name, meaning]
    return lines


def markdown(text: str) -> list[str]:
    """Headings, paragraphs, lists, tables and indented samples, as docs/ has them."""
    lines = []
    for block in BLOCK.split(text.strip("\n")):
        lines += _block(block.strip("\n"))
    return lines


def _block(block: str) -> list[str]:
    if block.startswith("    "):
        return [".PP", ".nf", ".RS 4", *(plain(line[4:]) for line in block.split("\n")), ".RE", ".fi"]
    if block.startswith("### "):
        return [f'.SS "{plain(block[4:])}"']
    if block.startswith("## "):
        return [section(plain(block[3:]))]
    if block.startswith("- "):
        return [part for item in re.split(r"^- ", block, flags=re.MULTILINE)[1:] for part in _item(item)]
    if block.startswith("|"):
        return _table(block)
    return [".PP", words(block)]


def _item(item: str) -> list[str]:
    return [".IP \\(bu 3", words(item)]


def _table(block: str) -> list[str]:
    """Each row after the heading's two: the first cell, and the others as its meaning."""
    rows = [re.split(r"(?<!\\)\|", line.strip().strip("|")) for line in block.split("\n")]
    heading = [cell.strip() for cell in rows[0]]
    lines = []
    for cells in ([cell.strip().replace("\\|", "|") for cell in row] for row in rows[2:]):
        unit = f" ({cells[1]})" if len(cells) == 3 and heading[1] == "unit" and cells[1] else ""
        lines += [".TP", words(cells[0]) + unit, words(cells[-1])]
    return lines
