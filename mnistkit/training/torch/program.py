"""One train step of Keras traced once under PyTorch and replayed, without Python dispatch and without autograd.

The trace (``trace``) is a graph of ATen operations on the model's own tensors. It is simplified (``simplify``) and run
in TorchScript's interpreter or as a graph module (``executor``); on a CUDA device as one CUDA graph (``cuda_graph``).
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import torch

from mnistkit.training import keras_hooks
from mnistkit.training.attributes import settings
from mnistkit.training.making import COMPILE_REST_FROM
from mnistkit.training.own_steps import returns_logs
from mnistkit.training.pytree import tree_leaves, tree_map
from mnistkit.training.torch import cuda_graph, executor, fuse_adam, simplify, trace
from mnistkit.training.torch.graph import largest_product
from mnistkit.training.torch.hooks import copy_lists
from mnistkit.training.torch.logs import values_of
from mnistkit.training.torch.own_step import keras_step

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt

    from mnistkit.training.pytree import PyTree
    from mnistkit.training.torch.trace import RandomOp

# Below this many multiplications in the largest product of a step, waking a second thread costs more than it saves.
_WORTH_THREADS = 20_000_000
_KEPT_RESTS = 3  # sizes of the last batch that have a trace of their own
FINALIZES_AFTER_ERRORS = False
FIT_BUILDS = True
IN_EVERY_STEP = True
FIXED_LENGTH = False
WORTH_STEPS = 150  # of a trace, which takes as long to make as so many steps of Keras' take longer
_GATHERED_BYTES = 2**21  # of the data to bring into batch order at once


def batch_was_taken() -> None:
    """Draw the number that PyTorch's loader draws when ``model.fit`` takes a batch to build a model from."""
    iter(torch.utils.data.DataLoader([0]))


def to_device(tree: PyTree) -> PyTree:
    """Put the arrays on the default device; on the CPU they share memory with NumPy."""
    import keras

    def tensor(leaf: npt.NDArray[Any]) -> Any:
        if leaf.dtype.name == "uint32":
            leaf = leaf.astype("int64")  # as Keras does
        if not leaf.flags.writeable or any(stride < 0 for stride in leaf.strides):
            leaf = leaf.copy()  # torch has no read-only tensors and no negative strides
        return torch.as_tensor(leaf, device=device)

    device = keras.ops.convert_to_tensor(0.0).device
    return tree_map(tensor, tree)


def host_view(tensor: Any) -> npt.NDArray[Any] | None:
    """Return an array on the tensor's memory, None where it is on another device."""
    view: npt.NDArray[Any] | None = tensor.numpy() if tensor.device.type == "cpu" else None
    return view


def state_of(model: Any) -> list[Any]:
    """List what a step reads beside its inputs: what compile() sets, variables, numbers in Python attributes."""
    return [*keras_hooks.compiled_parts(model), keras_hooks.variable_lists(model), settings(model)]


class _OneThread:
    """Lets the calling thread compute without helpers within a block.

    PyTorch keeps this number per thread, and once for the process as the default of new threads. So the number that
    each block gives back is the one from before the first of all blocks that run at the same time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before = 1

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if self._users == 0:
                self._before = torch.get_num_threads()
            self._users += 1
            before = self._before
            torch.set_num_threads(1)
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                torch.set_num_threads(before)


_ONE_THREAD = _OneThread()


class Program:
    """A model's train or test step, replayed over batches of resident data.

    Args:
        model: a compiled and built Keras model.
        training: whether to train or to evaluate.
        flags: of no use here: ``model.fit`` looks at them in every step.

    Attributes:
        draws_globally: whether a step draws from PyTorch's global random generator.
    """

    draws_globally = False

    def __init__(self, model: Any, *, training: bool, flags: Any) -> None:
        del flags
        self._model = model
        self._training = training
        self._replays: dict[int, Replay] = {}

    def compile(self, data: PyTree, n: int, *, size: int) -> None:
        """Trace for batches of ``size``, so that the first chunk need not and a failure shows before training."""
        del n
        if size in self._replays:
            return
        batch = tree_map(lambda leaf: leaf[:size].clone(), data)
        with torch.random.fork_rng(devices=[]):  # tracing runs the step, and dropout in it draws
            traced = trace.trace(self._model, batch, training=self._training, allows_dropout=True)
            self._replays[size] = Replay(traced, tree_leaves(batch))
        self.draws_globally = self.draws_globally or traced.draws_globally

    def compile_rest(self, data: PyTree, n: int, *, size: int, epoch: int) -> None:
        """Trace for the last batch of each epoch, once that saves time."""
        if epoch >= COMPILE_REST_FROM:
            self.compile(data, n, size=size)
            self._replays[size] = self._replays.pop(size)
            for old in [*self._replays][1:-_KEPT_RESTS]:
                del self._replays[old]

    def run(self, data: PyTree, order: npt.NDArray[np.int64] | None, *, start: int, steps: int, size: int) -> Any:
        """Do ``steps`` steps on batches of ``size`` of ``order``, the first at index ``start``; update the model."""
        flat, stop = leaves(data), start + steps * size
        replay = self._replays.get(size)
        batches: Iterator[tuple[Any, ...]]
        if order is None:
            batches = zip(*(leaf[start:stop].split(size) for leaf in flat), strict=True)
        else:
            rows = torch.as_tensor(order[start:stop], device=flat[0].device)
            if replay is None:
                batch = tree_map(lambda leaf: leaf[rows], data)
                logs = keras_step(self._model, batch, training=self._training)
                return logs if returns_logs(self._model, training=self._training) else None
            batches = gathered_batches(flat, rows, size)
        assert replay is not None
        with replay.threads(), torch.no_grad():
            replay(batches)
        return replay.logs()


def leaves(data: PyTree) -> list[Any]:
    """Return the arrays of a tree, at once where there are no containers inside: this runs before every short run."""
    if type(data) is tuple and all(part is None or isinstance(part, torch.Tensor) for part in data):
        return [part for part in data if part is not None]
    return tree_leaves(data)


def gathered_batches(flat: list[Any], rows: Any, size: int) -> Iterator[tuple[Any, ...]]:
    """Bring the data into batch order, as many batches at a time as stay in the processor's cache."""
    bytes_per_step = size * sum(leaf[0].numel() * leaf.element_size() for leaf in flat)
    chunk = max(1, _GATHERED_BYTES // max(1, bytes_per_step)) * size
    size_of_chunk = min(chunk, len(rows))
    gathered = [leaf.new_empty((size_of_chunk, *leaf.shape[1:])) for leaf in flat]
    for some in rows.split(chunk):
        pairs = zip(flat, gathered, strict=True)
        taken = [torch.index_select(leaf, 0, some, out=out[: len(some)]) for leaf, out in pairs]
        yield from zip(*(leaf.split(size) for leaf in taken), strict=True)


class Replay:
    """A simplified trace, ready to run.

    Args:
        traced: the trace.
        batch: the arrays of a batch, as an example.
        capture: whether to record it as one CUDA graph where that can be.
    """

    def __init__(self, traced: trace.Trace, batch: list[Any], *, capture: bool = True) -> None:
        self._capture = capture
        self._variables = traced.state
        self._random_ops: list[RandomOp] = traced.random_ops
        self._parts = traced.parts  # kept, because the graph knows their numbers alone
        self._logs = traced.logs
        self._one_thread = largest_product(traced.graph.graph) < _WORTH_THREADS
        device = batch[0].device
        self._joined = simplify.simplify(traced.graph, states=len(self._variables), device=device)
        self._contiguous = fuse_adam.contiguous_inputs(traced.graph.graph)
        self._buffers = [torch.cat([self._value(i).reshape(-1) for i in parts]) for parts in self._joined]
        self._parts_of_buffers = [
            (i, part.view(self._value(i).shape))
            for buffer, parts in zip(self._buffers, self._joined, strict=True)
            for i, part in zip(parts, buffer.split([self._value(i).numel() for i in parts]), strict=True)
        ]  # made once: with batch hooks each step asks for them
        self._device, self._module = device, traced.graph
        self._captured: cuda_graph.CapturedStep | None = None
        self._step: executor.Step | None = None
        with self._state() as state:
            self._get_ready(state, [*batch, *(op.example for op in traced.random_ops)])

    def threads(self) -> contextlib.AbstractContextManager[None]:
        """Use one thread within the block where that is faster."""
        return _ONE_THREAD() if self._one_thread else contextlib.nullcontext()

    def logs(self) -> Any:
        """Return what the last step returned, None where that is the model's metrics."""
        return values_of(self._logs)

    def __call__(self, batches: Iterator[tuple[Any, ...]]) -> None:
        """Do a step on each batch."""
        seeds = [(op, op.first_seed()) for op in self._random_ops]
        i = 0
        with self._state() as state:
            for i, batch in enumerate(batches, start=1):
                given = [*batch, *(op(seed + (i - 1) * op.stride) for op, seed in seeds)]
                if i == 1 and self._captured is not None and not self._captured.works_on(state):
                    self._get_ready(state, given)
                if self._captured is not None:
                    self._captured(given)
                else:
                    assert self._step is not None
                    self._step(*state, *given, *self._buffers)
        for generator, stride in trace.draws_per_step(self._random_ops):
            generator.state.value.data[1] += stride * i
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # whoever times the steps must not time their start alone

    def _get_ready(self, state: list[Any], given: list[Any]) -> None:
        """Make what runs the step: a CUDA graph on these tensors, else an executor."""
        if self._capture:
            self._captured = cuda_graph.capture(self._module, held=(state, self._buffers), given=given)
        if self._captured is None and self._step is None:
            self._step = executor.build(self._module, [*state, *given, *self._buffers])

    def _value(self, i: int) -> Any:
        return self._variables[i].value.detach()

    @contextlib.contextmanager
    def _state(self) -> Iterator[list[Any]]:
        """Give the tensors to work on: the variables' own, or others, which are copied back at the end.

        Others are parts of a buffer, and those that lie in memory in another order than a kernel takes.
        """
        state = [variable.value.detach() for variable in self._variables]
        outside, inside = [], []
        for i, part in self._parts_of_buffers:
            outside.append(state[i])
            inside.append(part)
            state[i] = part
        if outside:
            copy_lists(inside, outside)
        for i in self._contiguous:
            if not state[i].is_contiguous():
                outside.append(state[i])
                state[i] = state[i].contiguous()
                inside.append(state[i])
        yield state
        if outside:
            copy_lists(outside, inside)
