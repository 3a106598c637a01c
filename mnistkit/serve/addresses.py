"""Where a server listens: chosen and kept free here, listened on by Granian."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import socket
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path

from mnistkit.core.errors import InputError


@dataclass(frozen=True, slots=True)
class Address:
    """An address that this server has to itself.

    Attributes:
        host: A number, not a name.
        port: Never 0.
        path: Of a Unix socket, instead.
        flags: As the operator gave them, for messages.
        reservation: Bound and never listening: it keeps others away from the port, workers of this server excepted.
        given: A socket that somebody else listens on and keeps when this server stops.
    """

    host: str
    port: int
    path: Path | None
    flags: str
    reservation: socket.socket | None = field(default=None, repr=False)
    given: socket.socket | None = field(default=None, repr=False)

    def url(self, scheme: str) -> str:
        """For people."""
        if self.path is not None:
            return f"unix:{self.path}"
        return f"{scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def plain(self) -> Address:
        """The same without the reservation, for another process."""
        return Address(self.host, self.port, self.path, self.flags, given=self.given)

    def listener(self, patience: float) -> socket.socket:
        """A socket for Granian to listen with.

        Granian has no timeout for a client that does not take its answer; the kernel has one, and connections inherit
        it from the socket that they came through.

        Args:
            patience: Seconds for which bytes may wait to be taken before their connection is cut.

        Raises:
            OSError: The address is taken.
        """
        if self.given is not None:
            return self.given.dup()
        if self.path is not None:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            made.bind(str(self.path))
            return made
        made = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sys.platform == "linux":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        limit_writes(made, patience)
        made.bind((self.host, self.port))
        return made

    async def answers(self) -> bool:
        """Whether somebody takes connections there."""
        try:
            if self.path is not None:
                _, writer = await asyncio.open_unix_connection(str(self.path))
            else:
                host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared only
                _, writer = await asyncio.open_connection(host, self.port)
        except OSError:
            return False
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True


def limit_writes(listener: socket.socket, patience: float) -> None:
    """See `Address.listener`; without effect where the kernel has no such timeout."""
    if hasattr(socket, "TCP_USER_TIMEOUT") and listener.family != socket.AF_UNIX:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, int(patience * 1000)))


_SO_ATTACH_FILTER = 26  # of Linux; the module socket has no name for it
# Classic BPF over the TCP header: load its flags, keep SYN and ACK; drop where only SYN is left, else take all of it.
_DROP_NEW = ((0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))


def take_no_more(listener: socket.socket) -> bool:
    """Let nobody new connect without losing those who have: closing a listener resets what waits in its queue.

    Returns:
        Whether that is possible: on Linux, for TCP. Clients that are turned away find the port closed when they try
        again, a second later.
    """
    if sys.platform != "linux" or listener.family == socket.AF_UNIX:
        return False
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _DROP_NEW))
    program = struct.pack("HL", len(_DROP_NEW), ctypes.addressof(code))
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    except OSError:  # forbidden here, as by a seccomp profile
        return False
    return True


def reserve(host: str, port: int, *, flags: str) -> Address:
    """An address that nobody else listens on.

    Args:
        host: Name or number.
        port: 0 for any free one.
        flags: As the operator gave them.

    Raises:
        InputError: The address cannot be had.
    """
    try:
        family, _, _, _, found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        number = str(found[0])
        with socket.socket(family, socket.SOCK_STREAM) as alone:  # refused when anybody listens there
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind((number, port))
            port = alone.getsockname()[1]
        if sys.platform != "linux":
            return Address(number, port, None, flags)
        kept = socket.socket(family, socket.SOCK_STREAM)
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind((number, port))
    except OSError as error:
        raise InputError(f"{flags}: cannot listen there ({error.strerror or error}); choose another port") from None
    return Address(number, port, None, flags, kept)


def given(listener: socket.socket) -> Address:
    """The address of a socket that systemd listens on.

    Raises:
        InputError: It has no name in the file system.
    """
    found = listener.getsockname()
    if listener.family != socket.AF_UNIX:
        return Address(str(found[0]), int(found[1]), None, "LISTEN_FDS", given=listener)
    if not isinstance(found, str) or not found:
        raise InputError("LISTEN_FDS: expected a Unix socket with a path, got an abstract one")
    return Address("127.0.0.1", 0, Path(found), "LISTEN_FDS", given=listener)


def unix_socket(path: str) -> Address:
    """A Unix socket; one that is left over from a server that is gone is removed.

    Raises:
        InputError: The path cannot be used.
    """
    flags, place = f"--uds {path}", Path(path).absolute()
    if place.exists():
        if not place.is_socket():
            raise InputError(f"{flags}: expected a socket or nothing there, got a file")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(place))
            except OSError:
                place.unlink()
            else:
                raise InputError(f"{flags}: another server listens there")
    if not place.parent.is_dir():
        raise InputError(f"{flags}: no such folder")
    return Address("127.0.0.1", 0, place, flags)
