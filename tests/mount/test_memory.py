"""What a server takes does not grow with what it has done."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mounted import Mounted, mounted

pytestmark = [pytest.mark.fuse, pytest.mark.root, pytest.mark.loop, pytest.mark.slow]

CHURN = Path(__file__).with_name("churn.py")
CLIENTS = 8
OPERATIONS = 800
ROUNDS = 10
TOLERANCE = 1.06
"""Of anonymous memory; what was remembered of 4,096 files that were gone took 20 % and more."""


def anonymous(mount: Mounted) -> int:
    """KiB of the server's own."""
    mount.attribute("stats")  # when everything is told
    rollup = Path(f"/proc/{mount.attribute('pid')}/smaps_rollup").read_text()
    found = re.search(r"^Anonymous: +(\d+) kB$", rollup, re.MULTILINE)
    assert found
    return int(found[1])


def churn(mount: Mounted, number: int) -> None:
    """A round of many things at once, of which nothing is left."""
    places = [mount.path / f"{number}-{client}" for client in range(CLIENTS)]
    clients = []
    for client, place in enumerate(places):
        place.mkdir()
        command: list[str | Path] = [sys.executable, CHURN, str(number * CLIENTS + client), str(OPERATIONS)]
        clients.append(subprocess.Popen(command, cwd=place))
    assert [client.wait(300) for client in clients] == [0] * CLIENTS
    for place in places:
        shutil.rmtree(place)


@pytest.mark.timeout(1800)
def test_memory_is_flat_after_the_second_round(btrfs: Path) -> None:
    backing = btrfs / "memory"
    backing.mkdir()
    with mounted(backing) as mount:
        taken = []
        for number in range(ROUNDS):
            churn(mount, number)
            taken.append(anonymous(mount))
    assert max(taken[2:]) <= TOLERANCE * taken[1], taken
