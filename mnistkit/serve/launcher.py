"""Start a server: this process alone, or Granian's supervisor with several worker processes."""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistkit.core.errors import InputError, MnistkitError

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from mnistkit.serve.addresses import Address
    from mnistkit.serve.settings import Settings
    from mnistkit.serve.systemd import Notifier

_YOUNG = 5.0  # seconds: a worker that dies sooner is waited for before the next one starts
_BORN, _DEATHS, _LISTENS, _READY, _BEAT, _RELOADS = range(6)
_PLACES = 6  # numbers that are kept of a worker
_LOOK = 0.1  # seconds between two looks at the workers, under systemd
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT, and return the exit code.

    Where a request does not end within the stop timeout, the process ends at once, with 0.

    Raises:
        MnistkitError: The server cannot start: a model, an address, a certificate, a missing package.
    """
    if sys.platform == "win32":
        raise InputError("mnistkit serve: not supported on Windows; use it in WSL or in a container")
    _keep_stderr()
    # From now on: a reload that is asked for while models are being loaded is the load that is going on.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    from mnistkit.serve.models import check_models
    from mnistkit.serve.systemd import Notifier, take_sockets
    from mnistkit.serve.worker import check_packages, check_tls, say, serve

    check_packages()
    notifier, sockets = Notifier(), take_sockets()
    if settings.keep_alive is not None:
        say("--keep-alive has no effect: idle connections are closed after --receive-timeout")
    settings, address, admin = _addresses(settings, sockets)
    if settings.workers == 1:
        serve(settings, address, admin=admin, watcher=notifier)
        return 0
    check_tls(settings)
    check_models(settings)
    with tempfile.TemporaryDirectory(prefix="mnistkit-") as folder:
        return _supervise(settings, address, admin, folder, notifier)


def _keep_stderr() -> None:
    """Send to nowhere what is said where stderr was closed before the start; else the first file had its number."""
    if sys.stderr is None:
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.set_inheritable(descriptor, True)  # workers too
        sys.stderr = os.fdopen(descriptor, "w")


def _addresses(settings: Settings, sockets: Mapping[str, socket.socket]) -> tuple[Settings, Address, Address | None]:
    """Where to listen, and the settings with what systemd says of it."""
    from mnistkit.serve.addresses import given, reserve, unix_socket
    from mnistkit.serve.systemd import ADMIN

    if "" in sockets:
        address = given(sockets[""])
        path = str(address.path) if address.path else None
        settings = dataclasses.replace(settings, host=address.host, port=address.port, uds=path)
    elif settings.uds:
        address = unix_socket(settings.uds)
    else:
        address = reserve(settings.host, settings.port, flags=f"--host {settings.host} --port {settings.port}")
    admin = None
    if ADMIN in sockets:
        admin = given(sockets[ADMIN])
    elif settings.admin_port is not None:
        admin = reserve(settings.host, settings.admin_port, flags=f"--admin-port {settings.admin_port}")
    return settings, address, admin


def _supervise(settings: Settings, address: Address, admin: Address | None, folder: str, notifier: Notifier) -> int:
    before = multiprocessing.get_start_method(allow_none=True)
    # Each worker is a fresh interpreter: nothing is forked with threads or sessions in it. Granian asks for the method.
    multiprocessing.set_start_method("spawn", force=True)
    try:
        births = multiprocessing.Array("d", _PLACES * settings.workers, lock=False)
        load = functools.partial(_job, settings, address.plain(), admin.plain() if admin else None, folder, births)
        server = _supervisor(births, notifier, shared=address.given is not None)(
            "mnistkit.serve",
            address=address.host,
            port=address.port,
            uds=address.path,
            workers=settings.workers,
            respawn_failed_workers=True,
            workers_kill_timeout=int(settings.grace + settings.stop_timeout) + 5,
            log_enabled=False,
        )
        server.serve(spawn_target=_work, target_loader=load, wrap_loader=False)
    except SystemExit as ended:
        return int(ended.code or 0)
    finally:
        multiprocessing.set_start_method(before, force=True)
    return 0


def _supervisor(births: Any, notifier: Notifier, *, shared: bool) -> Any:
    """Granian's supervisor, which tells its workers of a reload instead of replacing them."""
    from granian import Granian

    class Supervisor(Granian):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            for name in ("respawned_wrks", "wrks", "interrupt_signal", "_init_shared_socket"):
                if not hasattr(self, name):
                    raise InputError(f"granian: expected a server with {name}, got another release; install 2.8")
            self.respawned_wrks = _Forgetful()
            self.on_startup(self._listen_to_signals)
            self._asked = threading.Event()
            if notifier:
                told = (births, notifier, self._asked)
                threading.Thread(target=_tell, args=told, daemon=True, name="systemd").start()

        def _init_shared_socket(self) -> None:
            if not shared:
                super()._init_shared_socket()
                return
            self._ssp = self._shd = self._sso = None  # workers get theirs with their address

        def signal_handler_interrupt(self, *arguments: Any, **options: Any) -> None:
            notifier.stopping()
            if self.interrupt_signal:  # the second one: the workers stop waiting as well
                self._pass_on(signal.SIGTERM)
            super().signal_handler_interrupt(*arguments, **options)

        def signal_handler_reload(self, *_: Any, **__: Any) -> None:
            notifier.reloading()
            for place in range(0, len(births), _PLACES):  # below 0: so many reloads are still to come
                if births[place + _LISTENS]:
                    births[place + _RELOADS] -= 1
            self._asked.set()
            self._pass_on(signal.SIGHUP)

        def _listen_to_signals(self) -> None:
            signal.signal(signal.SIGUSR1, lambda *_: self._pass_on(signal.SIGUSR1))

        def _pass_on(self, number: signal.Signals) -> None:
            for worker in list(self.wrks):
                process = worker.inner
                # One that does not listen to signals yet would die of most, and loads the newest files anyhow.
                listens = process.pid == int(births[_PLACES * worker.idx + _LISTENS])
                if process.is_alive() and (listens or number == signal.SIGTERM):
                    os.kill(process.pid, number)

    return Supervisor


class _Forgetful(dict[int, float]):
    """When workers were replaced, as Granian notes it, forgotten at once.

    Granian stops the whole server when a new worker dies within seconds. Here a worker that has died young waits before
    it starts again, and those that live are left alone.
    """

    def __setitem__(self, worker: int, at: float) -> None:
        """Note nothing."""


def _job(
    settings: Settings, address: Address, admin: Address | None, folder: str, births: Any
) -> tuple[Settings, Address, Address | None, str, Any]:
    return settings, address, admin, folder, births


def _work(worker: int, _: Any, load: Any, sockets: Any, *__: Any) -> None:
    """A worker's whole life, in a process of its own; the arguments are Granian's."""
    os.setsid()  # Ctrl-C reaches the parent alone, which passes it on once
    from mnistkit.serve.worker import say, serve

    settings, address, admin, folder, births = load()
    parent = multiprocessing.parent_process()
    place = worker - 1
    time.sleep(_wait_before(births, place))
    _, listener = sockets  # the second is a socket that all workers share, where they do
    waited = 0.0
    while True:
        try:
            serve(
                settings,
                address,
                admin=admin if place == 0 else None,
                announce=place == 0 and births[_PLACES * place + _DEATHS] == 0,
                folder=Path(folder),
                parent=parent.sentinel if parent is not None else None,
                listener=listener,
                watcher=_Place(births, place),
            )
        except MnistkitError as error:  # a file that has been damaged since the server started, as a rule
            waited = min(_LONGEST_WAIT, max(_FIRST_WAIT, 2 * waited))
            say(f"worker {os.getpid()} cannot start, next try in {waited:g} s: {' '.join(str(error).split())}")
            time.sleep(waited)
        else:
            return


def _wait_before(births: Any, place: int) -> float:
    """Seconds to wait before a worker starts: none at first, ever more after early deaths.

    Args:
        births: For each place when its last worker began, how many in a row have died young, and which one listens.
        place: Of this worker.
    """
    now, last, deaths = time.monotonic(), births[_PLACES * place + _BORN], births[_PLACES * place + _DEATHS]
    wait = 0.0
    if last:
        young = now - last < _YOUNG
        deaths = deaths + 1 if young else 1
        wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** (deaths - 2)) if deaths > 1 else 0.0
    births[_PLACES * place + _BORN], births[_PLACES * place + _DEATHS] = now + wait, deaths
    for number in (_LISTENS, _READY, _RELOADS):
        births[_PLACES * place + number] = 0
    return wait


class _Place:
    """What a worker tells its supervisor, in numbers that they share."""

    def __init__(self, births: Any, place: int) -> None:
        self._births, self._first = births, _PLACES * place

    def listens(self) -> None:
        self._births[self._first + _LISTENS] = os.getpid()

    def ready(self) -> None:
        self._births[self._first + _READY] = os.getpid()

    def beat(self) -> None:
        self._births[self._first + _BEAT] = time.monotonic()

    def reloading(self) -> None:
        """The supervisor knows."""

    def reloaded(self) -> None:
        self._births[self._first + _RELOADS] = 0  # several that were asked for at once are one

    def stopping(self) -> None:
        """The supervisor knows."""


def _tell(births: Any, notifier: Notifier, asked: threading.Event) -> None:
    """In a thread of the supervisor: tell systemd what the workers' numbers say.

    Args:
        births: The workers' numbers.
        notifier: To systemd.
        asked: Set when a reload was asked for. One may have ended before this thread looks.
    """
    places = range(0, len(births), _PLACES)
    was_ready = False
    while True:
        time.sleep(_LOOK)
        ready = [place for place in places if births[place + _READY]]
        if not was_ready:
            was_ready = len(ready) == len(places)
            if was_ready:
                notifier.ready()
            continue
        if asked.is_set():
            asked.clear()
            if any(births[place + _RELOADS] < 0 for place in places):
                asked.set()  # still at it
            else:
                notifier.ready()
        now = time.monotonic()
        if notifier.watchdog is not None and all(now - births[place + _BEAT] < notifier.watchdog for place in ready):
            notifier.beat()
