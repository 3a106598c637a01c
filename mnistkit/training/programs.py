"""The compiled programs of a model: made when needed, kept for the next call, made anew when the model has changed."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.training import keras_hooks
from mnistkit.training.attributes import Look, PythonState
from mnistkit.training.kept import Entry, Store, layout_of
from mnistkit.training.making import Kind, make_ready
from mnistkit.training.own_steps import overrides, own_methods, returns_logs
from mnistkit.training.pytree import holds_same, tree_leaves, tree_map

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from mnistkit.training.backend_program import Program
    from mnistkit.training.distributed.group import Group
    from mnistkit.training.pytree import Arrays, PyTree

_ATTRIBUTE = "_mnistkit_programs"


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
        epochs: number of epochs to train, and of evaluations.
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
        epochs: tuple[int, int],
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
        self._epochs = {True: epochs[0], False: epochs[1]}
        self._asked_steps: dict[bool, int] = {}
        self._store: Store = vars(model).setdefault(_ATTRIBUTE, Store())  # past Keras' attribute tracking

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

    def are_keras_steps_faster(self, *, training: bool) -> bool:
        """Tell whether these are too few steps on arrays for a program, whose making takes long.

        Their number decides, with those of earlier calls, and not a clock, so that two runs compute the same.
        """
        if self.group is not None:
            return False
        if training not in self._asked_steps:
            self._count(self._entry_of_arrays(training), training)
        return self._asked_steps[training] < int(self._backend.WORTH_STEPS)

    def get(self, *, training: bool, epoch: int) -> tuple[Program, PyTree]:
        """Return the program for the model as it is now, and the data to run it on."""
        arrays = self._arrays[training]
        assert arrays is not None
        entry = self._entry_of_arrays(training)
        self._count(entry, training)
        if training not in self._on_device:
            length = entry.length_for(arrays.n) if self._backend.FIXED_LENGTH else arrays.n
            self._on_device[training] = self.to_device(_filled(arrays.tree, arrays.n, length))
        data, size = self._on_device[training], min(self._batch_sizes[training], arrays.n)
        asked_steps = None if self.group is not None else self._asked_steps[training]
        kind = Kind(size=size, rest=arrays.n % size, training=training, asked_steps=asked_steps)
        return make_ready(entry, self._model, self._backend, data=data, kind=kind, epoch=epoch), data

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
        kind = Kind(size=size, rest=0, training=training, asked_steps=None)
        program = make_ready(entry, self._model, self._backend, data=data, kind=kind, epoch=0)
        if self._draws_globally(program):  # a thread reads the source meanwhile, and may draw there too
            raise ValueError("it draws from the global random generator")
        return program

    def arrays_are_taken(self, *, training: bool) -> None:
        """Draw what ``model.fit`` draws for its loader, where steps draw from the same generator, or may.

        It makes an iterator where an epoch of arrays begins, and another one where it ends.
        """
        draws = any(self._draws_globally(entry.program) for entry in self._store.entries.values())
        if draws or self.are_keras_steps_faster(training=training):
            self._backend.batch_was_taken()

    @staticmethod
    def _draws_globally(program: Program | None) -> bool:
        return bool(getattr(program, "draws_globally", False))

    def fit_as_before(self, *, training: bool) -> bool:
        """Tell whether the program made last still fits the model; False where that takes a longer look."""
        return self._looks[training].finds_the_same()

    def _count(self, entry: Entry, training: bool) -> None:  # noqa: FBT001 - as everywhere here
        """Count, once for a call, the steps asked for: whether they are worth a program must not change within it."""
        if training not in self._asked_steps:
            arrays = self._arrays[training]
            assert arrays is not None
            entry.steps += self._epochs[training] * -(-arrays.n // self._batch_sizes[training])
            self._asked_steps[training] = entry.steps

    def _entry_of_arrays(self, training: bool) -> Entry:  # noqa: FBT001 - as everywhere here
        arrays, batch_size = self._arrays[training], self._batch_sizes[training]
        assert arrays is not None
        whole = not arrays.n % batch_size
        return self._entry(arrays.tree, training=training, size=min(batch_size, arrays.n), whole=whole)

    def _entry(self, tree: PyTree, *, training: bool, size: int, whole: bool) -> Entry:
        """Return what is kept of a kind of step; ``whole`` tells that all batches have one size."""
        self._build()
        state = self._backend.state_of(self._model)
        self._looks[training] = Look(self._model, of_settings=self._backend.IN_EVERY_STEP)
        layout = (training, self.group is not None, *layout_of(tree))
        flags = self._store.flags(self._model, layout, self._batch_sizes[training] if whole else None)
        return self._store.entry((*layout, size), state, flags)

    def _build(self) -> None:
        """Create the variables that are missing, as ``model.fit`` does; a callback may have compiled anew."""
        arrays, batch = self._arrays[True], self._first
        before: list[PythonState] = []

        def note() -> None:
            if not self._backend.FIT_BUILDS:  # model.fit does not call the model here
                before.append(PythonState(self._model, tensors=False))

        if arrays is not None:
            batch = tree_map(lambda leaf: leaf[: self._batch_sizes[True]], arrays.tree)
        if not self._backend.FIT_BUILDS and overrides(self._model, "train_step"):
            return  # model.fit creates what is missing while it traces, and so does the program
        if keras_hooks.build(self._model, batch, idle_optimizer=self._backend.FIT_BUILDS, before=note):
            self._backend.batch_was_taken()
            for state in before:
                state.restore()


def _filled(tree: PyTree, n: int, length: int) -> PyTree:
    """Repeat the first sample at the end; no order reads it."""
    if length == n:
        return tree
    return tree_map(lambda leaf: np.concatenate([leaf, np.repeat(leaf[:1], length - n, axis=0)]), tree)
