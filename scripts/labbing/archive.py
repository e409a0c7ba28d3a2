"""Debian's packages, by apt with a configuration of its own: the host's sources stay as they are."""

import time
from pathlib import Path

from labbing.commands import LabError, run
from labbing.settings import LISTS_SECONDS, RELEASE, SECURED, SUITES

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

CONFIGURATION = """\
Dir::Etc "{root}/etc/";
Dir::State "{root}/state/";
Dir::State::status "{root}/state/status";
Dir::Cache "{root}/cache/";
APT::Architecture "amd64";
APT::Sandbox::User "root";
Acquire::Languages "none";
// An old release is no longer signed anew; its signature is verified all the same.
Acquire::Check-Valid-Until "false";
"""


class Archive:
    """apt below one directory, for all the suites that kernels are taken from."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._environment = {"APT_CONFIG": str(root / "apt.conf")}

    def prepare(self) -> None:
        """Write the configuration, and fetch lists where there are none or only old ones. Raises LabError."""
        for name in ("etc/apt.conf.d", "etc/preferences.d", "state/lists/partial", "cache/archives/partial"):
            (self._root / name).mkdir(parents=True, exist_ok=True)
        (self._root / "state/status").touch()
        (self._root / "apt.conf").write_text(CONFIGURATION.format(root=self._root) + transport())
        sources = "\n".join(self._sources()) + "\n"
        listed = self._root / "etc/sources.list"
        fresh = self._updated() > time.time() - LISTS_SECONDS
        if fresh and listed.exists() and listed.read_text() == sources:
            return
        listed.write_text(sources)
        self.update()

    def update(self) -> None:
        """Fetch the lists of packages. Raises LabError."""
        run("apt-get", "update", "-qq", environment=self._environment)
        self._stamp.touch()

    def versions(self, prefix: str) -> dict[str, str]:
        """The newest version of every package whose name begins with `prefix`, by name."""
        names = run("apt-cache", "pkgnames", prefix, environment=self._environment).split()
        if not names:
            return {}
        shown = run("apt-cache", "show", "--no-all-versions", *names, environment=self._environment)
        found = {}
        for paragraph in shown.split("\n\n"):
            fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line)
            if "Package" in fields:
                found[fields["Package"]] = fields["Version"]
        return found

    def download(self, *packages: str, into: Path) -> list[Path]:
        """Fetch packages, verified by apt, into a directory. Raises LabError."""
        run("apt-get", "download", "-qq", *packages, environment=self._environment, cwd=into)
        return sorted(into.glob("*.deb"))

    @property
    def _stamp(self) -> Path:
        return self._root / "updated"

    def _updated(self) -> float:
        return self._stamp.stat().st_mtime if self._stamp.exists() else 0.0

    def _sources(self) -> list[str]:
        sources = [f"deb [signed-by={KEYRING}] {mirror()} {suite} main" for suite in SUITES]
        if security := security_mirror():
            sources += [f"deb [signed-by={KEYRING}] {security} {suite}-security main" for suite in SECURED]
        return sources


def mirror() -> str:
    """Where the host takes Debian from. Raises LabError where its apt knows no such place."""
    if found := _lists("Debian"):
        return found
    raise LabError(
        f"apt here has no lists of Debian: put {RELEASE} or later into its sources, then apt-get update"
    )


def security_mirror() -> str:
    """The same of its security updates; empty where the host takes none."""
    return _lists("Debian-Security")


def _lists(label: str) -> str:
    told = run(
        "apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)", "Created-By: Packages"
    )
    for line in told.splitlines():
        words = line.split()
        if words[:2] == ["Debian", label]:
            return words[2]
    return ""


def transport() -> str:
    """The host's way out (proxies and the like), as configuration for apt."""
    return run("apt-config", "dump", "Acquire::http", "Acquire::https")
