"""Telling systemd how the server stands (sd_notify(3)), for units of Type=notify."""

import os
import socket
from contextlib import suppress


def notify(state: str) -> None:
    """Send a line such as "READY=1" to whoever started us and wants to know; without one, do nothing.

    A service manager that does not listen is no reason to end a mount.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # the abstract name space
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.sendto(state.encode(), address)
