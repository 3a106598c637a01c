"""Put a run together from the arguments of ``fit``: its arrays or sources, their programs, and the loop over them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnistkit.core.errors import MnistkitError
from mnistkit.training import pytree
from mnistkit.training.batch_hooks import interval
from mnistkit.training.distributed.agreement import check_agreement
from mnistkit.training.feeds import ArraysFeed
from mnistkit.training.loop import Run
from mnistkit.training.own_steps import own_methods, packed
from mnistkit.training.programs import Programs
from mnistkit.training.source_kinds import as_source, is_shuffled, is_source
from mnistkit.training.sources import RowsFeed, SourceFeed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mnistkit.training.distributed.group import Group
    from mnistkit.training.feeds import Feed
    from mnistkit.training.pytree import Arrays


class CannotCompileError(Exception):
    """A backend cannot make a program of a step; the cause says why."""


def assemble(
    model: Any, x: Any, y: Any, *, options: Mapping[str, Any], seed: int | None, group: Group | None = None
) -> Run:
    """Return the run, with programs that are compiled where the data are arrays in memory.

    Args:
        model: compiled Keras model.
        x: as ``fit`` takes it.
        y: as ``fit`` takes it.
        options: its other arguments; ``batch_size`` is a number.
        seed: of the order of arrays; None draws one.
        group: the processes that train together, None where this one is alone.

    Raises:
        CannotCompileError: the step cannot be compiled; nothing has been read from a source yet.
        InputError: arrays that do not fit together.
    """
    import keras

    val_x, val_y, val_weight = keras.utils.unpack_x_y_sample_weight(options["validation_data"])
    sources = {True: is_source(x), False: is_source(val_x)}
    class_weight, fraction = options["class_weight"], options["validation_split"]

    def load() -> tuple[Arrays | None, Arrays | None]:
        training = validation = None
        if not sources[True]:
            training = pytree.prepare_arrays(x, y, sample_weight=options["sample_weight"])
        if val_x is not None and not sources[False]:
            validation = pytree.prepare_arrays(val_x, val_y, sample_weight=val_weight)
        if val_x is None and training is not None and fraction:
            training, validation = pytree.split(training, fraction=fraction)
        training = training and pytree.apply_class_weight(training, class_weight)
        return (packed(training), packed(validation)) if own_methods(model) else (training, validation)

    def load_resident() -> tuple[Arrays | None, Arrays | None]:
        training, validation = load()
        return training and _unless_stored(training), validation and _unless_stored(validation)

    draws = seed is None and not sources[True]  # a source may draw from NumPy's generator itself
    if draws and group is not None:
        seed = int(group.exchange(_seed_from_numpy())[0])
    arrays = dict(zip((True, False), load(), strict=True))
    resident = {which: one and _unless_stored(one) for which, one in arrays.items()}
    sizes = {True: options["batch_size"], False: options["validation_batch_size"] or options["batch_size"]}
    programs = Programs(
        model,
        batch_size=sizes[True],
        validation_batch_size=sizes[False],
        arrays=(resident[True], resident[False]),
        load=load_resident,
        epochs=_epochs(options),
        group=group,
    )
    if group is not None:
        in_memory = resident[True]
        assert in_memory is not None  # all else was refused
        check_agreement(model, group, arrays=(in_memory, resident[False]), options=options, seed=seed)
    if resident[True] is not None:
        _compile(programs, resident, epoch=options["initial_epoch"])
    if draws and group is None:  # after what may send the run to model.fit, which draws from the same generator
        seed = _seed_from_numpy()
    callbacks = keras.tree.flatten(options["callbacks"]) if options["callbacks"] else []

    def feed(*, training: bool) -> Feed | None:
        has_hooks = interval(callbacks, training=training) == 1
        if sources[training]:
            name = "steps_per_epoch" if training else "validation_steps"
            of_source = {
                "x": as_source(x if training else val_x),
                "y": y if training else val_y,
                "sample_weight": options["sample_weight"] if training else val_weight,
                "steps_per_epoch": options[name],
                "shuffle": training and is_shuffled(x, shuffle=options["shuffle"]),
                "class_weight": class_weight if training else None,
            }
            return SourceFeed(model, programs, training=training, is_ahead=not has_hooks, options=of_source)
        data = arrays[training]
        if data is None:
            return None
        order = seed if training and options["shuffle"] else None
        if resident[training] is not None:
            return ArraysFeed(programs, arrays=data, training=training, batch_size=sizes[training], seed=order)
        return RowsFeed(
            programs, arrays=data, training=training, is_ahead=not has_hooks, batch_size=sizes[training], seed=order
        )

    of_training = feed(training=True)
    assert of_training is not None
    if isinstance(of_training, SourceFeed):
        of_training.start()
    return Run(model, programs, of_training, feed(training=False), options["validation_freq"])


def _compile(programs: Programs, resident: Mapping[bool, Arrays | None], *, epoch: int) -> None:
    try:
        for training in (True, False):
            if resident[training] is not None and not programs.are_keras_steps_faster(training=training):
                programs.get(training=training, epoch=epoch)
    except MnistkitError:
        raise
    except Exception as error:  # whatever a framework raises, model.fit is the judge of the model
        raise CannotCompileError from error


def _epochs(options: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many epochs and evaluations there are, with those before ``initial_epoch``, if no callback stops.

    So a run that goes on later does its steps in the same way as one that was never interrupted.
    """
    epochs, every = options["epochs"], options["validation_freq"]
    validated = epochs // every if isinstance(every, int) else sum(1 <= one <= epochs for one in {*every})
    return epochs, validated


def _unless_stored(data: Arrays) -> Arrays | None:
    """Return arrays that are all in memory, None where one of them is not."""
    return None if any(pytree.is_stored(leaf) for leaf in pytree.tree_leaves(data.tree)) else data


def _seed_from_numpy() -> int:
    import numpy as np

    return int(np.random.randint(2**31 - 1))  # noqa: NPY002 - the generator that keras.utils.set_random_seed sets
