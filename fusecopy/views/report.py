"""One page of HTML about a log: what was copied which way, what it cost, and what would mend it."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

import jinja2

from fusecopy import __version__
from fusecopy.dispatch.records import Copy
from fusecopy.terminal import printable
from fusecopy.views import drawings
from fusecopy.views.digest import Digest, Sum
from fusecopy.views.format import duration, percent, rate, size

MOST_GROUPS = 15
"""Programs and directories that have a bar of their own."""

DEARER = ("fallback", "bypassed")
"""What is compared with dispatched copies of the same size."""


class Bar(NamedTuple):
    """A row of a chart; `part` is in percent of the longest."""

    name: str
    copies: int
    bytes: int
    duration_us: int
    part: float


class Price(NamedTuple):
    """What copies of one dispatch took, and what as many dispatched ones of the same sizes do.

    Attributes:
        copies: those of sizes of which there were dispatched ones.
        took_us, dispatched_us: both times, in microseconds.
    """

    dispatch: str
    copies: int
    took_us: int
    dispatched_us: int


def page(digest: Digest) -> str:
    """The page, which needs no other file and no network."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fusecopy", "views"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(size=size, duration=duration, shown=printable)
    environment.globals.update(percent=percent, rate=rate)
    total = digest.summary.total
    return environment.get_template("report.html").render(
        version=__version__,
        made=datetime.now().astimezone().isoformat(timespec="seconds"),
        digest=digest,
        total=total,
        by_dispatch=_by_dispatch(digest),
        pictures=_pictures(digest) if total.copies else {},
        causes=sorted(digest.causes.values(), key=lambda cause: -cause.duration_us),
        prices=list(_prices(digest)),
        programs=_bars(
            {
                name: Sum(one.copies, one.copied, one.duration_us)
                for name, one in digest.summary.by_program.items()
            }
        ),
        directories=_bars(digest.directories),
        copies=[copy for _, _, copy in sorted(digest.listed, key=lambda entry: entry[:2], reverse=True)],
        size_of=_size,
        shared_of=_shared,
    )


def _pictures(digest: Digest) -> dict[str, str]:
    """Of at least one copy, as SVG; empty where there is but one point to draw."""
    return {
        "ways": drawings.ways(_ways(digest)),
        "timeline": drawings.timeline(digest) if len({key[0] for key in digest.moments}) > 1 else "",
        "durations": drawings.durations(digest.sizes) if len(digest.sizes) > 1 else "",
    }


def _by_dispatch(digest: Digest) -> dict[str, Sum]:
    """Copies by dispatch, in the order in which they are told of."""
    sums = {dispatch: Sum() for dispatch in drawings.SHOWN}
    for (dispatch, _), one in digest.summary.by_path.items():
        sums[dispatch].copies += one.copies
        sums[dispatch].bytes += one.copied
        sums[dispatch].duration_us += one.duration_us
    return {dispatch: one for dispatch, one in sums.items() if one.copies}


def _ways(digest: Digest) -> Iterator[drawings.Way]:
    whole = max(1, digest.summary.total.copied)
    taken = sorted(digest.summary.by_path.items(), key=lambda item: (-item[1].copied, -item[1].copies))
    for (dispatch, path), one in taken:
        yield drawings.Way(dispatch, path, one.copies, one.copied, one.copied / whole)


def _prices(digest: Digest) -> Iterator[Price]:
    for dispatch in DEARER:
        price = Price(dispatch, 0, 0, 0)
        for (of, bits), one in digest.sizes.items():
            offloaded = digest.sizes.get(("dispatched", bits))
            if of == dispatch and offloaded:
                dispatched_us = offloaded.duration_us * one.copies // offloaded.copies
                price = Price(
                    dispatch,
                    price.copies + one.copies,
                    price.took_us + one.duration_us,
                    price.dispatched_us + dispatched_us,
                )
        if price.copies:
            yield price


def _bars(sums: dict[str, Sum]) -> list[Bar]:
    """The largest, and all others in one."""
    ranked = sorted(sums.items(), key=lambda item: (-item[1].bytes, -item[1].copies))
    shown, rest = ranked[:MOST_GROUPS], ranked[MOST_GROUPS:]
    if rest:
        shown.append((f"{len(rest)} others", _total(one for _, one in rest)))
    longest = max((one.bytes for _, one in shown), default=0) or 1
    return [
        Bar(name or ".", one.copies, one.bytes, one.duration_us, 100 * one.bytes / longest)
        for name, one in shown
    ]


def _total(sums: Iterable[Sum]) -> Sum:
    whole = Sum()
    for one in sums:
        whole.copies += one.copies
        whole.bytes += one.bytes
        whole.duration_us += one.duration_us
    return whole


def _size(copy: Copy) -> int:
    """As the table of `fusecopy log` has it: of one of which nothing was copied, what was asked for."""
    return copy.copied or copy.length


def _shared(copy: Copy) -> str:
    if copy.copied is None or (copy.shared is None and copy.copied):
        return "?"
    return percent(copy.shared or 0, copy.copied - copy.holes)
