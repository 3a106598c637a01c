"""``mnistkit serve --ray``: start the application, in the cluster that ``RAY_ADDRESS`` names or in one of its own."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

from mnistkit.core.errors import InputError, MnistkitError, one_line
from mnistkit.core.ray_cluster import prepare_own
from mnistkit.serve.addresses import reserve
from mnistkit.serve.ray.build import application, check_ray
from mnistkit.serve.scale import Scale
from mnistkit.serve.worker import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mnistkit.serve.settings import Settings

_OWN = "local"  # Ray's word for one that begins and ends with this process
_LONGEST = 500
_PATIENCE = 10.0  # seconds for a connection to a cluster


def run(
    settings: Settings,
    *,
    address: str | None = None,
    replicas: int = 1,
    max_replicas: int | None = None,
    cpus: float = 1.0,
    gpus: float = 0.0,
) -> int:
    """Serve with Ray until SIGTERM or SIGINT, and return the exit code.

    A Ray that is started here listens on the loopback address (but for a port of each replica, where it asks for its
    token), sends no usage statistics, and ends with this call.

    Args:
        settings: Of each replica. Ray's proxies listen on ``host`` and ``port``.
        address: Of the cluster to join, ``HOST:PORT``; by default the variable ``RAY_ADDRESS``, else a Ray of its own.
        replicas: As `application`.
        max_replicas: As `application`.
        cpus: As `application`.
        gpus: As `application`.

    Raises:
        MnistkitError: It cannot start: a package, a model, an address, the cluster.
    """
    address = address or os.environ.get("RAY_ADDRESS") or _OWN
    if address == _OWN:
        prepare_own()
    check_ray()
    scale = Scale(replicas, max_replicas, cpus, gpus)
    built = application(
        settings=settings,
        replicas=replicas,
        max_replicas=max_replicas,
        cpus=cpus,
        gpus=gpus,
    )
    flags = f"--host {settings.host} --port {settings.port}"
    listening = reserve(settings.host, settings.port, flags=flags)
    if listening.reservation is not None:
        listening.reservation.close()  # Ray's proxies bind the port themselves
    with _cluster(address, scale), _signals() as stop:
        from ray import serve

        logging.getLogger("ray.serve").setLevel(logging.WARNING)  # the line below says what matters
        if serve.status().proxies:
            raise InputError(
                "Ray Serve runs in this cluster already, at its own address; use `serve run mnistkit.serve.ray:app`"
            )
        try:
            with _explained(flags):
                serve.start(http_options={"host": listening.host, "port": listening.port})
                serve.run(built)
            models = ", ".join(name for name, _ in settings.models)
            say(f"serving {models} with Ray at {listening.url('http')}, {_counted(scale)}")
            stop.wait()
        finally:
            serve.shutdown()  # replicas finish what they have
    return 0


@contextlib.contextmanager
def _signals() -> Iterator[threading.Event]:
    """Set by SIGTERM and SIGINT; to be used when Ray has started, which sets a handler of its own."""
    stop = threading.Event()

    def note(*_: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt  # the second one: wait no longer
        stop.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _cluster(address: str, scale: Scale) -> Iterator[None]:
    """Join a cluster or start one.

    Raises:
        InputError: Neither can be done, or the cluster is too small.
    """
    import ray

    _check_reachable(address)
    own = {"include_dashboard": False} if address == _OWN else {}
    with _explained("Ray"):
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **own)
    try:
        for kind, needed in (("CPU", scale.cpus), ("GPU", scale.gpus)):
            there = ray.cluster_resources().get(kind, 0.0)
            if needed * scale.replicas > there:  # Ray would wait for it without end
                raise InputError(
                    f"--replicas {scale.replicas}: expected a cluster with {needed * scale.replicas:g} {kind}, got "
                    f"{there:g}; give fewer --replicas or --{kind.lower()}s"
                )
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Refuse a cluster that does not answer; Ray itself would go on trying for minutes.

    Raises:
        InputError: Nobody takes connections there.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        return  # a word of Ray's, such as local
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"{address}: no Ray cluster answers ({error}); check --ray-address and RAY_ADDRESS, or start one there"
        ) from None


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    """Ray's errors in one line."""
    try:
        yield
    except MnistkitError:
        raise
    except Exception as error:
        # the last line of a remote traceback is what went wrong
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        cause = one_line(RuntimeError(lines[-1] if lines else type(error).__name__), limit=_LONGEST)
        raise InputError(f"{what}: Ray cannot serve there ({cause})") from error


def _counted(scale: Scale) -> str:
    if scale.max_replicas is not None:
        return f"{scale.replicas} to {scale.max_replicas} replicas"
    return "1 replica" if scale.replicas == 1 else f"{scale.replicas} replicas"
