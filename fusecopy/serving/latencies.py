"""How long requests took to be served, as it is counted where they are (native/operations.c)."""

from typing import NamedTuple

from fusecopy.native._native import ffi, lib

LATENCY_BOUNDS_NS = [lib.FUSECOPY_LEAST_LATENCY_NS * 4**power for power in range(lib.FUSECOPY_LATENCIES - 1)]

LANES = ("python", "native")
"""In the order in which they are counted."""


class Latencies(NamedTuple):
    """Of one operation's requests in one lane.

    Attributes:
        operation: its name.
        lane: native or python.
        counts: requests that took up to each of LATENCY_BOUNDS_NS and longer than the one before, then those
            that took longer than all.
        total_ns: time of all.
    """

    operation: str
    lane: str
    counts: list[int]
    total_ns: int


def latencies() -> list[Latencies]:
    """Of every operation and lane that served a request. Each number is read by itself, so those of requests
    that are answered meanwhile may be in one and not yet in the next."""
    found = []
    for opcode, lanes in enumerate(lib.fusecopy_get_connection().latencies):
        row = lib.fusecopy_operation(opcode)
        for lane, one in zip(LANES, lanes, strict=True):
            counts = list(one.counts)
            if row and any(counts):
                found.append(Latencies(ffi.string(row.name).decode(), lane, counts, one.total_ns))
    return found
