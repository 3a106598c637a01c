"""Runs that go to ``model.fit``, with the batches that the trainer would have drawn wherever a seed can give them."""

from __future__ import annotations

import math
import re
import sys
from typing import Any

from mnistkit.training import pytree
from mnistkit.training.order import epoch_order
from mnistkit.training.source_kinds import as_source, is_shuffled


def run(model: Any, x: Any, y: Any, *, options: dict[str, Any], seed: int | None, reason: str) -> Any:
    """Call ``model.fit`` and say why on stderr.

    Args:
        model: compiled Keras model.
        x: as ``model.fit`` takes it.
        y: as ``model.fit`` takes it.
        options: its other arguments.
        seed: of the order of the samples; None leaves the order to Keras.
        reason: why the trainer does not take the run.
    """
    sys.stderr.write(f"mnistkit: training with model.fit, because {reason}\n")
    if not all(hasattr(leaf, "shape") for leaf in pytree.tree_leaves(x)):
        # a data set has its own batches and its own order; Keras warns of arguments about them
        kept = {name: value for name, value in options.items() if name not in ("batch_size", "shuffle")}
        return model.fit(as_source(x), y, shuffle=is_shuffled(x, shuffle=options["shuffle"]), **kept)
    if seed is None or not pytree.is_in_memory((x, y)) or not _can_be_ordered(model, options):
        return model.fit(x, y, **options)
    options = dict(options)
    data = pytree.prepare_arrays(x, y, sample_weight=options.pop("sample_weight"))
    fraction = options.pop("validation_split")
    if options["validation_data"] is None and fraction:
        data, held_out = pytree.split(data, fraction=fraction)
        options["validation_data"] = _item(held_out.tree)
    data = pytree.apply_class_weight(data, options.pop("class_weight"))
    batch_size = options.pop("batch_size")
    batches = _in_order(data, batch_size=batch_size, seed=seed)
    options["validation_batch_size"] = options["validation_batch_size"] or batch_size
    options["callbacks"] = [*(options["callbacks"] or []), _epoch_setter(batches)]
    options["shuffle"] = False
    return model.fit(batches, **options)


def cause(error: BaseException) -> str:
    """Return in one line what went wrong, without the frames that Keras puts around it."""
    lines = re.sub(r"\x1b\[\d*m", "", str(error)).splitlines()
    said = [
        line.strip() for line in lines if line.strip() and not line.startswith("Exception encountered when calling")
    ]
    return said[0][:200] if said else type(error).__name__


def _can_be_ordered(model: Any, options: dict[str, Any]) -> bool:
    import keras

    is_list = options["callbacks"] is None or isinstance(options["callbacks"], list | tuple)
    simple = options["shuffle"] is True and is_list and options["steps_per_epoch"] is None
    return simple and type(model).fit is keras.Model.fit and "fit" not in vars(model)


def _item(tree: Any) -> Any:
    x, y, sample_weight = tree
    if sample_weight is not None:
        return x, y, sample_weight
    return (x,) if y is None else (x, y)


def _in_order(data: pytree.Arrays, *, batch_size: int, seed: int) -> Any:
    import keras

    class InOrder(keras.utils.PyDataset):
        """The batches of the epoch that ``start`` was called with."""

        def __init__(self) -> None:
            super().__init__(workers=0)
            self.start(0)

        def start(self, epoch: int) -> None:
            self._order = epoch_order(data.n, seed=seed, epoch=epoch)

        def __len__(self) -> int:
            return math.ceil(data.n / batch_size)

        def __getitem__(self, index: int) -> Any:
            rows = self._order[index * batch_size : (index + 1) * batch_size]
            return _item(pytree.tree_map(lambda leaf: leaf[rows], data.tree))

    return InOrder()


def _epoch_setter(batches: Any) -> Any:
    import keras

    # a callback, because another callback may move the first epoch (BackupAndRestore)
    return keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _logs: batches.start(epoch))
