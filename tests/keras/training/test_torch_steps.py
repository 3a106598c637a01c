"""The rewriting of traced steps under PyTorch: fewer operations, the same numbers, and never across a change."""

from __future__ import annotations

import keras
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("the torch backend's own", allow_module_level=True)

import torch
from torch.fx.experimental.proxy_tensor import make_fx
from training_models import (
    BATCH,
    assert_same_history,
    assert_same_state,
    both,
    cnn,
    mlp,
    pictures,
    without_copy_keyword,
)

from mnistkit.training.torch import cuda_graph, executor, hooks, simplify
from mnistkit.training.torch.if_conversion import if_conversion

pytestmark = without_copy_keyword
LISTS = [(3, 2), (4,), (2, 2)]


def cleaned(step, *inputs, states):
    """Trace, clean, and check that two rewritten steps change their inputs as two of the original do."""
    wanted = [tensor.clone() for tensor in inputs]
    step(*wanted)
    step(*wanted)
    with if_conversion():
        module = make_fx(step)(*[tensor.clone() for tensor in inputs])
    module.graph.set_codegen(torch.fx.graph.CodeGen())
    joined = simplify.simplify(module, states=states, device="cpu")
    got = [tensor.clone() for tensor in inputs]
    buffers = [torch.cat([got[i].reshape(-1) for i in parts]) for parts in joined]
    for buffer, parts in zip(buffers, joined, strict=True):
        pieces = buffer.split([got[i].numel() for i in parts])
        for i, piece in zip(parts, pieces, strict=True):
            got[i] = piece.view(got[i].shape)
    module.forward(*got, *buffers)
    module.forward(*got, *buffers)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
    return [str(node.target) for node in module.graph.nodes if node.op == "call_function"], joined


def lists(count):
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(shape, generator=generator) for _ in range(count) for shape in LISTS]


def test_lists_are_joined():
    def step(*tensors):
        variables, velocities, grads = tensors[:3], tensors[3:6], [2 * t for t in tensors[6:]]
        torch._foreach_mul_(velocities, 0.9)
        torch._foreach_add_(velocities, torch._foreach_mul(grads, grads), alpha=0.1)
        torch._foreach_add_(variables, torch._foreach_div(grads, torch._foreach_sqrt(velocities)), alpha=-1)

    calls, joined = cleaned(step, *lists(3), states=6)
    assert joined == [[3, 4, 5], [0, 1, 2]]
    assert not [call for call in calls if "_foreach" in call]
    assert "aten.addcmul_.default" in calls
    assert "aten.addcdiv_.default" in calls


def test_single_results_of_a_joined_list_can_be_read():
    def step(*tensors):
        made = torch._foreach_add(tensors[:3], tensors[3:])
        tensors[1].copy_(made[1])
        torch._foreach_mul_(tensors[3:], 2.0)

    _, joined = cleaned(step, *lists(2), states=6)
    assert joined == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("kind", ["two lists", "another order", "no variable", "of two types"])
def test_lists_that_cannot_be_joined_stay(kind):
    inputs, states = lists(2), 6
    if kind == "of two types":
        inputs[1] = inputs[1].double()

    def step(*tensors):
        torch._foreach_add_(tensors[:3], 1.0)
        if kind == "two lists":
            torch._foreach_add_([tensors[0], tensors[4], tensors[5]], 1.0)
        if kind == "another order":
            torch._foreach_add_([tensors[0], tensors[2], tensors[1]], 1.0)

    calls, joined = cleaned(step, *inputs, states=2 if kind == "no variable" else states)
    assert joined == []
    assert "aten._foreach_add_.Scalar" in calls


def test_nothing_is_merged_across_a_change():
    def step(x, out):
        first = x.t() + 1
        x.mul_(2)
        second = x.t() + 1
        out.add_(first + second)

    calls, _ = cleaned(step, torch.rand(2, 2), torch.rand(2, 2), states=2)
    assert calls.count("aten.add.Tensor") == 3


def test_equal_operations_are_merged():
    def step(x, out):
        out.add_(torch.exp(x) * torch.exp(x))

    calls, _ = cleaned(step, torch.rand(2, 2), torch.rand(2, 2), states=2)
    assert calls.count("aten.exp.default") == 1


def test_nothing_is_fused_across_a_change_of_the_whole():
    # the product reads a part, the whole changes, then the product is used: it must stay where it was
    def step(*tensors):
        product = tensors[1] * tensors[1]
        torch._foreach_add_(tensors[:3], torch._foreach_mul(tensors[3:6], 2.0))
        tensors[6].add_(product)

    inputs = [*lists(2), torch.rand(4)]
    calls, joined = cleaned(step, *inputs, states=7)
    assert joined
    assert "aten.mul.Tensor" in calls


def test_a_copy_of_what_changes_elsewhere_vanishes():
    def step(x, out):
        value = x.sin()
        kept = value.clone()
        value.mul_(2)
        out.add_(kept * value)

    calls, _ = cleaned(step, torch.rand(3), torch.rand(3), states=2)
    assert "aten.clone.default" not in calls
    assert "aten.mul_.Tensor" not in calls


@pytest.mark.parametrize("reader", ["a view from before", "another view's change", "an input"])
def test_a_copy_that_is_needed_stays(reader):
    def step(x, out):
        value = x if reader == "an input" else x.sin()
        kept = value.clone()
        view = value.view(1, 3)
        if reader == "another view's change":
            view.add_(1)
        value.mul_(2)
        out.add_(kept + (view[0] if reader == "a view from before" else value))

    calls, _ = cleaned(step, torch.rand(3), torch.rand(3), states=2)
    assert "aten.clone.default" in calls


@pytest.mark.parametrize("kind", ["negated", "copied twice", "copied for a list", "number", "whole numbers", "scaled"])
def test_nothing_is_read_after_it_changed(kind):
    """Each a rule that would read something later than the step does, or that does not fit."""

    def step(*tensors):
        x, out = tensors[0], tensors[-1]
        if kind == "negated":
            negated = -x
            x.mul_(2)
            out.add_(negated.sum([0], True))
        if kind == "copied twice":
            twice = x.t().clone().clone(memory_format=torch.contiguous_format)
            x.mul_(2)
            out.add_(twice.t())
        if kind == "copied for a list":
            copies = [tensor.clone() for tensor in tensors[:2]]
            x.mul_(2)
            torch._foreach_add_(tensors[2:4], copies)
        if kind == "number":
            product = x * out
            product.add_(1)
            out.add_(product)
        if kind == "whole numbers":
            product = x.long() * 3
            product.add_(out.long())
            out.add_(product + out.long() * 2)
        if kind == "scaled":
            product = x * out
            product.add_(x, alpha=3)
            out.add_(product)

    shapes = [(3, 3)] if kind != "copied for a list" else [(3, 3), (2,), (3, 3), (2,)]
    inputs = [10 * torch.rand(shape) for shape in shapes]
    cleaned(step, *inputs, torch.rand(3, 3), states=len(inputs) + 1)


def test_copies_into_the_layout_that_is_there_vanish():
    def step(x, out):
        again = x.sin().permute(0, 3, 1, 2).contiguous().contiguous(memory_format=torch.channels_last)
        out.add_(again)

    pictures = torch.rand(2, 4, 4, 3)
    calls, _ = cleaned(step, pictures, torch.rand(2, 3, 4, 4), states=2)
    assert "aten.clone.default" not in calls

    def another(x, out):
        out.add_(x.sin().permute(0, 3, 1, 2).contiguous().view(-1))

    calls, _ = cleaned(another, pictures, torch.rand(96), states=2)
    assert "aten.clone.default" in calls


def large_calls(step, *inputs):
    """The operations of a cleaned step whose results have 50 rows."""
    with if_conversion():
        module = make_fx(step)(*[tensor.clone() for tensor in inputs])
    simplify.simplify(module, states=len(inputs), device="cpu")
    large = [node for node in module.graph.nodes if getattr(node.meta.get("val"), "shape", ())[:1] == (50,)]
    return [str(node.target) for node in large if node.op == "call_function"]


def test_sums_and_spreads_are_computed_on_the_smaller_side():
    def step(x, small, out):
        spread = small.expand(50, 4)
        out.add_((-x).sum([0], True) + (spread / 3 * (x * 2.0)).sum([0], True))

    inputs = torch.rand(50, 4), torch.rand(1, 4), torch.rand(1, 4)
    assert large_calls(step, *inputs) == ["aten.expand.default", "aten.mul.Tensor"]
    cleaned(step, *inputs, states=3)


def test_a_product_that_rounds_stays_where_it_is():
    def step(x, small, out):
        out.add_((small.expand(50, 4) * (x * 3.0)).sum([0], True))

    inputs = torch.rand(50, 4), torch.rand(1, 4), torch.rand(1, 4)
    assert sorted(large_calls(step, *inputs)) == ["aten.expand.default", "aten.mul.Tensor", "aten.mul.Tensor"]
    cleaned(step, *inputs, states=3)


def test_gradients_copied_into_new_memory_are_joined():
    def step(*tensors):
        grads = [torch.empty_strided(t.shape, t.stride()).copy_(2 * t) for t in tensors[3:]]
        grads = [t.new_empty_strided(t.shape, t.stride()).copy_(g) for t, g in zip(tensors[3:], grads, strict=True)]
        torch._foreach_add_(tensors[:3], grads)

    calls, joined = cleaned(step, *lists(2), states=3)
    assert joined == [[0, 1, 2]]
    assert not [call for call in calls if "_foreach" in call]


class Convolution:
    """A traced step with the backward of a convolution, and its inputs."""

    inputs = (torch.rand(2, 3, 5, 5), torch.rand(4, 3, 3, 3), torch.rand(2, 4, 3, 3))

    @staticmethod
    def step(x, kernel, grad):
        _, to_kernel, _ = torch.ops.aten.convolution_backward(
            grad, x, kernel, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, [False, True, False]
        )
        to_x, _, _ = torch.ops.aten.convolution_backward(
            grad, x, kernel, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, [True, True, False]
        )
        kernel.add_(to_kernel)
        x.sub_(to_x)

    @classmethod
    def traced(cls):
        module = make_fx(cls.step)(*[tensor.clone() for tensor in cls.inputs])
        module.graph.set_codegen(torch.fx.graph.CodeGen())
        next(node for node in module.graph.nodes if node.op == "output").args = (None,)
        module.graph.eliminate_dead_code()  # results that nobody asked for
        return module


@pytest.fixture(params=executor.EXECUTORS)
def way(request):
    """One of the ways to run a traced step."""
    return executor.EXECUTORS[request.param]


def run_twins(step, inputs):
    """Run a step and the function that was traced, three times each, on tensors of their own."""
    wanted, got = ([tensor.clone() for tensor in inputs] for _ in range(2))
    for _ in range(3):
        Convolution.step(*wanted)
        step(*got)
    return got, wanted


def test_a_step_runs_alike_in_every_way(way):
    module, inputs = Convolution.traced(), Convolution.inputs
    written = str(module.graph)
    kept = [tensor.clone() for tensor in inputs]
    got, wanted = run_twins(way(module, inputs), inputs)
    torch.testing.assert_close(got, wanted)
    assert not any(torch.equal(a, b) for a, b in zip(got[:2], inputs, strict=False))
    assert all(torch.equal(a, b) for a, b in zip(kept, inputs, strict=True))  # building changes nothing
    assert str(module.graph) == written


def test_another_step_is_seen(way):
    module = Convolution.traced()
    for node in module.graph.nodes:
        if node.target is torch.ops.aten.sub_.Tensor:
            node.target = torch.ops.aten.add_.Tensor
    module.recompile()
    got, wanted = run_twins(way(module, Convolution.inputs), Convolution.inputs)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(got, wanted)


def test_convolutions_run_in_torchscript():
    step = executor.build(Convolution.traced(), Convolution.inputs)
    assert isinstance(step, torch.jit.ScriptFunction)


def test_what_torchscript_cannot_hold_runs_in_python():
    module = Convolution.traced()
    for node in module.graph.nodes:
        if node.target is torch.ops.aten.convolution_backward.default:
            node.args, node.kwargs = node.args[:-1], {"output_mask": node.args[-1]}
    with pytest.raises(executor.UnavailableError):
        executor.torchscript(module, Convolution.inputs)
    step = executor.build(module, Convolution.inputs)
    assert not isinstance(step, torch.jit.ScriptFunction)
    torch.testing.assert_close(*run_twins(step, Convolution.inputs))


def test_without_torchscript_steps_run_in_python(monkeypatch):
    monkeypatch.setattr(hooks, "HAS_TORCHSCRIPT", False)
    step = executor.build(Convolution.traced(), Convolution.inputs)
    assert not isinstance(step, torch.jit.ScriptFunction)
    torch.testing.assert_close(*run_twins(step, Convolution.inputs))


@pytest.mark.parametrize("make", [mlp, cnn])
@pytest.mark.parametrize("name", executor.EXECUTORS)
def test_training_is_fits_in_every_way(name, make, monkeypatch, capsys):
    used = []

    def only(module, inputs):
        used.append(name)
        return executor.EXECUTORS[name](module, inputs)

    monkeypatch.setattr(executor, "build", only)
    data = pictures(BATCH * 10 + 3, channels=make is cnn)
    fast, plain, got, wanted = both(make, data, epochs=2, validation_data=data)
    assert used == [name, name]
    assert_same_state(fast, plain)
    assert_same_history(got, wanted)
    assert capsys.readouterr().err == ""


def test_constants_are_computed_once_and_selections_by_them_vanish():
    def step(x, out):
        never = torch.zeros(3, dtype=torch.bool)
        out.add_(torch.where(never, torch.ones_like(x), x * torch.ones(3)))

    calls, _ = cleaned(step, torch.rand(3), torch.rand(3), states=2)
    assert calls == ["aten.add_.Tensor"]


def test_a_change_through_a_view_is_a_change():
    def step(x, out):
        constant = torch.ones(4)
        constant[:2].add_(x)
        out.add_(constant)

    cleaned(step, torch.rand(2), torch.rand(4), states=2)


def test_a_constant_that_a_step_counts_in_is_new_in_every_step():
    def step(x, out):
        total = torch.tensor(1.0)
        total += x.sum()
        out.add_(total)

    cleaned(step, torch.rand(2), torch.rand(4), states=2)


def test_conditions():
    def step(x, out, shared):
        flag = torch.zeros(())

        def change():
            flag.add_(1)
            torch._foreach_add_([out[:2], shared], 2.0)
            return flag

        def change_otherwise():
            out[1:].mul_(3)
            return flag - 1

        out.add_(keras.ops.cond(x.sum() > 1, change, change_otherwise) + flag)
        x.add_(1)  # so that the second step takes the other branch

    cleaned(step, torch.zeros(2), torch.rand(3), torch.rand(2), states=3)


# --- CUDA graphs ----------------------------------------------------------------------------------------------------


def test_a_step_on_the_cpu_is_not_recorded():
    module = make_fx(lambda state, x: state.add_(x))(torch.zeros(3), torch.ones(3))
    assert cuda_graph.capture(module, held=([torch.zeros(3)], []), given=[torch.ones(3)]) is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU; benchmarks/gpu.py checks it where one is")
def test_a_recorded_step_goes_on_from_its_own_state(monkeypatch):
    module = make_fx(lambda state, x: state.mul_(2).add_(x))(torch.zeros(3).cuda(), torch.ones(3).cuda())
    state, x = torch.ones(3).cuda(), torch.ones(3).cuda()
    step = cuda_graph.capture(module, held=([state], []), given=[x])
    assert state.tolist() == [1, 1, 1]
    for expected in (3, 7):
        step([x])
        assert state.tolist() == [expected] * 3
    assert step.works_on([state])
    assert not step.works_on([state.clone()])
    monkeypatch.setenv(cuda_graph.SWITCH, "0")
    assert cuda_graph.capture(module, held=([state], []), given=[x]) is None


def test_a_step_is_recorded_anew_where_a_callback_puts_other_tensors(monkeypatch):
    """The order of calls, with a recorder for the CPU: it runs the step on the tensors that it was made with."""
    recorded = []

    class Recorded:
        def __init__(self, module, held, given):
            self.module, self.held, self.steps = module, ([*held[0]], [*held[1]]), 0
            self.places = [tensor.data_ptr() for tensor in held[0]]
            assert len(given) == 2
            recorded.append(self)

        def works_on(self, state):
            return [tensor.data_ptr() for tensor in state] == self.places

        def __call__(self, given):
            self.steps += 1
            self.module.forward(*self.held[0], *given, *self.held[1])

    class Replaces(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, *_):
            if epoch == 1:
                for variable in (*self.model.variables, *self.model.optimizer.variables):
                    variable.value.data = variable.value.data.clone()

    monkeypatch.setattr(cuda_graph, "capture", lambda module, held, given: Recorded(module, held, given))
    fast, plain, got, wanted = both(mlp, pictures(2 * BATCH), epochs=4, callbacks=[Replaces()])
    assert [one.steps for one in recorded] == [4, 4]
    assert_same_state(fast, plain)
    assert_same_history(got, wanted)
