"""What processes must agree on before they train together: versions, model, weights, data, settings."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.keras_backend import version_of
from mnistkit.training import keras_hooks
from mnistkit.training.pytree import tree_leaves, tree_map

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mnistkit.training.distributed.group import Group
    from mnistkit.training.pytree import Arrays

_SETTINGS = ("batch_size", "epochs", "initial_epoch", "shuffle", "validation_freq", "validation_batch_size")
_NAMES = {"name", "registered_name", "shared_object_id", "build_config"}  # layers are numbered as they are made
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_MOST_BYTES = 2**26  # of an array that are looked at


def check_agreement(
    model: Any,
    group: Group,
    *,
    arrays: tuple[Arrays, Arrays | None],
    options: Mapping[str, Any],
    seed: int | None,
) -> None:
    """Compare versions, layers, settings and data, build the model, and compare the weights.

    Args:
        model: compiled Keras model; its variables are created here where they are missing.
        group: the processes.
        arrays: for training, and for validation.
        options: the arguments of ``fit``.
        seed: of the order.

    Raises:
        DistributedError: Two processes differ; the message says in what.
    """
    import keras

    frequency = options["validation_freq"]
    settings = {name: options[name] for name in _SETTINGS}
    settings["validation_freq"] = frequency if isinstance(frequency, int) else sorted(frequency)
    backend = keras.backend.backend()
    group.agree({
        "version of mnistkit": sys.modules["mnistkit"].__version__,  # loaded, as the parent of this module
        "version of Keras": keras.__version__,
        "backend": backend,
        f"version of {backend}": version_of(backend),
        "model (layers, optimizer, loss)": _digest([_layers(model), _compiled(model)]),
        **{name.replace("_", " "): value for name, value in settings.items()},
        "seed": seed,
        "training data": _of_data(arrays[0]),
        "validation data": _of_data(arrays[1]),
    })  # fmt: skip
    rows = min(options["batch_size"], arrays[0].n)
    keras_hooks.build(model, tree_map(lambda leaf: leaf[:rows], arrays[0].tree), idle_optimizer=True)
    weights = [keras.ops.convert_to_numpy(one.value) for one in [*model.variables, *model.optimizer.variables]]
    group.agree({"initial weights and seeds of the model": _digest_arrays(weights)})


def _layers(model: Any) -> list[Any]:
    """Describe the layers without their names."""
    return [_config(layer) for layer in keras_hooks.flatten_layers(model) if not hasattr(layer, "layers")]


def _compiled(model: Any) -> list[Any]:
    try:
        return [_plain(model.get_compile_config())]
    except (NotImplementedError, TypeError, ValueError):  # a model with losses that have no configuration
        return [_config(model.optimizer)]


def _config(thing: Any) -> Any:
    try:
        config = thing.get_config()
    except (NotImplementedError, TypeError, ValueError):  # a layer of the user's without a configuration
        config = None
    return [type(thing).__name__, _plain(config)]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items() if key not in _NAMES}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value if isinstance(value, bool | int | float | str | type(None)) else _ADDRESS.sub("", str(value))


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def _digest_arrays(arrays: list[Any]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:12]


def _of_data(arrays: Arrays | None) -> str | None:
    """Describe arrays: their shapes, and a checksum of all samples, or of some where they are many."""
    if arrays is None:
        return None
    leaves, checksum = tree_leaves(arrays.tree), 0
    for leaf in leaves:
        step = max(1, leaf.nbytes // _MOST_BYTES)
        checksum = zlib.crc32(np.ascontiguousarray(leaf[::step]).tobytes(), checksum)
    return f"{arrays.n} samples, {len(leaves)} arrays, {checksum:08x}"
