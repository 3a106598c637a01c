"""Kernels that do what several operations of a traced step do: where they fit exactly, and nowhere else."""

from __future__ import annotations

import keras
import numpy as np
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("the torch backend's own", allow_module_level=True)

import torch
from torch.fx.experimental.proxy_tensor import make_fx
from training_models import BATCH, assert_same_history, assert_same_state, both, pictures, without_copy_keyword

from mnistkit.training import fit
from mnistkit.training.torch import executor, fuse_adam, simplify

pytestmark = without_copy_keyword
SHAPES = [(3, 2), (40,), (2, 2)]
ADAM = "aten._fused_adam_.tensor_lr"


def adam(variables, grads, momentums, velocities, rate, *, beta=0.9, alpha=None, epsilon=1e-7):
    """Keras' update."""
    torch._foreach_mul_(momentums, beta)
    torch._foreach_add_(momentums, grads, alpha=1 - beta if alpha is None else alpha)
    torch._foreach_mul_(velocities, 0.99)
    torch._foreach_add_(velocities, torch._foreach_mul(grads, grads), alpha=1 - 0.99)
    scaled = torch._foreach_mul(momentums, rate)
    below = torch._foreach_add(torch._foreach_sqrt(velocities), epsilon)
    torch._foreach_add_(variables, torch._foreach_div(scaled, below), alpha=-1)


def in_lists(tensors):
    return [tensors[i : i + 3] for i in (0, 3, 6, 9)]


def update(*tensors):
    variables, momentums, velocities, data = in_lists(tensors)
    adam(variables, [one.sin() for one in data], momentums, velocities, tensors[12] * 2)


def inputs_of_adam(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    made = [torch.rand(shape, generator=generator, dtype=dtype) for _ in range(4) for shape in SHAPES]
    return [*made, torch.tensor(0.01, dtype=dtype)]


def traced(step, inputs, *, states):
    """A rewritten step, with its joined inputs, and the names of its operations."""
    module = make_fx(step)(*[tensor.clone() for tensor in inputs])
    module.graph.set_codegen(torch.fx.graph.CodeGen())
    next(node for node in module.graph.nodes if node.op == "output").args = (None,)
    joined = simplify.simplify(module, states=states, device="cpu")
    return module, joined, [str(node.target) for node in module.graph.nodes if node.op == "call_function"]


def assert_same_changes(step, inputs, run, joined=()):
    """Both change their inputs alike, three times."""
    wanted, got = ([tensor.clone() for tensor in inputs] for _ in range(2))
    buffers = [torch.cat([got[i].reshape(-1) for i in parts]) for parts in joined]
    for buffer, parts in zip(buffers, joined, strict=True):
        pieces = buffer.split([got[i].numel() for i in parts])
        for i, piece in zip(parts, pieces, strict=True):
            got[i] = piece.view(got[i].shape)
    for _ in range(3):
        step(*wanted)
        run(*got, *buffers)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("name", executor.EXECUTORS)
def test_an_update_of_adam_is_one_call(name):
    inputs = inputs_of_adam()
    module, joined, calls = traced(update, inputs, states=9)
    assert joined == []
    assert calls.count(ADAM) == 1
    assert not [call for call in calls if "_foreach" in call]
    run = executor.EXECUTORS[name](module, inputs)
    assert_same_changes(update, inputs, run)
    with pytest.raises(AssertionError):
        assert_same_changes(lambda *tensors: update(*tensors[:12], tensors[12] * 1.001), inputs, run)


def of_another_kind(kind, tensors):
    variables, momentums, velocities, data = in_lists(tensors)
    rate, grads = tensors[12] * 2, [one.sin() for one in data]
    if kind == "the gradient is a variable":
        adam(variables, [variables[0], grads[1], variables[0].t().t()[:2]], momentums, velocities, rate)
    elif kind == "another factor":
        adam(variables, grads, momentums, velocities, rate, alpha=0.2)
    elif kind == "a momentum that never fades":
        adam(variables, grads, momentums, velocities, rate, beta=1.0, alpha=0.0)
    elif kind == "read in between":
        torch._foreach_mul_(momentums, 0.9)
        torch._foreach_add_(momentums, grads, alpha=1 - 0.9)
        velocities[1].add_(momentums[1])
        adam(variables, grads, momentums, velocities, rate)
    elif kind == "the lists swap":
        adam(momentums, grads, momentums, velocities, rate)
    else:
        adam(variables, grads, momentums, velocities, rate)


@pytest.mark.parametrize(
    "kind", ["the gradient is a variable", "another factor", "a momentum that never fades", "the lists swap", "double"]
)
def test_an_update_of_another_kind_stays(kind):
    inputs = inputs_of_adam(torch.float64 if kind == "double" else torch.float32)
    if kind == "the gradient is a variable":
        inputs[0:12:3] = [torch.rand(2, 2) for _ in range(4)]

    def step(*tensors):
        of_another_kind(kind, tensors)

    module, joined, calls = traced(step, inputs, states=9)
    assert ADAM not in calls
    assert_same_changes(step, inputs, module.forward, joined)


def test_what_is_computed_between_counts():
    inputs = inputs_of_adam()

    def step(*tensors):
        of_another_kind("read in between", tensors)

    module, joined, calls = traced(step, inputs, states=9)
    assert calls.count(ADAM) == 1
    assert_same_changes(step, inputs, module.forward, joined)


@pytest.mark.parametrize("kernel", ["missing", "not on the CPU", "of another formula"])
def test_without_the_kernel_lists_are_joined(kernel, monkeypatch):
    def other(variables, *_, lr, **__):
        if kernel == "not on the CPU":
            raise NotImplementedError("Could not run 'aten::_fused_adam_' with arguments from the 'CPU' backend")
        variables[0].sub_(lr)

    monkeypatch.setattr(fuse_adam, "fused_adam", None if kernel == "missing" else other)
    fuse_adam._kernel_fits.cache_clear()
    inputs = inputs_of_adam()
    module, joined, _ = traced(update, inputs, states=9)
    fuse_adam._kernel_fits.cache_clear()
    assert len(joined) == 3
    assert_same_changes(update, inputs, module.forward, joined)


def test_gradients_in_another_order_of_memory():
    def step(*tensors):
        variables, momentums, velocities, data = in_lists(tensors)
        grads = [data[0].sin(), data[1].sin(), (data[2].t() @ data[2].t()).t()]
        adam(variables, grads, momentums, velocities, tensors[12])

    inputs = inputs_of_adam()
    module, _, calls = traced(step, inputs, states=9)
    assert calls.count(ADAM) == 1
    assert_same_changes(step, inputs, executor.torchscript(module, inputs))


def net(name):
    def make():
        made = {
            "adam": lambda: keras.optimizers.Adam(0.01),
            "schedule": lambda: keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.01, 5, 0.9)),
            "adamw": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1),
            "clipped": lambda: keras.optimizers.Adam(0.01, global_clipnorm=0.1),
            "averaged": lambda: keras.optimizers.Adam(0.01, use_ema=True, ema_overwrite_frequency=3),
            "accumulated": lambda: keras.optimizers.Adam(0.01, gradient_accumulation_steps=2),
            "amsgrad": lambda: keras.optimizers.Adam(0.01, amsgrad=True),
        }[name]()
        keras.utils.set_random_seed(0)
        layers = [keras.Input((64,)), keras.layers.Dense(16, "tanh"), keras.layers.Dense(10, "softmax")]
        model = keras.Sequential(layers)
        model.compile(made, "categorical_crossentropy", metrics=["accuracy"])
        return model

    return make


@pytest.mark.parametrize("name", ["adam", "schedule", "adamw", "clipped", "averaged", "accumulated", "amsgrad"])
def test_training_is_fits(name, capsys, monkeypatch):
    built, build = [], executor.build
    monkeypatch.setattr(executor, "build", lambda module, inputs: built.append(module) or build(module, inputs))
    fast, plain, got, wanted = both(net(name), pictures(BATCH * 8 + 3), epochs=2)
    assert capsys.readouterr().err == ""
    assert_same_state(fast, plain)
    assert_same_history(got, wanted)
    names = [str(node.target) for node in built[0].graph.nodes]
    assert names.count(ADAM) == (name not in ("amsgrad", "accumulated"))


def test_weights_in_another_order_of_memory():
    data = pictures(BATCH * 8)

    def trained(fitted):
        model = net("adam")()
        model.optimizer.build(model.trainable_variables)
        kernel = model.layers[0].kernel.value
        kernel.data = kernel.data.t().contiguous().t()
        fitted(model, *data, batch_size=BATCH, epochs=2, shuffle=False, verbose=0)
        return model, kernel

    (fast, kernel), (plain, _) = trained(fit), trained(keras.Model.fit)
    assert not kernel.is_contiguous()
    assert fast.layers[0].kernel.value is kernel
    assert_same_state(fast, plain)


def cross_entropy(clip=(1e-7, 1 - 1e-7)):
    """A step with Keras' binary cross-entropy and its gradient."""

    def step(logits, targets, out):
        with torch.enable_grad():
            leaf = logits.detach().requires_grad_()
            value = leaf.sigmoid()
            clipped = value if clip is None else value.clip(*clip)
            loss = torch.nn.functional.binary_cross_entropy(clipped, targets, reduction="none")
            (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        out.add_(loss.detach())
        logits.sub_(gradient)

    return step


def logits_and_targets(columns=100):
    generator = torch.Generator().manual_seed(0)
    logits = 20 * torch.randn((32, columns), generator=generator)
    logits[0, :4] = torch.tensor([-200.0, 200.0, 0.0, -16.118095])
    targets = torch.rand((32, columns), generator=generator)
    targets[1::2] = targets[1::2].round()
    return logits, targets, torch.zeros(32, columns)


@pytest.mark.parametrize("name", executor.EXECUTORS)
@pytest.mark.parametrize("clip", [(1e-7, 1 - 1e-7), (0.0, 1.0), (0.25, 0.5)])
def test_large_cross_entropies_use_vectors(name, clip):
    inputs = logits_and_targets()
    step = cross_entropy(clip)
    module, _, calls = traced(step, inputs, states=3)
    assert "aten.log1p.default" in calls
    assert "aten.hardtanh_backward.default" in calls
    assert "aten.where.self" not in calls
    run = executor.EXECUTORS[name](module, inputs)
    assert_same_changes(step, inputs, run)
    with pytest.raises(AssertionError):
        assert_same_changes(cross_entropy((0.3, 0.5)), inputs, run)


@pytest.mark.parametrize("name", executor.EXECUTORS)
@pytest.mark.parametrize(("what", "number"), [(0, torch.nan), (1, -0.5), (1, 1.5), (1, torch.nan)])
def test_an_error_of_a_cross_entropy_is_kept(name, what, number):
    def outcome(run, inputs):
        copies = [tensor.clone() for tensor in inputs]
        try:
            run(*copies)
        except RuntimeError as error:
            return [part for part in ("input", "target") if f"all elements of {part} should be between" in str(error)]
        return copies[2].isfinite().all()

    inputs = logits_and_targets()
    module, _, _ = traced(cross_entropy(), inputs, states=3)
    run = executor.EXECUTORS[name](module, inputs)
    assert outcome(run, inputs)
    inputs[what][3, 7] = number
    assert outcome(run, inputs) == outcome(cross_entropy(), inputs)
    if what == 0:  # not every version of PyTorch looks at the targets
        assert outcome(run, inputs) == ["input"]


def test_probabilities_near_one_are_no_error():
    logits, targets, out = logits_and_targets()
    inputs = logits.abs() + 100, targets, out
    step = cross_entropy((0.0, 1.0))
    assert_same_changes(step, inputs, traced(step, inputs, states=3)[0].forward)


@pytest.mark.parametrize("kind", ["small", "not clipped", "clipped to more"])
def test_other_cross_entropies_stay(kind):
    inputs = logits_and_targets(10 if kind == "small" else 100)
    step = cross_entropy({"not clipped": None, "clipped to more": (-1.0, 2.0)}.get(kind, (1e-7, 1 - 1e-7)))
    module, _, calls = traced(step, inputs, states=3)
    assert "aten.log1p.default" not in calls
    assert_same_changes(step, inputs, module.forward)


def test_an_autoencoder_is_trained_as_by_fit(capsys):
    x = np.tile(pictures(BATCH * 6 + 3)[0], 4).clip(0, 1)  # enough numbers in a batch

    def make():
        keras.utils.set_random_seed(0)
        layers = [keras.Input((256,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(256, "sigmoid")]
        model = keras.Sequential(layers)
        model.compile("adam", "binary_crossentropy", metrics=["mae"])
        return model

    fast, plain, got, wanted = both(make, (x, x), epochs=2, validation_data=(x, x))
    assert capsys.readouterr().err == ""
    assert_same_state(fast, plain)
    assert_same_history(got, wanted)
    assert np.isfinite(got["val_loss"]).all()
