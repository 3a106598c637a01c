"""The life of one serving process: start, reload, drain, stop. Granian speaks HTTP in it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import signal
import socket
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mnistkit.core.errors import InputError, MissingExtraError
from mnistkit.core.install import install_hint
from mnistkit.serve.addresses import limit_writes, take_no_more
from mnistkit.serve.app import App
from mnistkit.serve.protocol.inference import VERSION
from mnistkit.serve.rsgi import RSGI
from mnistkit.serve.rsgi import admin as admin_routes
from mnistkit.serve.systemd import Notifier

if TYPE_CHECKING:
    from collections.abc import Callable

    from mnistkit.serve.addresses import Address
    from mnistkit.serve.settings import Settings

_BACKLOG = 2048
_SWITCH_INTERVAL = 0.0002  # seconds; Python's 5 ms are what Granian's thread may wait for, to hand a request over
_LEAST_BUFFER = 8192  # of a request's head, below which Granian's HTTP parser does not go
_PROBE = 0.005
_POLL = 0.02
_SETTLE = 0.1
_BEAT = 0.5
_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of glibc's mallopt
_ADMIN_CONNECTIONS = 64


def serve(
    settings: Settings,
    address: Address,
    *,
    admin: Address | None = None,
    announce: bool = True,
    folder: Path | None = None,
    parent: int | None = None,
    listener: socket.socket | None = None,
    watcher: Watcher | None = None,
) -> None:
    """Serve until told to stop; returns when everything in flight has been answered.

    Where something does not end within the stop timeout, the process ends at once, with 0.

    Args:
        settings: Of the server.
        address: To listen on.
        admin: To listen on for health and metrics.
        announce: Whether to say on stderr where the server is and when it is ready.
        folder: Where the workers of one server add up their metrics.
        parent: A descriptor that becomes readable when the parent process is no more.
        listener: To listen with, where the workers share one.
        watcher: Is told how the process gets on.

    Raises:
        MnistkitError: A model cannot be served, or a setting is wrong.
    """
    give_memory_back()
    sys.setswitchinterval(_SWITCH_INTERVAL)
    app = App(settings, folder=folder)
    check_tls(settings)
    gc.collect()
    gc.freeze()  # what has been loaded stays: the collector need not look through it while requests wait
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        server = front(RSGI(app), address, settings, listener=listener)
        worker = Worker(app, server, address, admin=admin, announce=announce, parent=parent)
        worker.watcher = watcher or worker.watcher
        if not runner.run(worker.run()):
            sys.stderr.flush()
            os._exit(0)  # a thread that cannot be interrupted would hold the process up for as long as it likes


class Watcher(Protocol):
    """Is told how a serving process gets on."""

    def listens(self) -> None:
        """It listens to signals."""

    def ready(self) -> None:
        """It answers requests."""

    def beat(self) -> None:
        """Its event loop is not hung; called about twice a second."""

    def reloading(self) -> None:
        """It has been told to reload."""

    def reloaded(self) -> None:
        """It has reloaded."""

    def stopping(self) -> None:
        """It has been told to stop."""


class Worker:
    """See `serve`."""

    def __init__(
        self,
        app: App,
        server: Any,
        address: Address,
        *,
        admin: Address | None,
        announce: bool,
        parent: int | None,
    ) -> None:
        self._app, self._server, self._address, self._admin = app, server, address, admin
        self._announce, self._parent = announce, parent
        self.watcher: Watcher = Notifier({})  # tells nobody
        self._settings = app.settings
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    async def run(self) -> bool:
        """Until SIGTERM or SIGINT; gives whether nothing was left behind.

        Raises:
            InputError: An address cannot be had.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        loop.add_signal_handler(signal.SIGUSR1, self._app.log.reopen)
        if self._parent is not None:
            loop.add_reader(self._parent, self._orphaned)
        self.watcher.listens()
        self._app.spawn(self._beat())
        self._app.start()
        rpc = None
        if self._settings.grpc_port is not None:
            from mnistkit.serve.grpc_server import GrpcServer

            rpc = await GrpcServer.start(self._app)
        servers = [self._server]
        if self._admin is not None:
            servers.append(front(admin_routes(self._app), self._admin, self._settings, connections=_ADMIN_CONNECTIONS))
        serving = [asyncio.create_task(server.serve()) for server in servers]
        await self._listening(serving)
        if self._announce:
            self._say_hello(rpc.port if rpc else None)
        self.watcher.ready()
        await asyncio.wait(
            {*serving, stop := asyncio.create_task(self._stop.wait())}, return_when=asyncio.FIRST_COMPLETED
        )
        stop.cancel()
        self.watcher.stopping()

        # Not ready first, so that whoever balances the load looks elsewhere; the listener stays for those who have not
        # looked yet. Connections are told to close with their next answer.
        self._app.draining = True
        self._app.note("stopping: not ready, still answering", grace=self._settings.grace)
        await self._wait(self._settings.grace)
        deadline = loop.time() + self._settings.stop_timeout
        # A socket of systemd's keeps those who come from now on for whoever serves next.
        if self._address.given is None and take_no_more(self._server.listener):
            await self._wait(_SETTLE)  # until those who have connected have been taken in and have asked
        self._server.stop()
        self._server.listener.close()
        while (not serving[0].done() or self._app.budget.requests) and loop.time() < deadline:
            if self._hurry.is_set():
                break
            await asyncio.sleep(_POLL)
        for server in servers[1:]:
            server.stop()
            server.listener.close()
        if rpc is not None:
            await rpc.stop(0.0 if self._hurry.is_set() else max(0.0, deadline - loop.time()))
        left = self._app.budget.requests
        self._app.note("stopped", unfinished=left)
        await asyncio.sleep(0)
        self._app.close()
        if left or self._app.busy:
            return False
        await asyncio.wait(serving, timeout=1)
        return all(task.done() for task in serving)

    def stop(self) -> None:
        """Begin to drain; a second time cuts the waiting short."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    def reload(self) -> None:
        """Load every model's file, the token's and the certificate's again."""
        self._app.spawn(self._reload())

    async def _beat(self) -> None:
        while True:
            self.watcher.beat()
            await asyncio.sleep(_BEAT)

    async def _reload(self) -> None:
        self.watcher.reloading()
        await self._app.reload()
        self._reload_certificate()
        self.watcher.reloaded()

    def _reload_certificate(self) -> None:
        if self._settings.tls_cert is None or self._stop.is_set():
            return
        try:
            check_tls(self._settings)
        except InputError as error:
            self._app.note("certificate not read again, the old one holds", error=str(error))
            return
        self._server.reload()
        self._app.note("certificate read again")

    def _orphaned(self) -> None:
        assert self._parent is not None
        asyncio.get_running_loop().remove_reader(self._parent)
        self.stop()

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), seconds)

    async def _listening(self, serving: list[asyncio.Task[None]]) -> None:
        """Wait until connections are taken."""
        while True:
            for task in serving:
                if task.done():
                    raise InputError(f"{self._address.flags}: cannot listen there ({task.exception() or 'stopped'})")
            if await self._address.answers() and (self._admin is None or await self._admin.answers()):
                return
            await asyncio.sleep(_PROBE)

    def _say_hello(self, grpc_port: int | None) -> None:
        models = ", ".join(
            f"{model.name}{'' if model.version == VERSION else f' {model.version}'} on {model.provider}"
            for model in self._app.models
        )
        if self._admin is not None:
            say(f"health and metrics on {self._admin.url('http')}")
        also = f", gRPC on port {grpc_port}" if grpc_port is not None else ""
        say(f"serving {models} at {self._address.url('https' if self._settings.tls_cert else 'http')}{also}")


def front(
    app: Any,
    address: Address,
    settings: Settings,
    *,
    connections: int | None = None,
    listener: socket.socket | None = None,
) -> Any:
    """Granian with the settings' limits, embedded in this process' event loop.

    HTTP/1.1 alone unless ``--http2`` is given: a connection that sends nothing is held for ever where Granian (2.8.9)
    still has to find out which of the two is spoken, past its timeout for heads.
    """
    from granian._granian import SocketHolder
    from granian.constants import HTTPModes, Interfaces, SSLProtocols
    from granian.http import HTTP1Settings
    from granian.server.embed import Server

    if not hasattr(Server, "_init_shared_socket"):
        raise InputError("granian: expected a server that can be given its socket, got another release; install 2.8")
    try:
        own = listener or address.listener(settings.receive_timeout)
    except OSError as error:
        raise InputError(f"{address.flags}: cannot listen there ({error.strerror or error})") from None
    limit_writes(own, settings.receive_timeout)

    class Front(Server):
        """Granian, with a socket made here; `listener` is to be closed when it stops."""

        listener = own

        def _init_shared_socket(self) -> None:
            self._ssp = None
            self._shd = SocketHolder(own.fileno(), own.family == socket.AF_UNIX, _BACKLOG)

    tls: dict[str, Any] = {}
    if settings.tls_cert is not None and settings.tls_key is not None and connections is None:
        tls = {
            "ssl_cert": Path(settings.tls_cert),
            "ssl_key": Path(settings.tls_key),
            "ssl_protocol_min": SSLProtocols.tls12,
        }
        if settings.tls_client_ca is not None:
            tls |= {"ssl_ca": Path(settings.tls_client_ca), "ssl_client_verify": True}
    return Front(
        app,
        address=address.host,
        port=address.port,
        uds=address.path,
        interface=Interfaces.RSGI,
        http=HTTPModes.auto if settings.http2 else HTTPModes.http1,
        websockets=False,
        backlog=_BACKLOG,
        backpressure=connections or settings.max_connections,
        http1_settings=HTTP1Settings(
            header_read_timeout=max(1, int(settings.receive_timeout * 1000)),
            max_buffer_size=max(_LEAST_BUFFER, settings.max_header_bytes),
        ),
        log_enabled=False,
        **tls,
    )


def check_tls(settings: Settings) -> None:
    """Read the certificate as it would be served.

    Raises:
        InputError: It cannot be used.
    """
    if settings.tls_cert is None:
        return
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
        if settings.tls_client_ca is not None:
            context.load_verify_locations(settings.tls_client_ca)
    except (OSError, ssl.SSLError) as error:
        raise InputError(
            f"--tls-cert {settings.tls_cert} --tls-key {settings.tls_key}: expected a PEM certificate and its key "
            f"({error.strerror or error})"
        ) from None


def give_memory_back() -> None:
    """Let glibc return every block of a megabyte to the system at once; by itself it keeps ever larger ones."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 1024**2)


def check_packages() -> None:
    """Say how to get what serving needs.

    Raises:
        MissingExtraError: A package of the extra is not installed.
    """
    import importlib.util

    for package in ("granian", "orjson", "prometheus_client", "python_multipart"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(f"{package} is not installed; run {install_hint('serve')}")


def say(text: str) -> None:
    """One line for the operator, on stderr."""
    with contextlib.suppress(OSError):
        print(f"mnistkit: {text}", file=sys.stderr, flush=True)  # noqa: T201 - what the operator waits for


def _new_loop() -> asyncio.AbstractEventLoop:
    make: Callable[[], asyncio.AbstractEventLoop]
    try:
        import uvloop
    except ImportError:
        make = asyncio.new_event_loop  # slower, the same otherwise
    else:
        make = uvloop.new_event_loop
    return make()
