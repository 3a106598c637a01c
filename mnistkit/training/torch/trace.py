"""Keras' own train or test step under PyTorch as a graph of ATen operations, from forward pass to metrics."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode

from mnistkit.training.keras_hooks import noted_reads, replaced_seed_generator, unfused_update
from mnistkit.training.own_steps import optimizers_of, overrides, returns_logs
from mnistkit.training.pytree import tree_leaves, tree_map
from mnistkit.training.torch import own_train_step
from mnistkit.training.torch.graph import written
from mnistkit.training.torch.hooks import make_fx, untraced
from mnistkit.training.torch.if_conversion import if_conversion
from mnistkit.training.torch.logs import KeptLogs
from mnistkit.training.torch.recurrent import recurrent_parts
from mnistkit.training.torch.state import State, buffers_of, captured_state, keras_state
from mnistkit.training.torch.untraceable import UntraceableError, UntraceableOperations, check_repeats
from mnistkit.training.torch.writes import RecordedWrites

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mnistkit.training.pytree import PyTree
    from mnistkit.training.torch.opaque import Opaque

_READS = {torch.Tensor.numpy, torch.Tensor.__array__, torch.Tensor.tolist}
_TRACING = threading.Lock()  # torch.fx keeps what it patches while tracing in one variable of the process


@dataclass(slots=True)
class RandomOp:
    """An operation that takes random numbers from a Keras seed generator; it runs outside the graph.

    Attributes:
        function: makes the random numbers from a torch generator.
        seed: the Keras SeedGenerator, or the integer that stands for a fixed seed.
        nth: how many operations of the same step draw from the same seed generator before this one.
        generator: a torch generator of its own.
        stride: how many operations of a step draw from the seed generator.
        example: what was drawn while tracing.
    """

    function: Callable[[Any], Any]
    seed: Any
    nth: int
    generator: Any
    stride: int = 0
    example: Any = None

    def first_seed(self) -> int:
        """Return the seed for the next step."""
        if isinstance(self.seed, int):
            return self.seed
        first, second = self.seed.state.value.tolist()
        return int(first + second) + self.nth

    def __call__(self, seed: int) -> Any:
        """Draw."""
        self.generator.manual_seed(seed & 0xFFFFFFFF)
        return self.function(self.generator)


@dataclass(frozen=True, slots=True)
class Trace:
    """A traced step.

    Attributes:
        graph: module whose inputs are the state's tensors, the arrays of the batch, then the random numbers; it changes
            the state in place and returns nothing of interest.
        state: Keras variables, PyTorch buffers and what the step returns, in the order of the inputs.
        random_ops: random inputs.
        parts: what the graph calls by a number.
        logs: what the step returns, as a tree of some of the state; None where it is the model's metrics.
        draws_globally: whether it draws from PyTorch's global random generator.
    """

    graph: Any
    state: list[State]
    random_ops: list[RandomOp]
    parts: list[Opaque]
    logs: Any = None
    draws_globally: bool = False


def trace(model: Any, batch: PyTree, *, training: bool, allows_dropout: bool = False) -> Trace:
    """Trace a step on one batch and leave the model as it was.

    Args:
        model: a compiled and built Keras model.
        batch: as an example.
        training: whether to trace a step of training or of evaluation.
        allows_dropout: whether dropout may draw from PyTorch's global random generator.

    Raises:
        Exception: whatever torch or Keras raises when the step cannot be traced.
    """
    is_own = training and overrides(model, "train_step")

    def once() -> Trace:
        return own_train_step.trace(model, again) if is_own else again()

    def again() -> Trace:
        # a step of the user's own is traced twice, and would draw twice
        return _trace(model, batch, training=training, allows_dropout=allows_dropout and not is_own)

    with _TRACING:
        try:
            return once()
        except Exception:
            # Some of Keras' fused optimizers read a tensor's value (SGD its learning rate, Nadam a product); the update
            # written one variable at a time does not.
            if not training:
                raise
            with contextlib.ExitStack() as stack:
                for optimizer in optimizers_of(model):
                    stack.enter_context(unfused_update(optimizer))
                return once()


def draws_per_step(random_ops: list[RandomOp]) -> list[tuple[Any, int]]:
    """Return each seed generator once, with how far a step moves it."""
    found = {id(op.seed): (op.seed, op.stride) for op in random_ops if not isinstance(op.seed, int)}
    return list(found.values())


def _trace(model: Any, batch: PyTree, *, training: bool, allows_dropout: bool) -> Trace:
    """Trace, and trace again with what the step turned out to read beside the model's own variables."""
    state = keras_state(model)
    while True:
        traced, captured = _trace_with(state, model, batch, training=training, allows_dropout=allows_dropout)
        if not captured:
            return traced
        state = [*state, *captured]


def _trace_with(
    state: list[State], model: Any, batch: PyTree, *, training: bool, allows_dropout: bool
) -> tuple[Trace, list[State]]:
    extractor = RandomOpExtractor(tree_leaves(batch)[0].device)
    kept_logs = KeptLogs() if returns_logs(model, training=training) else None
    # the branches of a condition are both in the trace, and would both draw
    operations = UntraceableOperations(lambda: allows_dropout and not extractor.is_in_branch)

    def step(tensors: list[Any], flat: list[Any]) -> Any:
        del tensors  # traced because the variables hold these very tensors
        remaining = iter(flat)
        data = tree_map(lambda _: next(remaining), batch)
        logs = model.train_step(data) if training else model.test_step(data)
        return None if kept_logs is None else kept_logs.take(logs)

    tensors = [one.value for one in state]
    kept = [*tensors, *(one.value for one in buffers_of(model))]
    copies = [tensor.detach().clone() for tensor in kept]
    writes, mode = RecordedWrites(kept), model.training
    model.train(training)
    try:
        with contextlib.ExitStack() as stack:
            read = stack.enter_context(noted_reads())
            stack.enter_context(writes)
            stack.enter_context(operations)
            stack.enter_context(replaced_seed_generator(extractor.generator))
            stack.enter_context(extractor)
            stack.enter_context(if_conversion(extractor.branch))
            parts = stack.enter_context(recurrent_parts())
            if not training:
                stack.enter_context(torch.no_grad())
            module = make_fx(step)(tensors, tree_leaves(batch))
    finally:
        model.train(mode)
        model.zero_grad()
        writes.undo()
        with torch.no_grad():
            for tensor, old in zip(kept, copies, strict=True):
                tensor.copy_(old)
    if operations.drew and parts:
        raise UntraceableError("it draws from PyTorch's global random generator, and has recurrent layers")
    check_repeats(module.graph)
    if kept_logs is not None:
        kept_logs.put_into(module.graph, after=len(state))
    _expose(module, extractor.random_ops)
    if any(writes.made(variable.value) for variable in read.values()):
        raise UntraceableError("it makes a variable")
    _check_seed_generators(module, state, extractor.random_ops)
    captured = captured_state(model, module, known=state, read=read.values(), made=writes.made)
    held, logs = ([], None) if kept_logs is None else (kept_logs.held, kept_logs.tree)
    traced = Trace(module, [*state, *held], extractor.random_ops, parts, logs, draws_globally=operations.drew)
    return traced, captured


class RandomOpExtractor(TorchFunctionMode):
    """Takes the seeded random operations out of a trace, and refuses reads of values that make_fx would not see.

    Args:
        device: where random numbers are drawn; a generator of the CPU draws none for another device.
    """

    def __init__(self, device: Any = None) -> None:
        super().__init__()
        self._device = device
        self.random_ops: list[RandomOp] = []
        self._open: dict[int, RandomOp] = {}
        self._branches = 0

    def generator(self, seed: Any) -> Any:
        """Stand in for the function that makes a torch generator from a Keras seed."""
        fixed = isinstance(seed, int)
        if not fixed and not hasattr(seed, "state"):
            raise UntraceableError("it draws from the global random generator")
        if self._branches:
            raise UntraceableError("it draws random numbers inside keras.ops.cond")
        nth = 0 if fixed else sum(op.seed is seed for op in self.random_ops)
        op = RandomOp(function=torch.rand, seed=seed, nth=nth, generator=torch.Generator(self._device))
        self._open[id(op.generator)] = op
        self.random_ops.append(op)
        return op.generator

    @property
    def is_in_branch(self) -> bool:
        """Whether a branch of a condition is being traced."""
        return self._branches > 0

    @contextlib.contextmanager
    def branch(self) -> Iterator[None]:
        """Mark a branch of a condition, of which a step takes one and the trace both."""
        self._branches += 1
        try:
            yield
        finally:
            self._branches -= 1

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in _READS:
            raise UntraceableError("it reads the value of a tensor")
        op = self._open.pop(id(kwargs.get("generator")), None)
        if op is None:
            return func(*args, **kwargs)
        del kwargs["generator"]
        with untraced():
            fixed = []
            for arg in args:
                if isinstance(arg, torch.Tensor):
                    if arg.numel() == 0 or bool((arg != arg.reshape(-1)[0]).any()):
                        raise UntraceableError("it draws with probabilities that it computes")
                    arg = arg.detach().clone()  # noqa: PLW2901 - a constant, like the keep probability of a dropout
                fixed.append(arg)
            op.function = lambda generator: func(*fixed, **kwargs, generator=generator)
            op.example = op(op.first_seed())
        return op.example


def _expose(module: Any, random_ops: list[RandomOp]) -> None:
    """Flatten the inputs, and make the random numbers inputs too."""
    graph = module.graph
    graph.set_codegen(torch.fx.graph.CodeGen())
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    used: dict[int, list[Any]] = {}
    for node in graph.nodes:
        if node.op == "get_attr":
            used.setdefault(id(getattr(module, node.target)), []).append(node)
    after = placeholders[-1]
    for i, op in enumerate(random_ops):
        op.stride = sum(other.seed is op.seed for other in random_ops)
        with graph.inserting_after(after):
            after = graph.placeholder(f"random_{i}")
        for node in used.get(id(op.example), []):
            node.replace_all_uses_with(after)
            graph.erase_node(node)
    next(node for node in graph.nodes if node.op == "output").args = (None,)
    graph.lint()
    module.recompile()


def _check_seed_generators(module: Any, state: list[State], random_ops: list[RandomOp]) -> None:
    """Refuse a step that moves a seed generator itself: the next seeds are computed outside the graph."""
    changed = written(module.graph)
    inputs = [node for node in module.graph.nodes if node.op == "placeholder"]
    moved = {id(one) for one, node in zip(state, inputs, strict=False) if node in changed}
    if any(id(op.seed.state) in moved for op in random_ops if not isinstance(op.seed, int)):
        raise UntraceableError("it calls SeedGenerator.next()")
