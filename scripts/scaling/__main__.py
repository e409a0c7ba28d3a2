"""The command: measure, show each number as it comes, say which goals were missed."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from scaling.copies import parallel, sparse
from scaling.log_size import log
from scaling.measuring import Row, Rows
from scaling.mount_size import idle, requests, tree

QUICK = 100

SCENARIOS: dict[str, Callable[[int], Rows]] = {
    scenario.__name__: scenario for scenario in (idle, tree, sparse, parallel, log, requests)
}


def main() -> int:
    """Run what is asked for; 1 if a goal was missed."""
    asked = _arguments()
    if os.geteuid() != 0:
        print("scripts/scale: loop devices and drop_caches are for root", file=sys.stderr)
        return 2
    # What was mounted is unmounted after TERM and HUP too, as after ^C.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    measured = {name: _measure(name, QUICK if asked.quick else 1) for name in asked.only or SCENARIOS}
    if asked.json:
        found = {name: [asdict(row) for row in rows] for name, rows in measured.items()}
        asked.json.write_text(json.dumps({"quick": asked.quick, "scenarios": found}, indent=1) + "\n")
    missed = sum(row.missed for rows in measured.values() for row in rows)
    print(f"\n{missed} goals missed" if missed else "\nall goals met")
    return int(missed > 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/scale", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"1/{QUICK} of everything")
    parser.add_argument("--only", action="append", choices=SCENARIOS, help="only this; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    return parser.parse_args()


def _measure(name: str, divisor: int) -> list[Row]:
    """The rows of one scenario, shown as they come."""
    scenario = SCENARIOS[name]
    print(f"\n{name}: {str(scenario.__doc__).splitlines()[0]}", flush=True)
    rows: list[Row] = []
    with closing(scenario(divisor)) as found:
        for row in found:
            rows.append(row)
            print(_line(row), flush=True)
    return rows


def _line(row: Row) -> str:
    value = f"{row.value:.0f}" if row.value == int(row.value) else f"{row.value:.4g}"
    goal = "" if row.most is None else f"at most {row.most:g}" + ": MISSED" * row.missed
    return f"  {row.what:48} {value:>10} {row.unit:4} {goal}".rstrip()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
