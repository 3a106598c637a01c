"""Keras' own train or test step under PyTorch as a graph of ATen operations, from forward pass to metrics."""

from __future__ import annotations

import contextlib
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing, make_fx
from torch.overrides import TorchFunctionMode

from mnistkit.training.pytree import leaves, map_nest
from mnistkit.training.torch.if_conversion import both_branches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mnistkit.training.pytree import Nest

_READS = {torch.Tensor.numpy, torch.Tensor.__array__, torch.Tensor.tolist}


@dataclass(slots=True)
class Draw:
    """Random numbers a step takes from one of Keras' seed generators, drawn outside the graph as Keras draws them.

    Attributes:
        function: the torch function that draws, to be called with its arguments and a generator.
        seed: the Keras SeedGenerator, or the integer that stands for a fixed seed.
        nth: how many draws of the same step came before from the same seed generator.
        stride: how many draws a step takes from it.
        example: what was drawn while tracing.
    """

    function: Callable[[Any], Any]
    seed: Any
    nth: int
    generator: Any
    stride: int = 0
    example: Any = None

    def first_seed(self) -> int:
        """Return the seed of the next step's draw."""
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
        graph: module whose inputs are the variables' tensors, the arrays of the batch, then the draws; it changes the
            variables in place and returns nothing of interest.
        variables: Keras variables in the order of the inputs.
        draws: random inputs.
    """

    graph: Any
    variables: list[Any]
    draws: list[Draw]


class UntraceableError(Exception):
    """The step looks at values, so that one trace cannot stand for all steps."""


def trace(model: Any, batch: Nest, *, training: bool) -> Trace:
    """Trace a step on one batch and leave the model as it was.

    Raises:
        Exception: whatever torch or Keras raises when the step cannot be traced.
    """
    try:
        return _trace(model, batch, training=training)
    except Exception:
        # Some of Keras' fused optimizers read a tensor's value (SGD its learning rate, Nadam a product); the update
        # written one variable at a time does not. It is the first in line that is not PyTorch's own: Nadam's keeps a
        # product that the base class knows nothing of.
        if not training:
            raise
        name = "_backend_update_step"
        line = [c for c in type(model.optimizer).__mro__ if name in vars(c) and ".backend.torch." not in c.__module__]
        plain = types.MethodType(vars(line[0])[name], model.optimizer)
        with mock.patch.dict(vars(model.optimizer), {name: plain}):
            return _trace(model, batch, training=training)


def draws_per_step(draws: list[Draw]) -> list[tuple[Any, int]]:
    """Return each seed generator once, with how far a step moves it."""
    found = {id(draw.seed): (draw.seed, draw.stride) for draw in draws if not isinstance(draw.seed, int)}
    return list(found.values())


def _trace(model: Any, batch: Nest, *, training: bool) -> Trace:
    variables = list(
        {id(v): v for v in [*model.variables, *model.metrics_variables, *model.optimizer.variables]}.values()
    )
    tensors = [variable.value for variable in variables]
    watch = _Watch()

    def step(state: list[Any], flat: list[Any]) -> None:
        del state  # traced because the variables hold these very tensors
        remaining = iter(flat)
        data = map_nest(lambda _: next(remaining), batch)
        model.train_step(data) if training else model.test_step(data)

    saved = [tensor.detach().clone() for tensor in tensors]
    mode = model.training
    model.train(training)
    try:
        with torch.random.fork_rng(devices=[]), _seeds_watched(watch), watch, contextlib.ExitStack() as stack:
            stack.enter_context(both_branches())
            if not training:
                stack.enter_context(torch.no_grad())
            module = make_fx(step)(tensors, leaves(batch))
    finally:
        model.train(mode)
        model.zero_grad()
        with torch.no_grad():
            for tensor, old in zip(tensors, saved, strict=True):
                tensor.copy_(old)
    _expose(module, watch.draws)
    return Trace(graph=module, variables=variables, draws=watch.draws)


class _Watch(TorchFunctionMode):
    """Takes the seeded random draws out of a trace, and refuses reads of values that make_fx would not see."""

    def __init__(self) -> None:
        super().__init__()
        self.draws: list[Draw] = []
        self._open: dict[int, Draw] = {}

    def generator(self, seed: Any) -> Any:
        """Stand in for the function that makes a torch generator from a Keras seed."""
        fixed = isinstance(seed, int)
        if not fixed and not hasattr(seed, "state"):
            raise UntraceableError("it draws from the global random generator")
        nth = 0 if fixed else sum(draw.seed is seed for draw in self.draws)
        draw = Draw(function=torch.rand, seed=seed, nth=nth, generator=torch.Generator())
        self._open[id(draw.generator)] = draw
        self.draws.append(draw)
        return draw.generator

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in _READS:
            raise UntraceableError("it reads the value of a tensor")
        draw = self._open.pop(id(kwargs.get("generator")), None)
        if draw is None:
            return func(*args, **kwargs)
        del kwargs["generator"]
        with disable_proxy_modes_tracing():
            fixed = []
            for arg in args:
                if isinstance(arg, torch.Tensor):
                    if arg.numel() == 0 or bool((arg != arg.reshape(-1)[0]).any()):
                        raise UntraceableError("it draws with probabilities that it computes")
                    arg = arg.detach().clone()  # noqa: PLW2901 - a constant, like the keep probability of a dropout
                fixed.append(arg)
            draw.function = lambda generator: func(*fixed, **kwargs, generator=generator)
            draw.example = draw(draw.first_seed())
        return draw.example


@contextlib.contextmanager
def _seeds_watched(watch: _Watch) -> Iterator[None]:
    import keras

    with mock.patch.object(keras.src.backend.torch.random, "torch_seed_generator", watch.generator):
        yield


def _expose(module: Any, draws: list[Draw]) -> None:
    """Flatten the inputs, and make the draws inputs too."""
    graph = module.graph
    graph.set_codegen(torch.fx.graph.CodeGen())
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    used: dict[int, list[Any]] = {}
    for node in graph.nodes:
        if node.op == "get_attr":
            used.setdefault(id(getattr(module, node.target)), []).append(node)
    after = placeholders[-1]
    for i, draw in enumerate(draws):
        draw.stride = sum(other.seed is draw.seed for other in draws)
        with graph.inserting_after(after):
            after = graph.placeholder(f"draw_{i}")
        for node in used.get(id(draw.example), []):
            node.replace_all_uses_with(after)
            graph.erase_node(node)
    next(node for node in graph.nodes if node.op == "output").args = (None,)
    graph.lint()
    module.recompile()
