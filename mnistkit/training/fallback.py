"""Runs that go to ``model.fit``, with the batches that the engine would have drawn wherever a seed can give them."""

from __future__ import annotations

import math
import re
import sys
from typing import Any

from mnistkit.training import pytree as arrays
from mnistkit.training.order import epoch_order


def run(model: Any, x: Any, y: Any, *, options: dict[str, Any], seed: int | None, reason: str) -> Any:
    """Call ``model.fit`` and say why on stderr.

    Args:
        model: compiled Keras model.
        x: as ``model.fit`` takes it.
        y: as ``model.fit`` takes it.
        options: its other arguments.
        seed: of the order of the samples; None leaves it to Keras.
        reason: why the engine does not take the run.
    """
    sys.stderr.write(f"mnistkit: training with model.fit, because {reason}\n")
    if not all(hasattr(leaf, "shape") for leaf in arrays.leaves(x)):
        # a data set has its own batches and its own order; Keras warns of arguments about them
        kept = {name: value for name, value in options.items() if name not in ("batch_size", "shuffle")}
        return model.fit(x, y, shuffle=False, **kept)
    if seed is None or not arrays.is_in_memory((x, y)) or not _can_be_ordered(model, options):
        return model.fit(x, y, **options)
    data = arrays.gather(x, y, sample_weight=options["sample_weight"], class_weight=options["class_weight"])
    if options["validation_data"] is None and options["validation_split"]:
        data, held_out = arrays.split(data, fraction=options["validation_split"])
        options["validation_data"] = _item(held_out.nest)
    batches = _in_order(data, batch_size=options["batch_size"], seed=seed)
    return model.fit(
        batches,
        epochs=options["epochs"],
        initial_epoch=options["initial_epoch"],
        validation_data=options["validation_data"],
        validation_batch_size=options["batch_size"],
        callbacks=[*(options["callbacks"] or []), _telling(batches)],
        shuffle=False,
        verbose=options["verbose"],
    )


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
    return options["shuffle"] is True and is_list and type(model).fit is keras.Model.fit and "fit" not in vars(model)


def _item(nest: Any) -> Any:
    x, y, sample_weight = nest
    if sample_weight is not None:
        return x, y, sample_weight
    return (x,) if y is None else (x, y)


def _in_order(data: arrays.Arrays, *, batch_size: int, seed: int) -> Any:
    import keras

    class InOrder(keras.utils.PyDataset):
        """The batches of the epoch whose number it was told."""

        def __init__(self) -> None:
            super().__init__(workers=0)
            self.start(0)

        def start(self, epoch: int) -> None:
            self._order = epoch_order(data.n, seed=seed, epoch=epoch)

        def __len__(self) -> int:
            return math.ceil(data.n / batch_size)

        def __getitem__(self, index: int) -> Any:
            rows = self._order[index * batch_size : (index + 1) * batch_size]
            return _item(arrays.map_nest(lambda leaf: leaf[rows], data.nest))

    return InOrder()


def _telling(batches: Any) -> Any:
    import keras

    # as a callback, because a callback may move the first epoch (BackupAndRestore)
    return keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _logs: batches.start(epoch))
