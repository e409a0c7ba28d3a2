"""The guests' Debian: made by mmdebstrap, with this clone built in it by scripts/setup, and made an image.

Each guest boots the image as a snapshot, so none changes it. The clone itself comes on a disk of its own: it
takes other packages of Debian or of Python to make a new image.
"""

import hashlib
import os
import shlex
import shutil
from pathlib import Path

from labbing.archive import mirror, security_mirror, transport
from labbing.commands import run
from labbing.settings import BUILD_SECONDS, IMAGE_ROOM, PACKAGES, RELEASE, TREE

CLONE = Path(__file__).resolve().parents[2]
HOSTS = ("/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf")
"""The host's way out, lent while something is installed in the guest's Debian; in no image."""


class Guest:
    """The guests' Debian in a directory of the cache."""

    def __init__(self, kept: Path) -> None:
        self._kept = kept
        self._root = kept / "root"
        self.image = kept / "image.ext4"
        self.tree = kept / "tree.tar"

    @property
    def busybox(self) -> Path:
        """A static busybox, for initrds."""
        return self._root / "bin/busybox"

    def prepare(self) -> None:
        """Bring Debian, the clone in it, its tar and the image up to date. Raises LabError."""
        made_of = self._kept / "made-of"
        wanted = " ".join((RELEASE, *PACKAGES))
        if not made_of.exists() or made_of.read_text() != wanted:
            self._bootstrap()
            made_of.write_text(wanted)
        self._build()
        self._pack_tree()
        installed = self._installed()
        stamp = self._kept / "image-of"
        if not self.image.exists() or stamp.read_text() != installed:
            self._pack_image()
            stamp.write_text(installed)

    def _bootstrap(self) -> None:
        options = self._kept / "apt.conf"
        self._kept.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self._root, ignore_errors=True)
        sources = [f"deb {mirror()} {RELEASE} main"]
        if security := security_mirror():
            sources.append(f"deb {security} {RELEASE}-security main")
        options.write_text(f'APT::Install-Recommends "false";\n{transport()}')
        run(
            "mmdebstrap", "--quiet", "--variant=apt",
            f"--include={','.join(PACKAGES)}", f"--aptopt={options}",
            "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
            RELEASE, self._root, *sources, seconds=BUILD_SECONDS,
        )  # fmt: skip

    def _build(self) -> None:
        """The clone as it is now, in the guest's Debian; what scripts/setup made there before is kept."""
        tree = Path(f"{self._root}{TREE}")
        tree.mkdir(parents=True, exist_ok=True)
        for path in tree.iterdir():
            if path.name not in (".venv", "fusecopy", "build"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in (tree / "fusecopy").rglob("*"):
            if path.is_file() and path.suffix != ".so":
                path.unlink()
        clone, names = self._kept / "clone.tar", self._kept / "clone.names"
        names.write_text("".join(f"{name}\0" for name in _files()))
        run("tar", "-C", CLONE, "--null", "-T", names, "-cf", clone)
        run("tar", "-C", tree, "--no-same-owner", "-xf", clone)
        self._inside("scripts/setup")

    def _inside(self, command: str) -> None:
        """Run a command in the clone there, with the host's way out, in namespaces that end with it."""
        lent = [path for path in HOSTS if Path(path).exists()]
        script = "set -e\n"
        for path in lent:
            there = shlex.quote(f"{self._root}{path}")
            script += f"[ -e {there} ] || : >{there}\nmount --bind {path} {there}\n"
        root = shlex.quote(str(self._root))
        script += f"mount --bind /dev {root}/dev\nmount -t proc proc {root}/proc\n"
        script += f"exec chroot {root} sh -c 'cd {TREE} && exec {command}'\n"
        kept = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
        plain = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"}
        words = [f"{name}={value}" for name, value in {**plain, **kept}.items()]
        run(
            "env", "-i", *words, "unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script,
            seconds=BUILD_SECONDS,
        )  # fmt: skip

    def _pack_tree(self) -> None:
        """What a guest unpacks over its image: the clone as built. A guest that runs keeps the old one."""
        new = self.tree.with_suffix(".new")
        run(
            "tar", "-C", self._root, "--exclude=.venv/[!s]*", "--exclude=build", "--exclude=__pycache__",
            "-cf", new, TREE.lstrip("/"),
        )  # fmt: skip
        new.rename(self.tree)

    def _installed(self) -> str:
        """Names what the image has to have: Debian's packages, and Python's."""
        packages = (self._root / "var/lib/dpkg/status").read_bytes()
        site = sorted(path.name for path in (self._root / TREE.lstrip("/") / ".venv").rglob("*.dist-info"))
        return hashlib.sha256(packages + "\n".join(site).encode()).hexdigest()

    def _pack_image(self) -> None:
        """An ext4 that every kernel here can mount (5.10 knows no orphan_file)."""
        used = int(run("du", "-sxB1", self._root).split()[0])
        new = self.image.with_suffix(".new")
        new.unlink(missing_ok=True)
        with new.open("wb") as file:
            file.truncate(used + IMAGE_ROOM)
        run("mke2fs", "-q", "-t", "ext4", "-O", "^orphan_file,^metadata_csum_seed", "-d", self._root, new)
        new.rename(self.image)


def _files() -> list[str]:
    """The clone's files, also new ones, but none that git ignores."""
    listed = run(
        "git", "-c", f"safe.directory={CLONE}", "-C", CLONE, "ls-files", "-z", "-co", "--exclude-standard"
    )
    return [name for name in listed.split("\0") if name and (CLONE / name).exists()]
