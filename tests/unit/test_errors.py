"""The exit statuses, which scripts rely on."""

import pytest

from fusecopy import errors
from fusecopy.errors import Exit, FusecopyError, MountPointError

STATUSES = {
    "OK": 0,
    "FAILURE": 1,
    "USAGE": 2,
    "MOUNT_POINT": 10,
    "BACKING": 11,
    "STALE": 12,
    "NO_FUSE": 13,
    "MOUNT_REFUSED": 14,
    "UNMOUNT": 15,
    "NOT_SHARED": 20,
    "STRICT": 21,
    "LOG": 22,
    "REQUIREMENT": 23,
    "EXPECTATION": 24,
    "SERVER_CHECK": 25,
}

CLASSES = {
    "FusecopyError": 1,
    "UsageError": 2,
    "MountPointError": 10,
    "BackingError": 11,
    "StaleMountError": 12,
    "FuseUnavailableError": 13,
    "MountRefusedError": 14,
    "UnmountError": 15,
    "NotSharedError": 20,
    "StrictError": 21,
    "LogError": 22,
    "RequirementError": 23,
    "ExpectationError": 24,
    "ServerCheckError": 25,
}


def test_statuses_never_change() -> None:
    assert {exit_.name: exit_.value for exit_ in Exit} == STATUSES


def test_each_class_has_its_status() -> None:
    found = {
        name: int(class_.exit_status)
        for name, class_ in vars(errors).items()
        if isinstance(class_, type) and issubclass(class_, FusecopyError)
    }
    assert found == CLASSES


@pytest.mark.parametrize("name", CLASSES)
def test_the_table_at_the_top_of_the_module_tells_them(name: str) -> None:
    assert f"{name:<22}" in (errors.__doc__ or "")
    line = next(line for line in (errors.__doc__ or "").splitlines() if line.split()[:1] == [name])
    assert line.split()[1] == str(CLASSES[name])


def test_an_error_reads_as_message_and_remedy() -> None:
    assert str(MountPointError("x: no such directory", "make it")) == "x: no such directory\n  make it"
    assert str(MountPointError("x: no such directory")) == "x: no such directory"
