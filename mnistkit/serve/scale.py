"""How much of a Ray cluster a server takes, and the flags that say it; see `mnistkit.serve.ray`."""

from __future__ import annotations

import argparse
import dataclasses
import math
from dataclasses import dataclass

from mnistkit.core.errors import InputError


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of a cluster an application takes.

    Attributes:
        replicas: To begin with, and the fewest that there are.
        max_replicas: The most, as many as the load asks for; ``None`` for always as many as ``replicas``.
        cpus: Processors that Ray sets aside for each replica; also the threads inside one operator.
        gpus: GPUs of each replica, or a part of one.
    """

    replicas: int = 1
    max_replicas: int | None = None
    cpus: float = 1.0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.replicas < 1:
            raise InputError(f"--replicas: expected at least 1, got {self.replicas}")
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            raise InputError(f"--max-replicas: expected at least --replicas, {self.replicas}, got {self.max_replicas}")
        for name, number in (("cpus", self.cpus), ("gpus", self.gpus)):
            if not 0 <= number < math.inf:
                raise InputError(f"--{name}: expected a number from 0, got {number}")


def add_scale_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `Scale`."""
    group = parser.add_argument_group("ray")
    texts = {
        "replicas": (int, "replicas to begin with, and the fewest (default: 1)"),
        "max_replicas": (int, "the most replicas, as many as the load asks for (default: as many as --replicas)"),
        "cpus": (float, "processors that Ray sets aside for each replica (default: 1)"),
        "gpus": (float, "GPUs of each replica, or a part of one (default: 0)"),
    }
    for name, (kind, text) in texts.items():
        group.add_argument(f"--{name.replace('_', '-')}", type=kind, default=argparse.SUPPRESS, help=text)


def refuse_scale(options: argparse.Namespace) -> None:
    """Refuse what has no effect without ``--ray``.

    Raises:
        InputError: One of the flags was given.
    """
    for item in dataclasses.fields(Scale):
        if item.name in vars(options):
            raise InputError(f"--{item.name.replace('_', '-')} goes with --ray; without it see --workers")


def scale_from(options: argparse.Namespace) -> Scale:
    """The scale from a parsed command line.

    Raises:
        InputError: A value is not what it should be.
    """
    given = vars(options)
    return Scale(**{item.name: given[item.name] for item in dataclasses.fields(Scale) if item.name in given})
