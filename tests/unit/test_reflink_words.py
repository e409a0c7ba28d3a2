"""Which command lines ask for a reflink or nothing."""

import pytest

from fusecopy.reporting.kernelrefusals import asks_for_reflink


@pytest.mark.parametrize(
    ("line", "asks"),
    [
        ("cp --reflink a b", True),
        ("cp --reflink=always a b", True),
        ("cp --refl=al a b", True),
        ("cp a b --reflink", True),
        ("cp --reflink=auto --reflink a b", True),
        ("cp --reflink -- a b", True),
        ("cp a b", False),
        ("cp --reflink=auto a b", False),
        ("cp --reflink=never a b", False),
        ("cp --reflink=a a b", False),
        ("cp --reflink= a b", False),
        ("cp --reflink --reflink=auto a b", False),
        ("cp --reflink --attributes-only a b", False),
        ("cp -- --reflink b", False),
        ("gh run --ref main", False),
        ("x --reflinks", False),
        ("--reflink", False),
        ("", False),
    ],
)
def test_words(line: str, asks: bool) -> None:
    assert asks_for_reflink(line.encode().split()) is asks
