"""``mnistkit serve --ray``: start the application, in the cluster that ``RAY_ADDRESS`` names or in one of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

from mnistkit.core.errors import InputError, MnistkitError, one_line
from mnistkit.serve.addresses import reserve
from mnistkit.serve.ray.build import application, check_ray
from mnistkit.serve.scale import Scale
from mnistkit.serve.worker import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mnistkit.serve.settings import Settings

_LONGEST = 500
_PATIENCE = 10.0  # seconds for a connection to a cluster


def run(
    settings: Settings,
    *,
    replicas: int = 1,
    max_replicas: int | None = None,
    cpus: float = 1.0,
    gpus: float = 0.0,
) -> int:
    """Serve with Ray until SIGTERM or SIGINT, and return the exit code.

    Joins the cluster that ``RAY_ADDRESS`` names. Without it, starts Ray here, without dashboard, and ends it at the
    end. Ray's usage statistics are off unless ``RAY_USAGE_STATS_ENABLED`` says otherwise.

    Args:
        settings: Of each replica. Ray's proxies listen on ``host`` and ``port``.
        replicas: As `application`.
        max_replicas: As `application`.
        cpus: As `application`.
        gpus: As `application`.

    Raises:
        MnistkitError: It cannot start: a package, a model, an address, the cluster.
    """
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
    address = reserve(settings.host, settings.port, flags=flags)
    if address.reservation is not None:
        address.reservation.close()  # Ray's proxies bind the port themselves
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with _cluster(scale), _signals() as stop:
        from ray import serve

        if serve.status().proxies:
            raise InputError(
                "Ray Serve runs in this cluster already, at its own address; use `serve run mnistkit.serve.ray:app`"
            )
        try:
            with _explained(flags):
                serve.start(http_options={"host": address.host, "port": address.port})
                serve.run(built)
            models = ", ".join(name for name, _ in settings.models)
            say(f"serving {models} with Ray at {address.url('http')}, {_counted(scale)}")
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
def _cluster(scale: Scale) -> Iterator[None]:
    """Join a cluster or start one.

    Raises:
        InputError: Neither can be done, or the cluster is too small.
    """
    import ray

    # Never one that happens to run here: it may be somebody else's, and takes other code and files.
    address = os.environ.get("RAY_ADDRESS", "")
    _check_reachable(address)
    with _explained("Ray"):
        ray.init(address=address or "local", include_dashboard=None if address else False)
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
            f"RAY_ADDRESS={address}: no cluster there ({error}); run `ray start --head` there, or unset RAY_ADDRESS"
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
