"""docs/kernels.md says what was measured, and the running kernel does what its column says."""

import pytest

from labbing import columns
from labbing.kernels import numbers
from probing.asking import ask
from probing.facts import kernel
from probing.place import place
from probing.probes import sections
from probing.records import Column, Found


def test_the_page_is_made_of_the_columns() -> None:
    assert columns.PAGE.read_text() == columns.page(columns.kept()), "make it anew: scripts/lab --docs"


@pytest.mark.parametrize("column", columns.kept(), ids=lambda column: column.kernel)
def test_columns_hold_what_is_probed(column: Column) -> None:
    asked = [probe.name for probes in sections().values() for probe in probes]
    found = [one.name for one in column.found]
    assert found == [name for name in asked if name in found], "make it anew: scripts/lab --record"
    assert {probe.name for probes in sections().values() for probe in probes if probe.quick} <= set(found)


def quick_probes() -> list[Found]:
    with place() as where:
        return [
            ask(where, section, probe)
            for section, probes in sections().items()
            for probe in probes
            if probe.quick
        ]


def nearest(version: str) -> Column:
    """The running kernel's column, or the newest of an older one."""
    older = [
        column for column in columns.kept() if numbers(columns.series(column.kernel)) <= numbers(version)
    ]
    return older[-1] if older else columns.kept()[0]


@pytest.mark.root
@pytest.mark.fuse
@pytest.mark.loop
def test_the_running_kernel_is_as_its_column_says() -> None:
    version = kernel()
    column = nearest(version)
    said = {one.name: one.text() for one in column.found}
    new = [
        f"{one.asked}: {one.text()}, not {said[one.name]}"
        for one in quick_probes()
        if one.text() != said[one.name]
    ]
    if columns.series(column.kernel) == columns.series(version):
        assert not new
    elif new:
        pytest.skip(f"no column for {version} yet; against {column.kernel} it is new that " + "; ".join(new))
