"""The pictures of the report, as SVG. Their colours are the page's, so that they follow light and dark."""

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

import drawsvg

from fusecopy.views.digest import Digest, Sum
from fusecopy.views.format import duration, size

WIDTH = 920
MOST_BARS = 92
"""Of the timeline."""

SECONDS = (1, 10, 60, 600, 3600, 86400, 31 * 86400, 366 * 86400)
"""What each of the digest's PREFIXES stands for, at most."""

SHOWN = ("dispatched", "fallback", "bypassed", "refused", "unknown")

NAME_HEIGHT = 15

STATIONS = ("program", "kernel: FUSE", "server", "kernel: files", "backing")
"""What bytes can come through on their way from the backing to the backing."""

FURTHEST = {
    "reflink": 4,
    "dedupe": 4,
    "copy_file_range": 3,
    "splice": 3,
    "sendfile": 3,
    "readwrite": 2,
    "kernel-splice": 1,
    "client": 0,
}
"""How far from the backing a path takes them."""

SAID = {
    "reflink": "no byte moves: both files have the same extents",
    "dedupe": "no byte moves: they are compared, and then shared",
    "copy_file_range": "the backing's filesystem copies by itself",
    "splice": "through the server's pipe, which the kernel fills and empties",
    "sendfile": "from page to page in the kernel",
    "readwrite": "through the server's memory",
    "kernel-splice": "as READs and WRITEs, through a pipe of the kernel's",
    "client": "as READs and WRITEs, through the program's memory",
}

PADDING = "0001-01-01T00:00:00"
"""What the beginning of a time is completed with."""


class Way(NamedTuple):
    """A path that copies took. Bytes; `share` of all bytes, 0 to 1."""

    dispatch: str
    path: str
    copies: int
    bytes: int
    share: float


def ways(taken: Iterable[Way]) -> str:
    """Which way the bytes went for each path, the wider the more there were."""
    rows = list(taken)
    left, right, top, height = 330, 50, 46, 62
    picture = _picture(top + height * len(rows) + 6, "The way of the bytes, by path")
    xs = [left + number * (WIDTH - left - right) / (len(STATIONS) - 1) for number in range(len(STATIONS))]
    for x, name in zip(xs, STATIONS, strict=True):
        picture.append(_text(name, x, 22, "label", "middle"))
        picture.append(drawsvg.Line(x, 32, x, top + height * len(rows), class_="grid"))
    for number, way in enumerate(rows):
        y = top + height * number + height / 2
        picture.append(_text(f"{way.dispatch}, {way.path}", 0, y - 10, "name"))
        picture.append(
            _text(f"{size(way.bytes)} in {_count(way.copies, 'copy', 'copies')}", 0, y + 6, "label")
        )
        picture.append(_text(SAID.get(way.path, "nothing was copied"), 0, y + 21, "faint"))
        for part in _band(way, xs, y):
            picture.append(part)
    return _svg(picture)


def _band(way: Way, xs: list[float], y: float) -> Iterator[drawsvg.DrawingElement]:
    """There and back, as wide as there were bytes; a ring where they stay; a cross where the copy ended."""
    width = 2.5 + 13 * math.sqrt(way.share)
    if way.path not in FURTHEST:
        end = xs[1] if way.dispatch == "refused" else xs[0]
        yield drawsvg.Line(xs[0], y, end, y, class_=f"ask {way.dispatch}")
        yield _text("✕", end, y + 6, f"cross {way.dispatch}", "middle")
        return
    if way.dispatch in ("dispatched", "fallback"):
        yield drawsvg.Line(xs[0], y, xs[2], y, class_="ask")
    far, home = xs[FURTHEST[way.path]], xs[-1]
    if far == home:
        yield drawsvg.Circle(home, y, 6 + width / 2, class_=f"ring {way.dispatch}", stroke_width=width / 2)
        return
    gap = width / 2 + 3
    bend = drawsvg.Path(class_=f"band {way.dispatch}", stroke_width=width)
    bend.M(home, y - gap).L(far + gap, y - gap).A(gap, gap, 0, 0, 0, far + gap, y + gap).L(home - 10, y + gap)
    yield bend
    yield drawsvg.Lines(
        *(home - 10, y + gap - width / 2 - 3, home - 10, y + gap + width / 2 + 3, home + 2, y + gap),
        close=True,
        class_=f"head {way.dispatch}",
    )


def timeline(digest: Digest) -> str:
    """Bytes by when they were copied, by dispatch."""
    bars, begin, end = _bars(digest)
    left, top, height = 60, 12, 170
    picture = _picture(top + height + 30, "Bytes over time, by dispatch")
    most = max((sum(one.values()) for one in bars), default=0) or 1
    for part in (0, 0.5, 1):
        y = top + height * (1 - part)
        picture.append(drawsvg.Line(left, y, WIDTH, y, class_="grid"))
        picture.append(_text(size(int(most * part)), left - 8, y + 4, "label", "end"))
    step = (WIDTH - left) / len(bars)
    for number, one in enumerate(bars):
        y = top + height
        for dispatch in SHOWN:
            tall = height * one.get(dispatch, 0) / most
            if tall:
                y -= max(tall, 1)
                bar = drawsvg.Rectangle(
                    left + number * step, y, max(1, step - 1), max(tall, 1), class_=f"fill {dispatch}"
                )
                bar.append_title(f"{dispatch}: {size(one[dispatch])}")
                picture.append(bar)
    for text, x, anchor in ((begin, left, "start"), (end, WIDTH, "end")):
        picture.append(_text(text, x, top + height + 20, "label", anchor))
    return _svg(picture)


def _bars(digest: Digest) -> tuple[list[dict[str, int]], str, str]:
    """Bytes by dispatch of each bar, and when the first and the last begin. Each bar is of as many of the
    moments that the digest tells apart, so that none is left empty between them."""
    moments = {key: _moment(key[0]) for key in digest.moments}
    begin, end = min(moments.values()), max(moments.values())
    unit = SECONDS[digest.coarseness]
    units = int((end - begin).total_seconds() / unit) + 1
    together = math.ceil(units / MOST_BARS)
    bars: list[dict[str, int]] = [{} for _ in range(math.ceil(units / together))]
    for key, moment in moments.items():
        bar = bars[int((moment - begin).total_seconds() / unit) // together]
        bar[key[1]] = bar.get(key[1], 0) + digest.moments[key].bytes
    return bars, f"{begin:%Y-%m-%d %H:%M:%S}", f"{end:%Y-%m-%d %H:%M:%S}"


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text + PADDING[len(text) :])


def durations(sizes: Mapping[tuple[str, int], Sum]) -> str:
    """How long copies took by their size, mean of each power of two, both scales logarithmic."""
    means = {
        dispatch: {
            bits: one.duration_us / one.copies for (of, bits), one in sorted(sizes.items()) if of == dispatch
        }
        for dispatch in SHOWN
    }
    every = [mean for one in means.values() for mean in one.values()]
    low, high = math.floor(math.log10(max(1, min(every)))), math.ceil(math.log10(max(10, *every)))
    least, most = min(bits for _, bits in sizes), max(bits for _, bits in sizes)
    left, right, top, height = 60, 110, 12, 230
    picture = _picture(top + height + 30, "How long copies took, by size and dispatch")

    def place(bits: int, mean: float) -> tuple[float, float]:
        across = (bits - least + 0.5) / (most - least + 1)
        up = (math.log10(max(1, mean)) - low) / max(1, high - low)
        return left + (WIDTH - left - right) * across, top + height * (1 - up)

    for power in range(low, high + 1):
        y = place(least, 10**power)[1]
        picture.append(drawsvg.Line(left, y, WIDTH - right, y, class_="grid"))
        picture.append(_text(duration(10**power), left - 8, y + 4, "label", "end"))
    for bits in range(least, most + 1, max(1, (most - least) // 8)):
        picture.append(
            _text(size(1 << max(0, bits - 1)), place(bits, 1)[0], top + height + 20, "label", "middle")
        )
    ends: dict[str, float] = {}
    for dispatch, points in means.items():
        places = [place(bits, mean) for bits, mean in points.items()]
        if places:
            flat = [number for point in places for number in point]
            picture.append(drawsvg.Lines(*flat, class_=f"line {dispatch}"))
            picture.extend(drawsvg.Circle(x, y, 3.5, class_=f"fill {dispatch}") for x, y in places)
            ends[dispatch] = places[-1][1]
    for dispatch, y in _apart(ends):
        picture.append(_text(dispatch, WIDTH - right + 8, y + 4, f"name {dispatch}"))
    return _svg(picture)


def _apart(ends: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """Names and where their lines end, moved so that none covers another."""
    free = -math.inf
    for name, y in sorted(ends.items(), key=lambda item: item[1]):
        free = max(y, free)
        yield name, free
        free += NAME_HEIGHT


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _picture(height: float, title: str) -> drawsvg.Drawing:
    return drawsvg.Drawing(WIDTH, height, role="img", aria_label=title)


def _text(text: str, x: float, y: float, kind: str, anchor: str = "start") -> drawsvg.Text:
    return drawsvg.Text(text, None, x, y, class_=kind, text_anchor=anchor)


def _svg(picture: drawsvg.Drawing) -> str:
    """Without the heading of a file of its own, and as wide as its place."""
    text: str = picture.as_svg(header="", skip_js=True)
    return text
