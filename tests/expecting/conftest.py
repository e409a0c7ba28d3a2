"""What all of these tests need."""

import pytest

from tests.conftest import require


@pytest.fixture(autouse=True)
def _notifications() -> None:
    require("seccomp")
