"""Use a Ray cluster that runs, or start a Ray of our own on this machine."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import secrets
import socket
from typing import Any

from mnistkit.core.errors import ClusterError, InputError, MissingExtraError, one_line
from mnistkit.core.install import install_hint
from mnistkit.core.runtime import usable_cpus

_SECONDS_TO_CONNECT = 10
_LOCAL = "127.0.0.1"
_LOCAL_NAMES = {_LOCAL, "localhost", "::1"}
OLDEST = "2.57"
"""Of Ray. With 2.54 a bulk job ends when a worker dies: Ray Data does not start its chunk anew."""


def check_installed() -> None:
    """Raise where Ray is not installed.

    Raises:
        MissingExtraError: It is not, or pyarrow, which its parts need; or it is older than `OLDEST`.
    """
    missing = [name for name in ("ray", "pyarrow") if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(f"--ray needs {' and '.join(missing)}; run {install_hint('ray')}")
    check_version()


def check_version() -> None:
    """Raise where the installed Ray is older than `OLDEST`.

    Raises:
        MissingExtraError: It is.
    """
    found = importlib.metadata.version("ray")
    numbers = [int(part) if part.isdigit() else 0 for part in found.split(".")[:2]]
    if numbers < [int(part) for part in OLDEST.split(".")]:
        raise MissingExtraError(f"Ray {found} is too old, {OLDEST} is needed; run {install_hint('ray')}")


def connect(address: str | None = None, *, workers: int | None = None) -> Any:
    """Connect this process to a cluster.

    Args:
        address: ``host:port`` of its head, ``"auto"`` for the one that runs on this machine, or ``"local"`` for a new
            one, which ends with this process. By default the variable ``RAY_ADDRESS``, else ``"local"``.
        workers: Processors that a new one offers at least.

    Returns:
        The module ``ray``.

    Raises:
        ClusterError: No cluster answers, or it refuses.
        InputError: The address is one of Ray's client.
        MissingExtraError: Ray is not installed.
    """
    check_installed()
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    if address == "local":
        prepare_own()
    elif _host_and_port(address)[0] in _LOCAL_NAMES:
        _stay_local()
    import ray
    import ray.exceptions

    _start(ray, address, workers)
    return ray


def _stay_local() -> None:
    """Use the loopback address alone, and tell nobody that this Ray is used."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # Ray's own way to say so, on every system


def prepare_own() -> None:
    """Prepare for a Ray of our own: on the loopback address, silent, and with a token of its own.

    Ray reads this when it is imported. Without a token it would write one into the user's home.
    """
    _stay_local()
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _start(ray: Any, address: str, workers: int | None) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        cpus = max(usable_cpus(), workers or 0)
        options |= {"num_cpus": cpus, "include_dashboard": False, "_node_ip_address": _LOCAL}
    else:
        _knock(address)
    try:
        ray.init(address, **options)
    except Exception as error:  # Ray raises whatever went wrong
        raise _refused(address, error) from error


def _refused(address: str, error: Exception) -> ClusterError:
    where = f"{address}: no Ray cluster can be used there"
    cure = "give --ray-address host:port of its head, from a machine of the cluster, with its version of Ray"
    told: BaseException = error
    if address == "local":
        where, cure = "Ray cannot be started here", "free memory and processors, and try again"
    elif error.__cause__ is not None and "Authentication" in repr(error.__cause__):
        told, cure = error.__cause__, "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN as the cluster has them"
    return ClusterError(f"{where} ({one_line(told, limit=300)}); {cure}")


def _knock(address: str) -> None:
    """Raise within seconds where nobody listens; Ray takes minutes."""
    if address.startswith("ray://"):
        raise InputError(
            f"{address}: Ray's client is not enough; give host:port of the head, from a machine of the "
            "cluster, or submit the command with `ray job submit`"
        )
    host, port = _host_and_port(address)
    if not host or not port.isdigit():
        return  # auto, and whatever else Ray knows
    try:
        socket.create_connection((host, int(port)), _SECONDS_TO_CONNECT).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"{address}: no Ray cluster answers ({one_line(error, limit=100)}); check --ray-address and RAY_ADDRESS, "
            "or start one with `ray start --head`"
        ) from error


def _host_and_port(address: str) -> tuple[str, str]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), port
