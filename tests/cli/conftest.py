"""Fixtures of the commands' tests."""

from collections.abc import Iterator

import pytest

from tests.cli import commands
from tests.cli.commands import Place
from tests.conftest import require
from tests.mount.ordinary import fuse_for_all


@pytest.fixture
def place() -> Iterator[Place]:
    """A fresh place for a mount."""
    with commands.place() as there:
        yield there


@pytest.fixture
def everybody() -> Iterator[None]:
    """Ordinary users may use FUSE while the test runs."""
    require("fuse", "root")
    with fuse_for_all():
        yield
