"""What systemd and a service tell each other: sockets that are handed over, and how the service gets on.

Written after sd_listen_fds(3) and sd_notify(3). Without systemd's variables nothing here does anything.
"""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

from mnistkit.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import MutableMapping

_FIRST = 3  # the descriptor that the first socket has
ADMIN = "admin"
"""``FileDescriptorName=`` of the socket for health and metrics."""


def take_sockets(environment: MutableMapping[str, str] = os.environ) -> dict[str, socket.socket]:
    """Sockets that systemd listens on for this process: the one for requests under ``""``, and `ADMIN`'s.

    Their variables are taken out of the environment.

    Raises:
        InputError: There are more of them, or one does not listen for connections.
    """
    process, count, names = (environment.pop(f"LISTEN_{name}", "") for name in ("PID", "FDS", "FDNAMES"))
    if process != str(os.getpid()) or not count.isdigit():
        return {}
    named = names.split(":")
    found: dict[str, socket.socket] = {}
    for place in range(int(count)):
        name = ADMIN if named[place : place + 1] == [ADMIN] else ""
        if name in found:
            raise InputError("LISTEN_FDS: expected one socket, and perhaps one with FileDescriptorName=admin, got more")
        found[name] = _listening(_FIRST + place)
    return found


def _listening(descriptor: int) -> socket.socket:
    try:
        made = socket.socket(fileno=descriptor)
    except OSError as error:
        raise InputError(f"LISTEN_FDS: expected a socket, got another descriptor ({error.strerror})") from None
    os.set_inheritable(descriptor, False)
    if made.type != socket.SOCK_STREAM or not made.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        made.detach()
        raise InputError("LISTEN_FDS: expected sockets that listen (ListenStream=, Accept=no), got another kind")
    return made


class Notifier:
    """Tells systemd how the service gets on; takes systemd's variables out of the environment.

    Args:
        environment: Of this process.
    """

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        place = environment.pop("NOTIFY_SOCKET", "")
        self._address = f"\0{place[1:]}" if place.startswith("@") else place
        period, process = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        meant = process in {"", str(os.getpid())}
        self.watchdog = int(period) / 1e6 if self._address and period.isdigit() and meant else None
        """Seconds after which systemd takes a service that says nothing for hung; ``None``: it does not."""
        self._last = 0.0

    def __bool__(self) -> bool:
        return bool(self._address)

    def listens(self) -> None:
        """Signals are listened to."""

    def ready(self) -> None:
        """Requests are answered, for the first time or after a reload."""
        self._send("READY=1\nSTATUS=serving")

    def reloading(self) -> None:
        """A reload begins; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def reloaded(self) -> None:
        """A reload has ended."""
        self.ready()

    def stopping(self) -> None:
        """The service stops."""
        self._send("STOPPING=1\nSTATUS=stopping")

    def beat(self) -> None:
        """The service is not hung; says so as often as systemd wants to hear it."""
        now = time.monotonic()
        if self.watchdog is not None and now - self._last >= self.watchdog / 4:
            self._last = now
            self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
                link.setblocking(False)
                link.sendto(text.encode(), self._address)
        except OSError:
            pass  # nobody listens there any more
