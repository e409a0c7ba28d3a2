"""Whether the native lane may clone is decided by two threads at once; the newer policy has to win."""

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fusecopy import serving
from fusecopy.filesystem.control import Announcements
from fusecopy.filesystem.copies import Copies
from fusecopy.filesystem.policy import parse


def test_a_stale_yes_is_not_stored_over_a_no(monkeypatch: pytest.MonkeyPatch) -> None:
    stored: list[bool] = []
    asked, refused = threading.Event(), threading.Event()

    def allow(allowed: bool) -> None:
        if allowed and stored:  # the announcement's: as late as it can be
            asked.set()
            refused.wait(0.2)
        stored.append(allowed)
        if not allowed:
            refused.set()

    monkeypatch.setattr(serving, "allow_clones", allow)
    none, announcements = cast(Any, None), Announcements()
    watching = cast(Any, SimpleNamespace(sees_all=True, changed=None))
    copies = Copies(none, none, none, announcements, none, parse(""), watching)
    assert stored == [True]
    thread = threading.Thread(target=announcements.changed)
    thread.start()
    assert asked.wait(20)
    copies.set_policy(parse("decline=exdev"))
    thread.join(20)
    assert stored == [True, True, False]
