"""The life of one serving process: start, reload, drain, stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import ssl
import sys
from typing import TYPE_CHECKING

from mnistkit.core.errors import InputError, MissingExtraError, MnistkitError
from mnistkit.core.install import install_hint
from mnistkit.serve.connection import Connections
from mnistkit.serve.service import Service

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path
    from typing import Any

    from mnistkit.serve.settings import Settings

logger = logging.getLogger("mnistkit.serve")
_BACKLOG = 2048
_TICK = 0.5
_TURN = 0.02  # seconds in which uvloop lets go of a listener


def bind(settings: Settings, *, shared: bool = False) -> socket.socket:
    """A socket to listen with.

    Args:
        settings: With the address.
        shared: Whether others of this user may listen there too; the kernel deals the connections out among those who
            do, so it is left to whoever serves to begin. Otherwise clients may queue from now on.

    Raises:
        InputError: The address cannot be had.
    """
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((settings.host, settings.port))
        if not shared:
            listener.listen(_BACKLOG)
    except OSError as error:
        raise InputError(
            f"--host {settings.host} --port {settings.port}: cannot listen there ({error.strerror or error}); "
            "choose another port"
        ) from None
    listener.setblocking(False)
    return listener


def serve(settings: Settings, listener: socket.socket, *, announce: bool = True, folder: Path | None = None) -> None:
    """Serve on a socket until told to stop; returns when everything in flight has been answered.

    Args:
        settings: Of the server.
        listener: Bound and listening.
        announce: Whether to say on stderr where the server is and when it is ready.
        folder: Where the workers of one server add up their metrics.

    Raises:
        MnistkitError: A model cannot be served, or a setting is wrong.
    """
    server = Server(settings, listener, announce=announce, folder=folder)
    gc.freeze()  # what has been loaded stays: the collector need not look through it while requests wait
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        runner.run(server.run())


class Server:
    """See `serve`."""

    def __init__(self, settings: Settings, listener: socket.socket, *, announce: bool, folder: Path | None) -> None:
        self._settings, self._listener, self._announce = settings, listener, announce
        self.service = Service(settings, folder=folder)
        self._tls = _tls(settings)
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until SIGTERM or SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        connections = Connections(self.service)
        rpc = None
        if self._settings.grpc_port is not None:
            from mnistkit.serve.rpc import start_grpc

            rpc = start_grpc(self.service, loop)
        # A duplicate: uvloop closes its listener some turns of the loop later, and ours must outlive it.
        server = await loop.create_server(connections, sock=self._listener.dup(), ssl=self._tls, backlog=_BACKLOG)
        if self._announce:
            self._say_hello(rpc.port if rpc else None)
        ticking = asyncio.create_task(self._tick(connections))
        await self._stop.wait()

        # Not ready first, so that whoever balances the load looks elsewhere; the listener stays for those who have not
        # looked yet. Connections are told to close with their next answer.
        self.service.draining = True
        connections.stopping = True
        self._note("stopping: not ready, still answering", grace=self._settings.grace)
        if connections.open or self._settings.grace:
            await self._wait(self._settings.grace)
        server.close()
        await self._empty_backlog(connections)
        connections.stop()
        deadline = loop.time() + self._settings.stop_timeout
        while (connections.open or self._tasks) and loop.time() < deadline and not self._hurry.is_set():
            await asyncio.sleep(0.02)
            connections.stop()
        if rpc is not None:
            await asyncio.to_thread(rpc.stop, max(0.0, deadline - loop.time()))
        left = len(connections.open)
        ticking.cancel()
        self._note("stopped", unfinished=left)
        self.service.close()

    async def _empty_backlog(self, connections: Connections) -> None:
        """Take in what waits in the kernel's queue, then close the listener, which would reset it."""
        loop = asyncio.get_running_loop()
        listener = self._listener
        await asyncio.sleep(_TURN)
        while True:
            try:
                link, _ = listener.accept()
            except OSError:
                break
            link.setblocking(False)
            self._start(_adopt(loop, connections, link, self._tls))
        listener.close()

    def stop(self) -> None:
        """Begin to drain; a second time cuts the waiting short."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    def reload(self) -> None:
        """Load every model's file again."""
        self._start(self._reload(list(self.service.repository.models)))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reload(self, names: list[str]) -> None:
        async with self._reloading:
            repository = self.service.repository
            for name in names:
                old = repository.models[name]
                try:
                    new = await asyncio.to_thread(repository.load_again, name)
                except MnistkitError as error:
                    self.service.metrics.reloaded(name, good=False)
                    self._note("not reloaded, the old model serves on", model=name, error=str(error))
                    continue
                repository.swap(new)
                self.service.metrics.serving(new, instead_of=old)
                self.service.metrics.reloaded(name, good=True)
                self._note("reloaded", model=name, weights=new.runtime.metadata.get("weights_sha256", "")[:16])

    async def _tick(self, connections: Connections) -> None:
        seen: dict[str, Any] = {}
        while True:
            await asyncio.sleep(_TICK)
            connections.tick()
            self.service.gauges()
            self.service.metrics.publish()
            if self._settings.watch and not self._reloading.locked():
                seen = self._watch(seen)

    def _watch(self, seen: dict[str, Any]) -> dict[str, Any]:
        """Reload files that changed and then stayed the same for one tick: not one that is being written."""
        from mnistkit.serve.repository import file_stamp

        repository = self.service.repository
        now = {name: file_stamp(repository.models[name].path) for name in repository.changed()}
        settled = [name for name, stamp in now.items() if seen.get(name) == stamp]
        if settled:
            self._start(self._reload(settled))
            for name in settled:  # a file that is refused is not tried again until it changes again
                repository.models[name].stamp = now[name]
        return now

    async def _wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._hurry.wait(), seconds)
        except TimeoutError:
            return

    def _say_hello(self, grpc_port: int | None) -> None:
        address = self._listener.getsockname()
        scheme = "https" if self._tls else "http"
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        models = ", ".join(f"{model.name} on {model.provider}" for model in self.service.repository.models.values())
        also = f", gRPC on port {grpc_port}" if grpc_port is not None else ""
        print(f"mnistkit: serving {models} at {scheme}://{host}:{address[1]}{also}", file=sys.stderr, flush=True)  # noqa: T201 - what the operator waits for

    def _note(self, event: str, **about: Any) -> None:
        self.service.log.write({"event": event, "pid": os.getpid(), **about})
        self.service.log.flush()


async def _adopt(
    loop: asyncio.AbstractEventLoop, connections: Connections, link: socket.socket, tls: ssl.SSLContext | None
) -> None:
    with contextlib.suppress(OSError):  # the client may have gone already
        await loop.connect_accepted_socket(connections, link, ssl=tls)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()  # slower, the same otherwise
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if settings.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise InputError(
            f"--tls-cert {settings.tls_cert} --tls-key {settings.tls_key}: expected a PEM certificate and its key "
            f"({error.strerror or error})"
        ) from None
    return context


def check_packages() -> None:
    """Say how to get what serving needs.

    Raises:
        MissingExtraError: A package of the extra is not installed.
    """
    import importlib.util

    for package in ("httptools", "orjson", "prometheus_client", "python_multipart"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(f"{package} is not installed; run {install_hint('serve')}")
