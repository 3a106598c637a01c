"""Every private name of Keras that the trainer uses, each with its purpose."""

from __future__ import annotations

import contextlib
import types
from typing import TYPE_CHECKING, Any

from mnistkit.core.thread_patches import ThreadPatch
from mnistkit.training.adapters.hooks import HOOKS as ADAPTER_HOOKS
from mnistkit.training.hook import Hook, first_missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SYMBOLIC_BUILD = Hook(("keras:Model._symbolic_build",), "create the variables before the first step")
_FLATTEN_LAYERS = Hook(("keras:Layer._flatten_layers",), "look at every layer of a model")
_COMPILE_LOSS = Hook(("model:_compile_loss",), "notice that compile() was called again")
_COMPILE_METRICS = Hook(("model:_compile_metrics",), "notice that compile() was called again")
_INITIAL_EPOCH = Hook(("model:_initial_epoch",), "resume where BackupAndRestore says")
_LEARNING_RATE = Hook(("optimizer:_learning_rate",), "tell a schedule from a number")
_STRATEGY = Hook(("model:_distribute_strategy",), "notice a model made under tf.distribute", backend="tensorflow")
_COND = Hook(
    ("keras.src.backend.torch.ops.core:cond", "keras.src.backend.torch.core:cond"),  # the first from Keras 3.16
    "trace keras.ops.cond",
    backend="torch",
)
_SEED_GENERATOR = Hook(
    ("keras.src.backend.torch.random:torch_seed_generator",), "trace random numbers", backend="torch"
)
_UPDATE_STEP = Hook(
    ("keras:optimizers.Optimizer._backend_update_step",), "update one variable after the other", backend="torch"
)

_OWN_DISTRIBUTION = Hook(
    ("keras:Model._initialize_ddp",),  # from Keras 3.16
    "keep Keras from averaging gradients and metrics over processes itself",
    backend="torch",
    required=False,
)
_RECURRENT = "run a recurrent layer as one operation"
_RNN = Hook(("keras.src.backend:rnn",), _RECURRENT, required=False)
_LSTM = Hook(("keras.src.backend:lstm",), _RECURRENT, backend="torch", required=False)
_GRU = Hook(("keras.src.backend:gru",), _RECURRENT, backend="torch", required=False)

_VALUE = Hook(("keras:Variable.value",), "notice the variables that a step reads")
_TAKE_BATCHES = "take batches as model.fit does"
_ITERATORS = {
    backend: Hook(
        (f"keras.src.backend.{backend}.trainer:{name}._get_iterator",), _TAKE_BATCHES, backend=backend, required=False
    )
    for backend, name in (
        ("jax", "JAXEpochIterator"),
        ("tensorflow", "TFEpochIterator"),
        ("torch", "TorchEpochIterator"),
    )
}

HOOKS = (
    _SYMBOLIC_BUILD,
    _FLATTEN_LAYERS,
    _COMPILE_LOSS,
    _COMPILE_METRICS,
    _INITIAL_EPOCH,
    _LEARNING_RATE,
    _VALUE,
    _STRATEGY,
    _COND,
    _SEED_GENERATOR,
    _UPDATE_STEP,
    _OWN_DISTRIBUTION,
    _RNN,
    _LSTM,
    _GRU,
    *_ITERATORS.values(),
    *ADAPTER_HOOKS,
)

replaced_cond = ThreadPatch(_COND.owner)
"""``with replaced_cond(function) as original``: ``keras.ops.cond`` under PyTorch, in the calling thread."""
replaced_seed_generator = ThreadPatch(_SEED_GENERATOR.owner)
"""The function that makes PyTorch's generator from a Keras seed, in the calling thread."""
replaced_rnn, replaced_lstm, replaced_gru = (ThreadPatch(hook.owner) for hook in (_RNN, _LSTM, _GRU))
"""The functions that Keras' recurrent layers call, in the calling thread."""


def _definer(cls: Any, name: str) -> tuple[Any, str]:
    """Find the class that defines a method or a property of a class, the backend's own or its base."""
    return next(base for base in cls.__mro__ if name in vars(base)), name


def _owner_of_build() -> tuple[Any, str]:
    import keras

    return _definer(keras.optimizers.Optimizer, "build")


_replaced_value = ThreadPatch(lambda: _definer(*_VALUE.owner()))
_replaced_build = ThreadPatch(_owner_of_build)


def missing(model: Any, *, backend: str) -> str | None:
    """Return the message about the first name that this Keras does not have, or None."""
    instances = {"model": model, "optimizer": model.optimizer}
    hooks = [hook for hook in HOOKS if hook.backend in (None, backend)]
    if model.optimizer is None:
        hooks = [hook for hook in hooks if hook is not _LEARNING_RATE]
    return first_missing(hooks, **instances)


def has_recurrent_functions() -> bool:
    """Tell whether this Keras has the functions that its recurrent layers call."""
    return all(hook.get_or_none() is not None for hook in (_RNN, _LSTM, _GRU))


def has_epoch_iterator(backend: str) -> bool:
    """Tell whether this Keras has the iterator that ``model.fit`` takes batches from."""
    return _ITERATORS[backend].get_or_none() is not None


def epoch_iterator(model: Any, *, backend: str, around: Callable[[Any, Callable[[], Any]], Any], **options: Any) -> Any:
    """Make what ``model.fit`` takes its batches from: epochs, numbers of steps and warnings are its own.

    Args:
        model: the model.
        backend: the Keras backend.
        around: gets the adapter of the source, and what makes an iterator over its batches; what it returns is
            iterated over instead.
        options: ``x``, ``y``, ``sample_weight``, ``batch_size``, ``steps_per_epoch``, ``shuffle``, ``class_weight``.
    """
    cls, name = _ITERATORS[backend].owner()
    if backend == "tensorflow":
        options["distribute_strategy"] = model.distribute_strategy
    made = cls(**options)
    # under JAX past a step that puts batches on the device
    get_iterator = made.data_adapter.get_jax_iterator if backend == "jax" else getattr(made, name)
    setattr(made, name, lambda: around(made.data_adapter, get_iterator))
    return made


def build_from(model: Any, epochs: Any, *, idle_optimizer: bool) -> None:
    """Create the variables that are missing, with a batch of an epoch iterator where one is needed for that."""
    optimizer = model.optimizer
    with _own_attribute(model, "optimizer", None):
        model._symbolic_build(iterator=epochs)  # noqa: SLF001 - this file is for such names
    if optimizer is not None and not optimizer.built and (idle_optimizer or model.trainable_variables):
        optimizer.build(model.trainable_variables)


def build(model: Any, batch: Any, *, idle_optimizer: bool, before: Callable[[], None] = lambda: None) -> bool:
    """Create the variables that a model, its loss, metrics and optimizer lack, as ``model.fit`` does.

    Args:
        model: the model.
        batch: what it is called with.
        idle_optimizer: whether an optimizer gets its variables also where nothing is trainable.
        before: called before the model is, where something is missing.

    Returns:
        Whether it took a batch to build from; ``model.fit`` takes it from its loader.
    """
    taken: list[bool] = []

    def batches() -> Iterator[tuple[int, int, list[Any]]]:
        taken.append(True)
        before()
        yield 0, 0, [batch]

    build_from(model, batches(), idle_optimizer=idle_optimizer)
    return bool(taken)


def flatten_layers(model: Any) -> list[Any]:
    """Return a model and all layers inside it."""
    return list(model._flatten_layers())  # noqa: SLF001


def compiled_parts(model: Any) -> list[Any]:
    """Return the objects that ``compile`` makes anew, and the learning rate or its schedule."""
    parts = [model.optimizer, model._compile_loss, model._compile_metrics]  # noqa: SLF001
    return [*parts, learning_rate(model.optimizer)]


def variable_lists(model: Any) -> list[list[Any]]:
    """Return the variables that a step reads and changes, by what they are for."""
    return [
        list(model.trainable_variables),
        list(model.non_trainable_variables),
        list(model.metrics_variables),
        list(model.optimizer.variables),
    ]


def learning_rate(optimizer: Any) -> Any:
    """Return an optimizer's learning rate as it was given: a variable, a schedule or a function."""
    return None if optimizer is None else optimizer._learning_rate  # noqa: SLF001


def resumed_epoch(model: Any) -> int | None:
    """Return the epoch that the callback BackupAndRestore sets for a resumed run, or None."""
    epoch: int | None = model._initial_epoch  # noqa: SLF001
    return epoch


@contextlib.contextmanager
def noted_reads() -> Iterator[dict[int, Any]]:
    """Note the variables, by ``id``, whose value the calling thread reads within the block.

    No look at all objects of the process: whoever holds a tuple that another thread is still building breaks it there.
    """
    read: dict[int, Any] = {}

    def note(variable: Any) -> Any:
        read[id(variable)] = variable
        return original.fget(variable)

    with _replaced_value(note) as original:
        yield read


@contextlib.contextmanager
def noted_builds(needed: list[tuple[Any, Any]]) -> Iterator[None]:
    """Note, within the block, the optimizers that would be built, each with its variables; an error ends the block."""

    def note(optimizer: Any, variables: Any) -> None:
        needed.append((optimizer, list(variables)))
        raise RuntimeError(f"{optimizer.name} is not built")

    with _replaced_build(note):
        yield


def build_optimizer(optimizer: Any, variables: Any) -> None:
    """Create the variables of an optimizer, with the names that its first update gives them."""
    import keras

    with keras.name_scope(optimizer.name, caller=optimizer):
        optimizer.build(variables)


class TrainableFlags:
    """Which layers and variables of a model are trainable now.

    Args:
        model: the model.
    """

    def __init__(self, model: Any) -> None:
        self._layers = [(layer, vars(layer).get("_trainable")) for layer in flatten_layers(model)]
        self._variables = [(variable, variable.trainable) for variable in model.variables]

    def are_those_of(self, other: TrainableFlags) -> bool:
        """Tell whether the same layers and variables were trainable then."""
        if self is other:
            return True
        mine, theirs = ((*flags._layers, *flags._variables) for flags in (self, other))  # noqa: SLF001 - its own class
        return len(mine) == len(theirs) and all(
            one is two and flag == flag_two for (one, flag), (two, flag_two) in zip(mine, theirs, strict=True)
        )

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block the model is as trainable as it was then."""
        now = [vars(layer).get("_trainable") for layer, _ in self._layers]
        variables_now = [variable.trainable for variable, _ in self._variables]
        try:
            for layer, then in self._layers:
                vars(layer)["_trainable"] = then
            for variable, was in self._variables:
                variable.trainable = was
            yield
        finally:
            for (layer, _), flag in zip(self._layers, now, strict=True):
                vars(layer)["_trainable"] = flag
            for (variable, _), is_trainable in zip(self._variables, variables_now, strict=True):
                variable.trainable = is_trainable


def has_strategy(model: Any) -> bool:
    """Tell whether a model was made under ``tf.distribute``."""
    return getattr(model, "_distribute_strategy", None) is not None


@contextlib.contextmanager
def unfused_update(optimizer: Any) -> Iterator[None]:
    """Let an optimizer update one variable after the other within the block, without PyTorch's operations on lists.

    So does the optimizer inside one that scales the loss. The method is the first in line that is not the PyTorch
    backend's own: Nadam's keeps a product that the base class does not know.
    """
    name = "_backend_update_step"
    with contextlib.ExitStack() as stack:
        while optimizer is not None:
            line = [c for c in type(optimizer).__mro__ if name in vars(c) and ".backend.torch." not in c.__module__]
            stack.enter_context(_own_attribute(optimizer, name, vars(line[0])[name].__get__(optimizer)))
            optimizer = getattr(optimizer, "inner_optimizer", None)
        yield


@contextlib.contextmanager
def changed_gradients(optimizer: Any, change: Callable[[list[Any]], list[Any]]) -> Iterator[None]:
    """Let an optimizer apply, within the block, what a function makes of the gradients."""
    apply = optimizer.apply

    def apply_changed(grads: Any, trainable_variables: Any = None) -> Any:
        return apply(change(list(grads)), trainable_variables)

    with _own_attribute(optimizer, "apply", apply_changed):
        yield


@contextlib.contextmanager
def without_own_distribution(model: Any) -> Iterator[None]:
    """Keep Keras, within the block, from doing itself what is done for it: once is right, twice is wrong.

    From 3.16 on its PyTorch backend wraps a model in DistributedDataParallel as soon as ``torch.distributed`` is
    started, and adds up metrics whenever they are read, in whichever process that is.
    """
    hook = _OWN_DISTRIBUTION
    if hook.get_or_none() is None:
        yield
        return
    _, name = hook.owner()
    line: list[Any] = [cls for cls in type(model).__mro__ if "get_metrics_result" in vars(cls)]
    of_model = next(cls for cls in line if ".backend.torch." not in cls.__module__)
    results = types.MethodType(of_model.get_metrics_result, model)
    with (
        _own_attribute(model, name, lambda: None),
        _own_attribute(model, "ddp_model", None),
        _own_attribute(model, "get_metrics_result", results),
    ):
        yield


def seed_states(model: Any) -> list[Any]:
    """Return the variables of a model's seed generators, which a ``.keras`` file does not keep."""
    weights = {id(variable) for variable in model.weights}
    found = [variable for variable in model.variables if id(variable) not in weights]
    return [variable for variable in found if "seed_generator" in variable.path and tuple(variable.shape) == (2,)]


@contextlib.contextmanager
def _own_attribute(thing: Any, name: str, value: Any) -> Iterator[None]:
    """Give one object an attribute within the block, past Keras' tracking."""
    attributes = vars(thing)
    before = dict(attributes)
    attributes[name] = value
    try:
        yield
    finally:
        if name in before:
            attributes[name] = before[name]
        else:
            del attributes[name]
