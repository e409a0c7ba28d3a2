"""The command line of scripts/bench."""

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from benching import plots, report, tools
from benching.commands import BenchError
from benching.measuring import Bench
from benching.peers import PEERS, Kind, Peer, selected, unfit
from benching.place import filesystem, lay_out, scratch
from benching.records import NotMeasured, Run, Told
from benching.requests import Tracing, tracing
from benching.serving import fusectl, raise_descriptor_limit
from benching.settings import FILESYSTEMS, FULL, QUICK, Sizes
from benching.summary import tables
from benching.workloads import Contents, Workload, workloads
from fusecopy.errors import FusecopyError

FULL_ROUNDS, QUICK_ROUNDS = 5, 2
FULL_SECONDS, QUICK_SECONDS = 600.0, 60.0
QUICK_WORKLOADS = (
    "cp-big", "call-64k", "declined", "cp-one", "cp-few", "walk-cold", "rm", "read-fresh", "create", "open",
    "tar", "checkout", "database", "make", "copiers-16", "clients",
)  # fmt: skip
QUICK_PEERS = ("fusecopy", "fusecopy:declines", "passthrough_ll", "mergerfs", "bindfs", "fuse-overlayfs")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    names = [one.name for one in workloads(QUICK, Contents(["d00", "d01", "d02", "d03", "d04"], 500, 0))]
    peers = [peer.name for peer in PEERS]
    parser = argparse.ArgumentParser(
        "bench", description="fusecopy and its peers over the same images, in turn."
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="small sizes, few rounds, the main workloads and peers, btrfs")
    add("--fs", nargs="+", choices=FILESYSTEMS, help="filesystems of the backing")
    add("--only", nargs="+", choices=names, metavar="WORKLOAD", help=", ".join(names))
    add("--peer", nargs="+", choices=peers, metavar="PEER",
        help=", ".join(peers) + "; native always")  # fmt: skip
    add("--rounds", type=int, help=f"{FULL_ROUNDS}, or {QUICK_ROUNDS} when quick")
    add("--out", type=Path, default=Path("bench-out"), help="directory for bench.json, bench.md and plots")
    add("--program", action="append", default=[], metavar="NAME=PATH",
        help="a program of your own for a peer, as passthrough_ll, mergerfs, go-fuse")  # fmt: skip
    add("--install", action="store_true", help="first fetch the peers by apt and pip")
    given = parser.parse_args(arguments)
    given.sizes = QUICK if given.quick else FULL
    given.rounds = given.rounds or (QUICK_ROUNDS if given.quick else FULL_ROUNDS)
    given.fs = given.fs or (FILESYSTEMS[:1] if given.quick else FILESYSTEMS)
    given.peer = given.peer or (QUICK_PEERS if given.quick else peers)
    given.only = given.only or (QUICK_WORKLOADS if given.quick else names)
    given.seconds = QUICK_SECONDS if given.quick else FULL_SECONDS
    return given


def _programs(given: argparse.Namespace) -> dict[str, Path]:
    """Programs of the user's own. Raises BenchError."""
    pairs = [word.partition("=") for word in given.program]
    for name, _, path in pairs:
        if not os.access(path, os.X_OK):
            raise BenchError(f"--program {name}: {path or 'nothing'} cannot be run", "give NAME=PATH")
    return {name: Path(path).absolute() for name, _, path in pairs}


class Benchmark:
    """One run: everything asked for, filesystem by filesystem."""

    def __init__(
        self, given: argparse.Namespace, place: Path, found: tools.Tools, counting: Tracing | None, run: Run
    ) -> None:
        self._given = given
        self._place = place
        self._tools = found
        self._tracing = counting
        self._run = run

    def measure(self, kind: str) -> None:
        """All workloads by all peers on one filesystem."""
        sizes: Sizes = self._given.sizes
        with filesystem(kind, sizes.image, self._place) as root:
            backing = root / "served"
            for directory in (backing, root / "work"):
                directory.mkdir()
            contents = lay_out(backing, sizes)
            chosen = [one for one in workloads(sizes, contents) if one.name in self._given.only]
            self._run.workloads = [Told(one.name, one.title, one.units) for one in chosen]
            bench = Bench(kind, backing, self._place, self._given.seconds, self._tracing)
            living = self._living(bench, chosen)
            for workload in chosen:
                self._rounds(bench, workload, living)

    def _living(self, bench: Bench, chosen: list[Workload]) -> list[Peer]:
        """The peers that can mount here, each tried once."""
        living = []
        for peer in selected(self._given.peer):
            try:
                program = bench.try_out(peer, self._tools[peer.tool])
            except BenchError as error:
                self._not_measured(bench, chosen, peer, error.message)
                continue
            living.append(peer)
            if program.peer not in [one.peer for one in self._run.programs]:
                self._run.programs.append(program)
        return living

    def _not_measured(self, bench: Bench, chosen: list[Workload], peer: Peer, reason: str) -> None:
        self._run.not_measured += [
            NotMeasured(bench.filesystem, one.name, peer.name, reason) for one in chosen
        ]

    def _rounds(self, bench: Bench, workload: Workload, living: list[Peer]) -> None:
        """Round 0 traces requests; the order is another in every round."""
        fit = []
        for peer in living:
            reason = unfit(peer, workload, bench.filesystem)
            if reason:
                self._not_measured(bench, [workload], peer, reason)
            else:
                fit.append(peer)
        for number in range(self._given.rounds + 1 if fit else 0):
            first = number % len(fit)
            for peer in fit[first:] + fit[:first]:
                if not number and peer.kind is Kind.NATIVE:
                    continue
                _say(
                    f"{bench.filesystem} {workload.name} round {number} of {self._given.rounds}: {peer.name}"
                )
                measured = bench.measure(peer, self._tools[peer.tool], workload, number)
                self._run.measurements.append(measured)


def _machine() -> dict[str, str]:
    return {
        "Linux": platform.release(),
        "Python": platform.python_version(),
        "processors": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def _say(line: str) -> None:
    end = "\x1b[K\r" if sys.stderr.isatty() else "\n"
    print(line, end=end, file=sys.stderr, flush=True)


def measure(given: argparse.Namespace, run: Run) -> None:
    """Measure all that was asked for, into `run`."""
    raise_descriptor_limit()
    with ExitStack() as stack:
        place = stack.enter_context(scratch())
        stack.enter_context(fusectl())
        counting = None
        try:
            counting = stack.enter_context(tracing(place / "tracing"))
        except BenchError as error:
            run.untraced = error.message
        benchmark = Benchmark(given, place, tools.find(place, _programs(given)), counting, run)
        for kind in given.fs:
            benchmark.measure(kind)


def publish(run: Run, out: Path) -> None:
    """Write the JSON, the tables and the plots, and print the tables."""
    out.mkdir(parents=True, exist_ok=True)
    found = tables(run)
    encoded = msgspec.json.encode({"run": run, "tables": found})
    (out / "bench.json").write_bytes(msgspec.json.format(encoded, indent=1))
    text = report.markdown(run, found)
    (out / "bench.md").write_text(text)
    print(text)
    plots.draw(found, out)


def main() -> int:
    """Measure and report, also what there was until ^C or an error; the exit status."""
    given = parse()
    run = Run(machine=_machine(), rounds=given.rounds)
    status = 0
    try:
        if given.install:
            tools.install()
        measure(given, run)
    except KeyboardInterrupt:
        status = 130
    except FusecopyError as error:
        print(f"bench: {error}", file=sys.stderr)
        status = int(error.exit_status)
    finally:
        if run.measurements:
            publish(run, given.out)
    return status


if __name__ == "__main__":
    sys.exit(main())
