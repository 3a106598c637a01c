"""Builds the application: checks the models once, then describes the deployment to Ray."""

from __future__ import annotations

import dataclasses
import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistkit.core import ray_cluster
from mnistkit.core.errors import MissingExtraError, MnistkitError, one_line
from mnistkit.core.folders import digest
from mnistkit.core.install import install_hint
from mnistkit.serve.models import check_models
from mnistkit.serve.ray.options import for_replicas, read
from mnistkit.serve.scale import Scale
from mnistkit.serve.settings import Settings
from mnistkit.serve.worker import check_packages

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "mnistkit"
"""Of the deployment, for Ray's configuration files, logs and metrics."""
_LONGEST = 500
_HEALTH_CHECKS = 2.0  # seconds between two; Ray's default, 10, is how long a dead replica may lack a successor


def application(
    models: Mapping[str, str | os.PathLike[str]] | None = None,
    *,
    replicas: int = 1,
    max_replicas: int | None = None,
    cpus: float = 1.0,
    gpus: float = 0.0,
    settings: Settings | None = None,
) -> Any:
    """A Ray Serve application that answers as ``mnistkit serve`` does; hand it to ``ray.serve.run``.

    Each model is loaded here once, on the CPU. The files must lie under the same paths on every node, and a replica
    refuses to start with another file than the one that was checked here, unless ``settings.watch`` is set.

    Args:
        models: Paths by the names that clients use; without them those of ``settings``, or the package's own.
        replicas: How many there are, and the fewest where ``max_replicas`` is given.
        max_replicas: The most that Ray starts when there is more to do: one more for each ``max_batch`` requests that
            go on at a time.
        cpus: Processors that Ray sets aside for each replica; also the threads inside one operator.
        gpus: GPUs of each replica, or a part of one.
        settings: Of each replica. By default no access log, since Ray has one. The default ``host`` makes it answer to
            loopback names alone: set ``allowed_hosts`` where Ray's proxies listen on other addresses.

    Returns:
        A ``ray.serve.Application``.

    Raises:
        MissingExtraError: Ray or a package of the server is not installed.
        InputError: An argument is wrong, or a setting is Ray's business.
        ModelFileError: A model cannot be served.
        ParityError: A model does not answer as it did when it was exported.
    """
    check_ray()
    scale = Scale(replicas, max_replicas, cpus, gpus)
    if settings is None:
        settings = Settings(access_log="none")
    if models is not None:
        settings = dataclasses.replace(settings, models=tuple((name, os.fspath(path)) for name, path in models.items()))
    settings = for_replicas(settings, scale)
    # What is here may have no GPU; the replicas prove the models again, where they run.
    check_models(dataclasses.replace(settings, device="cpu", provider_option=(), threads=1))
    digests = {} if settings.watch else {path: digest(Path(path)) for _, path in settings.models}

    from mnistkit.serve.ray.replica import bind

    return bind(settings, digests, _deployment(settings, scale))


def app(arguments: dict[str, Any]) -> Any:
    """The application for ``serve run mnistkit.serve.ray:app NAME=VALUE ...`` and Ray's configuration files.

    Args:
        arguments: Flags of ``mnistkit serve`` by their names, with underscores; also ``replicas``, ``max_replicas``,
            ``cpus`` and ``gpus``. ``model`` may be a list. ``MNISTKIT_SERVE_*`` variables give what they do not.

    Returns:
        A ``ray.serve.Application``.

    Raises:
        click.ClickException: With the cause and the cure, which ``serve run`` prints as one line.
    """
    try:
        settings, scale = read(arguments, os.environ)
        return application(**dataclasses.asdict(scale), settings=settings)
    except MissingExtraError:
        raise
    except MnistkitError as error:
        from click import ClickException  # what Ray's command line is made with

        raise ClickException(f"mnistkit: {one_line(error, limit=_LONGEST)}") from None


def check_ray() -> None:
    """Say how to get what Ray Serve needs.

    Raises:
        MissingExtraError: A package is not installed, or Ray is too old.
    """
    try:
        import ray.serve  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise MissingExtraError(f"ray[serve] is not installed ({error}); run {install_hint('ray')}") from None
    ray_cluster.check_version()
    check_packages()


def _deployment(settings: Settings, scale: Scale) -> dict[str, Any]:
    """Arguments of ``serve.deployment``: the limits of the server come first, and Ray's bound what waits in a proxy."""
    from ray import serve

    options: dict[str, Any] = {
        "name": NAME,
        # Ray's default, 5, would keep batches from forming and the queue from ever filling.
        "max_ongoing_requests": settings.max_requests,
        "max_queued_requests": settings.max_requests,
        "health_check_period_s": _HEALTH_CHECKS,
        "graceful_shutdown_timeout_s": settings.stop_timeout,
        "ray_actor_options": {"num_cpus": scale.cpus, "num_gpus": scale.gpus},
    }
    if "backpressure_config" in inspect.signature(serve.deployment).parameters:  # else Ray answers 503
        options["backpressure_config"] = {"status_code": 429, "retry_after_s": 1}
    if scale.max_replicas is None:
        return options | {"num_replicas": scale.replicas}
    return options | {
        "autoscaling_config": {
            "min_replicas": scale.replicas,
            "max_replicas": scale.max_replicas,
            "target_ongoing_requests": settings.max_batch,
        }
    }
