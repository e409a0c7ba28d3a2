"""The server's own mount among all: it must not lie in its own backing, and only it is ours to unmount."""

from fusecopy import mounts
from fusecopy.errors import MountPointError


class OwnMount:
    """The mount that was just made at a directory."""

    def __init__(self, mountpoint: str) -> None:
        self._mountpoint = mountpoint
        self._mount = mounts.at(mountpoint)

    def check(self, backing: str) -> None:
        """That it has not appeared below the backing directory, too, as mounts do that are propagated
        (mount_namespaces(7)): the server would wait for itself. To be called before it answers anything.

        Raises:
            MountPointError: it has.
        """
        inside = backing.rstrip("/") + "/"
        for mount in mounts.mounts():
            if self._is_ours(mount) and mount.mountpoint.startswith(inside):
                raise MountPointError(
                    f"{self._mountpoint}: a mount there appears at {mount.mountpoint}, too, inside the"
                    " backing directory (shared mounts): the server would wait for itself",
                    "choose a mount point outside of the backing directory, or make that mount private"
                    " (mount --make-private)",
                )

    @property
    def device(self) -> int:
        """Its st_dev; 0 where it is not in the mount table of this namespace."""
        return self._mount.device if self._mount else 0

    def is_on_top(self) -> bool:
        """Whether what is mounted last at its mount point is ours: whatever else lies there is not ours to
        take away."""
        return self._is_ours(mounts.at(self._mountpoint))

    def _is_ours(self, mount: mounts.Mount | None) -> bool:
        return self._mount is not None and mount is not None and mount.device == self._mount.device
