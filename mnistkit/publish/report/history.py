"""The training of a model, from the ``NAME.train.json`` that `mnistkit train` writes beside it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mnistkit.publish.report.words import Missing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_MOST_METRICS = 8
_VALIDATION = "val_"


@dataclass(frozen=True, slots=True)
class Curve:
    """One metric over the epochs.

    Attributes:
        name: As Keras calls it.
        training: Its value after each epoch; NaN where there was none.
        validation: The same on validation data; empty where nothing was held out.
    """

    name: str
    training: tuple[float, ...]
    validation: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class History:
    """How a model was trained.

    Attributes:
        curves: The loss first, then the other metrics by name.
        epochs: Number of epochs.
        test: Loss and accuracy on the test data after the training, where they were measured.
        settings: What the training was told, by name.
        backend: Keras' backend with its version; empty where the file does not say.
    """

    curves: tuple[Curve, ...]
    epochs: int
    test: dict[str, float]
    settings: dict[str, str]
    backend: str


def curves_of(history: Mapping[str, Any]) -> tuple[Curve, ...]:
    """Curves of a Keras history: values by metric, ``val_`` before those of validation data."""
    values = {name: _numbers(value) for name, value in history.items() if isinstance(value, list)}
    names = sorted(
        {name for name in values if values[name] and not name.startswith(_VALIDATION)},
        key=lambda name: (name != "loss", name),
    )
    return tuple(Curve(name, values[name], values.get(_VALIDATION + name, ())) for name in names[:_MOST_METRICS])


def read_training(path: Path, *, weights_sha256: str | None) -> History | Missing:
    """Read the training of a model.

    Args:
        path: The ``NAME.train.json``.
        weights_sha256: Digest of the weights that the model's file names; ``None`` where it names none.
    """
    if not path.is_file():
        return Missing(f"no training history: {path.name} is missing; `mnistkit train` writes it")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        curves = curves_of(found["history"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Missing(f"no training history: {path.name} is damaged; train again with `mnistkit train`")
    if not curves:
        return Missing(f"no training history: {path.name} has no epoch; train again with `mnistkit train`")
    if weights_sha256 is not None and found.get("weights_sha256") not in {None, weights_sha256}:
        return Missing(f"no training history: {path.name} is of other weights; export the model again")
    settings, backend = _mapping(found.get("settings")), _mapping(found.get("backend"))
    return History(
        curves=curves,
        epochs=max(len(curve.training) for curve in curves),
        test={name: float(one) for name, one in _mapping(found.get("test")).items() if isinstance(one, int | float)},
        settings={str(name): _told(one) for name, one in settings.items() if one is not None},
        backend=" ".join(str(backend[key]) for key in ("name", "version") if key in backend),
    )


def _numbers(values: list[Any]) -> tuple[float, ...]:
    return tuple(float(one) if isinstance(one, int | float) else math.nan for one in values)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _told(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
