"""Making a program, and refusing a step whose Python code changes something each time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from mnistkit.training.attributes import PythonState
from mnistkit.training.pytree import tree_leaves

if TYPE_CHECKING:
    from collections.abc import Callable

    from mnistkit.training.backend_program import Program
    from mnistkit.training.kept import Entry
    from mnistkit.training.pytree import PyTree

COMPILE_REST_FROM = 10
"""Epoch from which the smaller last batch of each epoch has a compiled program of its own.

Before that, Keras' own step does this one batch, where the backend has such a step: making the program takes as long as
it saves in many epochs. The number of the epoch decides, not a clock, so that two runs compute the same.
"""


class Kind(NamedTuple):
    """What steps a program is for.

    Attributes:
        size: Samples in a batch.
        rest: Samples in the last batch of an epoch, 0 where it is as large as the others.
        training: Whether to train or to evaluate.
        asked_steps: How many are asked for, with those of earlier calls; None where that is not known, or no matter.
    """

    size: int
    rest: int
    training: bool
    asked_steps: int | None


def make_ready(entry: Entry, model: Any, backend: Any, *, data: PyTree, kind: Kind, epoch: int) -> Program:
    """Return the program of an entry, compiled for what it is about to run on.

    Args:
        entry: what is kept of this kind of step.
        model: the model.
        backend: the module of the backend's programs.
        data: on the device.
        kind: what steps.
        epoch: its number.

    Raises:
        ValueError: the step changes something in Python each time.
    """
    length = tree_leaves(data)[0].shape[0]
    ready = (length, kind.rest, bool(kind.rest) and epoch >= COMPILE_REST_FROM)

    def compile_() -> None:
        if entry.program is None:
            entry.program = backend.Program(model, training=kind.training, flags=entry.flags)
            entry.ready.clear()
        entry.program.asked_steps = kind.asked_steps
        entry.program.compile(data, length, size=kind.size)
        if kind.rest:
            entry.program.compile_rest(data, length, size=kind.rest, epoch=epoch)

    if entry.program is None or ready not in entry.ready:
        _compile_unless_python_changes(entry, model, compile_, tensors=backend.IN_EVERY_STEP)
        entry.is_ready_for(ready)
    else:
        compile_()
    assert entry.program is not None
    return entry.program


def _compile_unless_python_changes(entry: Entry, model: Any, compile_: Callable[[], None], *, tensors: bool) -> None:
    before = PythonState(model, tensors=tensors)
    try:
        changed = _changed_by(compile_, model, tensors=tensors)
        if changed is not None:
            # what a step sets to the same value in every step does no harm: look again
            entry.program = None
            changed = _changed_by(compile_, model, tensors=tensors)
    except Exception:
        before.restore()
        entry.program = None
        raise
    if changed is not None:
        before.restore()
        entry.program = None
        raise ValueError(f"{changed} changes in every step")


def _changed_by(compile_: Callable[[], None], model: Any, *, tensors: bool) -> str | None:
    before = PythonState(model, tensors=tensors)
    compile_()
    return before.changed()
