"""The compiled programs of a model: made when needed, kept for the next call, made anew when the model has changed."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mnistkit.training import keras_hooks
from mnistkit.training.attributes import Look, PythonState
from mnistkit.training.own_steps import overrides, own_methods, returns_logs
from mnistkit.training.pytree import holds_same, tree_leaves, tree_map

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from mnistkit.training.distributed.group import Group
    from mnistkit.training.pytree import Arrays, PyTree

_ATTRIBUTE = "_mnistkit_programs"
_KEPT_PROGRAMS = 6  # of a model; each is for one kind of step, size of a batch and kind of data
_KEPT_LENGTHS = 3  # of a program: numbers of samples that it is compiled for
COMPILE_REST_FROM = 10
"""Epoch from which the smaller last batch of each epoch has a compiled program of its own.

Before that, Keras' own step does this one batch, where the backend has such a step: making the program takes as long as
it saves in many epochs. The number of the epoch decides, not a clock, so that two runs compute the same.
"""


class Program(Protocol):
    """What each backend's ``Program`` does.

    Beside the class, its module has ``to_device(tree)``; ``host_view(tensor)``, an array on the memory of such a
    tensor, or None where it lies on another device; ``state_of(model)``, what a step depends on beside its inputs;
    ``IN_EVERY_STEP``, whether ``model.fit`` runs the Python code of a model in every step; ``FIXED_LENGTH``,
    whether a program is compiled for one number of samples; ``FINALIZES_AFTER_ERRORS``, as
    ``finalizes_after_errors`` says; ``FIT_BUILDS``, whether ``model.fit`` builds model and optimizer before the
    first step; and ``batch_was_taken()``, which does to the backend's global random generator what ``model.fit``
    does to build a model. Where several processes train together, the module ``distributed`` stands in its place;
    ``METRICS_ARE_LOCAL`` there tells whether each process counts its own samples alone.
    """

    def compile(self, data: PyTree, n: int, *, size: int) -> None:
        """Get ready for batches of ``size``; leave the model as it is. What is ready already costs nothing."""

    def compile_rest(self, data: PyTree, n: int, *, size: int, epoch: int) -> None:
        """Get ready for the last batch of each epoch, of ``size``, if that is worth it in this epoch."""

    def run(self, data: PyTree, order: npt.NDArray[np.int64] | None, *, start: int, steps: int, size: int) -> Any:
        """Do ``steps`` steps on batches of ``size`` of ``order``, the first at index ``start``; update the model.

        None is the samples' own order.

        Returns:
            What the last step returned; None where that is the model's metrics.
        """


class Programs:
    """The train and test program of one call of ``fit``, with its data on the device.

    Programs are kept on the model, as Keras keeps its train function: a second call with arrays of the same kind
    compiles nothing. Where a program is compiled for one number of samples, fewer samples are filled up to it.

    Args:
        model: compiled Keras model.
        batch_size: samples in a batch.
        validation_batch_size: the same for the validation arrays.
        arrays: the training arrays and the validation arrays; None for what is no array in memory.
        load: makes them again, where something may have changed the user's arrays in place.
        group: the processes that train together, None where this one is alone.

    Attributes:
        backend: name of the Keras backend.
        group: the same.
    """

    def __init__(
        self,
        model: Any,
        *,
        batch_size: int,
        validation_batch_size: int,
        arrays: tuple[Arrays | None, Arrays | None],
        load: Callable[[], tuple[Arrays | None, Arrays | None]],
        group: Group | None = None,
    ) -> None:
        import keras

        self.backend: str = keras.backend.backend()
        self.group = group
        self._model = model
        self._batch_sizes = {True: batch_size, False: validation_batch_size}
        module = "program" if group is None else "distributed"
        self._backend = importlib.import_module(f"mnistkit.training.{self.backend}.{module}")
        self._own = importlib.import_module(f"mnistkit.training.{self.backend}.own_step")
        self._load = load
        self._arrays = {True: arrays[0], False: arrays[1]}
        self._on_device: dict[bool, PyTree] = {}
        self._first: PyTree = None  # a batch of a source
        self._looks: dict[bool, Look] = {}
        self._store: _Store = vars(model).setdefault(_ATTRIBUTE, _Store())  # past Keras' attribute tracking

    @property
    def finalizes_after_errors(self) -> bool:
        """Whether ``model.fit`` puts averaged weights into the model also when a callback raises."""
        return bool(self._backend.FINALIZES_AFTER_ERRORS)

    @property
    def fit_builds(self) -> bool:
        """Whether ``model.fit`` builds model and optimizer before the first step."""
        return bool(self._backend.FIT_BUILDS)

    @property
    def metrics_are_local(self) -> bool:
        """Whether each process counts in the metrics its own samples alone."""
        return self.group is not None and bool(self._backend.METRICS_ARE_LOCAL)

    @property
    def shares_memory(self) -> bool:
        """Whether data on the device may be on the memory of the arrays that they are made from."""
        return self._backend.host_view(self.to_device(np.zeros(1, "float32"))) is not None

    @property
    def unpack(self) -> Callable[[Any], PyTree]:
        """What makes the tree for a step of a batch of a source; a model's own step gets the batch as it comes."""
        import keras

        return (lambda batch: batch) if own_methods(self._model) else keras.utils.unpack_x_y_sample_weight

    def to_device(self, tree: PyTree) -> PyTree:
        """Put arrays on the default device."""
        return self._backend.to_device(tree)

    def as_array(self, leaf: Any) -> npt.NDArray[Any] | None:
        """Return an array with the values of a dense numeric tensor, on its memory where that can be; or None."""
        import keras

        if not isinstance(leaf, np.ndarray):
            if not keras.ops.is_tensor(leaf):
                return None
            try:
                view = self._backend.host_view(leaf)
                leaf = keras.ops.convert_to_numpy(leaf) if view is None else view
            except Exception:  # noqa: BLE001 - sparse, ragged, of a type that NumPy lacks: Keras' own step knows
                return None
        return leaf if leaf.dtype.kind in "fiub" else None

    def own_step(self, batch: PyTree, training: bool) -> Any:  # noqa: FBT001 - as everywhere here
        """Let Keras do a step itself; return what it returns, None where that is the model's metrics."""
        logs = self._own.keras_step(self._model, batch, training=training)
        return logs if returns_logs(self._model, training=training) else None

    def batch(self, rows: npt.NDArray[np.int64], *, training: bool) -> PyTree:
        """Return a batch of the arrays."""
        arrays = self._arrays[training]
        assert arrays is not None
        return self.to_device(tree_map(lambda leaf: leaf[rows], arrays.tree))

    def read_arrays_again(self) -> None:
        """Take the user's arrays as they are now; what has not changed stays on the device."""
        training, validation = self._load()
        self._arrays = {True: training, False: validation}
        for which, on_device in [*self._on_device.items()]:
            arrays = self._arrays[which]
            views = [self._backend.host_view(leaf) for leaf in tree_leaves(on_device)]
            held = [view for view in views if view is not None]
            if arrays is None or not holds_same(arrays.tree, held):
                del self._on_device[which]

    def get(self, *, training: bool, epoch: int) -> tuple[Program, PyTree]:
        """Return the program for the model as it is now, and the data to run it on."""
        arrays = self._arrays[training]
        assert arrays is not None
        batch_size = self._batch_sizes[training]
        size = min(batch_size, arrays.n)
        entry = self._entry(arrays.tree, training=training, size=size, whole=not arrays.n % batch_size)
        if training not in self._on_device:
            length = entry.length_for(arrays.n) if self._backend.FIXED_LENGTH else arrays.n
            self._on_device[training] = self.to_device(_filled(arrays.tree, arrays.n, length))
        data = self._on_device[training]
        return self._ready(entry, data, size=size, rest=arrays.n % size, training=training, epoch=epoch), data

    def for_batches(self, data: PyTree, *, first: PyTree, size: int, training: bool) -> Program:
        """Return the program for batches of a source, for the model as it is now.

        Args:
            data: on the device, as the program will get it.
            first: one batch.
            size: samples in a batch.
            training: whether to train or to evaluate.
        """
        if training or self._first is None:
            self._first = tree_map(np.array, first)
        entry = self._entry(first, training=training, size=size, whole=False)
        return self._ready(entry, data, size=size, rest=0, training=training, epoch=0)

    def fit_as_before(self, *, training: bool) -> bool:
        """Tell whether the program made last still fits the model; False where that takes a longer look."""
        return self._looks[training].finds_the_same()

    def _entry(self, tree: PyTree, *, training: bool, size: int, whole: bool) -> _Entry:
        """Return what is kept of a kind of step; ``whole`` tells that all batches have one size."""
        self._build()
        state = self._backend.state_of(self._model)
        self._looks[training] = Look(self._model, of_settings=self._backend.IN_EVERY_STEP)
        layout = (training, self.group is not None, *_layout(tree))
        flags = self._store.flags(self._model, layout, self._batch_sizes[training] if whole else None)
        return self._store.entry((*layout, size), state, flags)

    def _ready(self, entry: _Entry, data: PyTree, *, size: int, rest: int, training: bool, epoch: int) -> Program:
        """Return a program that is compiled, and whose step changes nothing in Python."""
        length = tree_leaves(data)[0].shape[0]
        ready = (length, rest, bool(rest) and epoch >= COMPILE_REST_FROM)

        def compile_() -> None:
            if entry.program is None:
                entry.program = self._backend.Program(self._model, training=training, flags=entry.flags)
                entry.ready.clear()
            entry.program.compile(data, length, size=size)
            if rest:
                entry.program.compile_rest(data, length, size=rest, epoch=epoch)

        if entry.program is None or ready not in entry.ready:
            self._compile_unless_python_changes(entry, compile_)
            entry.ready.add(ready)
        else:
            compile_()
        assert entry.program is not None
        return entry.program

    def _compile_unless_python_changes(self, entry: _Entry, compile_: Callable[[], None]) -> None:
        """Compile, and refuse a step whose Python code changes something in every step."""
        before = PythonState(self._model, tensors=self._backend.IN_EVERY_STEP)
        try:
            changed = self._changed_by(compile_)
            if changed is not None:
                # what a step sets to the same value in every step does no harm: look again
                entry.program = None
                changed = self._changed_by(compile_)
        except Exception:
            before.restore()
            entry.program = None
            raise
        if changed is not None:
            before.restore()
            entry.program = None
            raise ValueError(f"{changed} changes in every step")

    def _changed_by(self, compile_: Callable[[], None]) -> str | None:
        before = PythonState(self._model, tensors=self._backend.IN_EVERY_STEP)
        compile_()
        return before.changed()

    def _build(self) -> None:
        """Create the variables that are missing, as ``model.fit`` does; a callback may have compiled anew."""
        arrays, batch = self._arrays[True], self._first
        before = None if self._backend.FIT_BUILDS else PythonState(self._model, tensors=False)
        if arrays is not None:
            batch = tree_map(lambda leaf: leaf[: self._batch_sizes[True]], arrays.tree)
        if not self._backend.FIT_BUILDS and overrides(self._model, "train_step"):
            return  # model.fit creates what is missing while it traces, and so does the program
        if keras_hooks.build(self._model, batch, idle_optimizer=self._backend.FIT_BUILDS):
            self._backend.batch_was_taken()
            if before is not None:  # model.fit does not call the model here
                before.restore()


class _Entry:
    """A program with the state of the model that it was made for."""

    def __init__(self, state: list[Any], flags: keras_hooks.TrainableFlags) -> None:
        self.state, self.flags = state, flags
        self.program: Program | None = None
        self.ready: set[tuple[int, int, bool]] = set()  # number of samples, size of the rest, whether it has a program
        self.lengths: list[int] = []  # the numbers of samples that it is compiled for, the last one used at the end

    def length_for(self, n: int) -> int:
        """Return a number of samples, at least n, to compile for: one that is compiled already, where it is near."""
        near = [length for length in self.lengths if n <= length <= 2 * n]
        if near:
            length = min(near)
        else:
            step = 2 ** max(0, n.bit_length() - 3)
            length = -(-n // step) * step if self.lengths else n
        self.lengths = [*(known for known in self.lengths if known != length), length][-_KEPT_LENGTHS:]
        return length


class _Store:
    """Opaque to Keras, which would track, save and copy a plain dict."""

    def __init__(self) -> None:
        self.entries: dict[Any, _Entry] = {}
        self._flags: dict[Any, dict[int | None, keras_hooks.TrainableFlags]] = {}
        self._compiled: list[Any] = []

    def flags(self, model: Any, layout: Any, size: int | None) -> keras_hooks.TrainableFlags:
        """Return what was trainable at the first step on data of this kind after ``compile``.

        ``model.fit`` compiles a step at that moment under TensorFlow, and goes on training what was trainable then.

        Args:
            model: the model.
            layout: of the data.
            size: of all batches, None where the last one is smaller. A step that is compiled for one size serves no
                other; the second is compiled for all.
        """
        compiled = keras_hooks.compiled_parts(model)[:3]
        if not _same(self._compiled, compiled):
            self._compiled, self._flags = compiled, {}
        steps = self._flags.setdefault(layout, {})
        if size not in steps:
            size = None if steps else size
        if size not in steps:
            steps[size] = keras_hooks.TrainableFlags(model)
        return steps[size]

    def entry(self, key: Any, state: list[Any], flags: keras_hooks.TrainableFlags) -> _Entry:
        """Return the entry of a key, a new one where the model has changed."""
        entry = self.entries.pop(key, None)
        if entry is None or not _same(entry.state, state) or not entry.flags.are_those_of(flags):
            entry = _Entry(state, flags)
        self.entries[key] = entry
        for old in [*self.entries][:-_KEPT_PROGRAMS]:
            del self.entries[old]
        return entry

    def __deepcopy__(self, _memo: Any) -> _Store:
        return _Store()

    def __reduce__(self) -> Any:
        return _Store, ()


def _layout(tree: PyTree) -> tuple[Any, ...]:
    structure = repr(tree_map(lambda _: 0, tree))
    return (structure, *((leaf.shape[1:], leaf.dtype.str) for leaf in tree_leaves(tree)))


def _filled(tree: PyTree, n: int, length: int) -> PyTree:
    """Repeat the first sample at the end; no order reads it."""
    if length == n:
        return tree
    return tree_map(lambda leaf: np.concatenate([leaf, np.repeat(leaf[:1], length - n, axis=0)]), tree)


def _same(old: list[Any], new: list[Any]) -> bool:
    # variables overload ==, so they are told apart by identity; the lists keep them alive, so no address is used twice
    def equal(a: Any, b: Any) -> bool:
        if isinstance(a, list) and isinstance(b, list):
            return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
        if isinstance(a, dict) and isinstance(b, dict):
            return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
        plain = (bool, int, float, str)
        if isinstance(a, plain) and isinstance(b, plain):
            return type(a) is type(b) and (a == b or a != a)  # noqa: PLR0124 - NaN is NaN
        return a is b

    return len(old) == len(new) and all(equal(a, b) for a, b in zip(old, new, strict=True))
