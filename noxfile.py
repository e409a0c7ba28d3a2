"""The tests by each Python that pyproject.toml names, for those that are at hand.

    nox                          all of them, the tests that need no mount and some that do
    nox -s tests-3.14 -- tests   everything by one

The native modules are built in the tree, as for .venv: cffi makes them of what every Python has (abi3).
"""

import nox

nox.options.default_venv_backend = "uv|virtualenv"  # uv fetches what is not on the machine
nox.options.error_on_missing_interpreters = False

PROJECT = nox.project.load_toml("pyproject.toml")
TESTS = ("tests/unit", "tests/reflink", "tests/clone", "tests/mount/test_files.py", "tests/cli/test_cp.py")


@nox.session(python=nox.project.python_versions(PROJECT))
def tests(session: nox.Session) -> None:
    """Arguments after -- go to pytest."""
    session.install("-e", ".", *nox.project.dependency_groups(PROJECT, "test"))
    session.run("pytest", "-q", *(session.posargs or TESTS))
