"""What the exporter relies on in Keras, name by name; and that it changes Keras in its own thread alone."""

import importlib
import inspect
import threading

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

from mnistkit.core.errors import ExportError
from mnistkit.core.thread_patches import ThreadPatches
from mnistkit.export.diagnose import _WATCHING, _call_patches, _Watcher
from mnistkit.export.native import convert, keras_hooks
from mnistkit.export.native.current_trace import TRACING, active_tracer
from mnistkit.export.native.keras_hooks import TABLE, MissingKerasNameError, patch_of
from mnistkit.export.native.ops_backend import uses_backend_directly
from mnistkit.export.native.patches import patches
from mnistkit.export.native.sized_functions import sized_functions
from mnistkit.export.native.symbolic_dim import FreeSize, SymbolicDim, make_tensor
from mnistkit.export.native.trace import trace
from mnistkit.export.native.tracer import Tracer


def small_model():
    return keras.Sequential([keras.Input((4,)), L.Dense(3, activation="relu"), L.Dense(2)])


# -- the table --------------------------------------------------------------------------------------------------------

ON_CLASSES = [name for name in TABLE.values() if not name.on_instances]


@pytest.mark.parametrize("name", ON_CLASSES, ids=lambda name: name.path)
def test_keras_has(name):
    assert keras_hooks.private(name.path) is not None, f"mnistkit.export.{name.used_by} needs it to {name.purpose}"


@pytest.mark.parametrize("name", ON_CLASSES, ids=lambda name: name.path)
def test_a_missing_name_is_named(name, monkeypatch):
    owner, attribute = keras_hooks.owner_of(name.path)
    monkeypatch.delattr(owner, attribute)
    with pytest.raises(MissingKerasNameError) as raised:
        keras_hooks.private(name.path)
    assert name.path in str(raised.value)
    assert name.purpose in str(raised.value)
    assert keras.__version__ in str(raised.value)


def test_an_export_names_what_is_missing(monkeypatch):
    model = small_model()
    monkeypatch.delattr(importlib.import_module("keras.src.ops.core"), "Cast")
    with pytest.raises(ExportError, match=rf"Keras {keras.__version__} has no keras.src.ops.core:Cast"):
        convert(model)


@pytest.mark.parametrize("name", sorted(sized_functions()))
def test_the_backend_has_a_function_that_takes_sizes(name):
    assert keras_hooks.sized_function_owners(name)


def test_a_missing_backend_function_is_named(monkeypatch):
    for owner in keras_hooks.sized_function_owners("tri"):
        monkeypatch.delattr(owner, "tri")
    with pytest.raises(MissingKerasNameError, match="tri"):
        keras_hooks.sized_function_owners("tri")


@pytest.mark.parametrize("name", [n for n in TABLE.values() if n.patched], ids=lambda name: name.path)
def test_the_table_and_the_patches_agree(name):
    owner, attribute = keras_hooks.owner_of(name.path)
    if inspect.ismodule(getattr(owner, attribute)):  # a module whose functions are patched
        assert any(patch.owner is getattr(owner, attribute) for patch in patches())
    elif name.used_by == "diagnose":
        assert all(patch.name != attribute or patch.owner is not owner for patch in patches())
    else:
        assert any(patch.owner is owner and patch.name == attribute for patch in patches())


def test_the_public_attributes_of_a_symbolic_tensor_can_be_set():
    tensor = make_tensor((FreeSize(2, 3), 4), "float16")
    assert isinstance(tensor, keras.KerasTensor)
    assert (tensor.shape, tensor.ndim, tensor.dtype, tensor.sparse) == ((2, 4), 2, "float16", False)
    assert isinstance(tensor.shape[0], SymbolicDim)
    assert type(tensor.shape[1]) is int
    assert ops.add(tensor, tensor).shape == (2, 4)


def test_keras_takes_a_symbolic_dimension_for_a_size():
    dim = make_tensor((FreeSize(2, 3),), "float32").shape[0]
    assert keras.KerasTensor((dim, 4)).shape == (2, 4)
    assert ops.arange(dim).shape is not None
    assert (dim.shape, dim.dtype) == ((), "int32")


def test_a_functional_model_has_its_inputs_in_their_structure():
    a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
    model = keras.Model({"a": a, "b": b}, L.Add()([a, b]))
    assert set(keras_hooks.input_structure(model)) == {"a", "b"}
    assert keras_hooks.input_structure(L.Dense(2)) is None


def test_a_sequential_has_its_input():
    assert keras.tree.flatten(keras_hooks.input_structure(small_model()))[0].shape == (None, 4)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = L.Dense(2)

    def call(self, images):
        return self.dense(images)


def test_a_subclassed_model_has_the_shapes_it_was_built_with():
    model = Subclassed()
    assert keras_hooks.build_shapes(model) == {}
    model(np.zeros((1, 4), "float32"))
    assert [tuple(shape) for shape in keras_hooks.build_shapes(model).values()] == [(1, 4)]


def test_an_input_has_its_layer():
    assert keras_hooks.layer_of(keras.Input((2,), name="pixels")).name == "pixels"
    loose = make_tensor((2,), "float32")
    assert keras_hooks.layer_of(loose) is loose


def test_a_lookup_has_the_type_of_its_values():
    pytest.importorskip("tensorflow", reason="Keras builds its lookups with TensorFlow, which this environment lacks")
    assert keras_hooks.lookup_dtype(L.IntegerLookup(vocabulary=[1, 2])) == "int64"
    with pytest.raises(MissingKerasNameError, match="_value_dtype"):
        keras_hooks.lookup_dtype(L.Dense(2))


def test_masks_are_kept_at_tensors():
    tensor, mask = make_tensor((2, 4), "float32"), make_tensor((2, 4), "bool")
    assert keras_hooks.get_mask(tensor) is None
    keras_hooks.set_mask(tensor, mask)
    assert keras_hooks.get_mask(tensor) is mask


def test_the_layers_inside_a_layer_are_listed():
    model = keras.Sequential([keras.Input((4, 3)), L.TimeDistributed(L.Dense(2))])
    assert "Dense" in {type(layer).__name__ for layer in keras_hooks.flatten_layers(model)}
    assert model not in keras_hooks.flatten_layers(model, include_self=False)


def test_the_arguments_of_a_call_are_those_that_keras_sees():
    for layer in (L.Dense(2), L.Dropout(0.5), L.LSTM(2), small_model(), Subclassed()):
        for name in ("training", "mask"):
            assert keras_hooks.takes_argument(layer, name) == getattr(layer, f"_call_has_{name}_arg")


def test_preprocessing_layers_are_seen_to_use_the_backend():
    assert uses_backend_directly(L.Rescaling(2.0))
    assert not uses_backend_directly(L.Dense(2))


# -- threads ----------------------------------------------------------------------------------------------------------


PYTHONS_OWN = {"__dict__", "__weakref__", "__warningregistry__"}


def snapshot():
    """Everything that the exporter replaces, and the classes around it, attribute by attribute."""
    owners = {id(patch.owner): patch.owner for patch in patches()}
    owners |= {id(owner): owner for owner in (keras.Layer, keras.Operation, keras.KerasTensor, keras.Variable)}
    state = {(key, name): value for key, owner in owners.items() for name, value in vars(owner).items()}
    return {place: value for place, value in state.items() if place[1] not in PYTHONS_OWN}


def changed(before):
    after = snapshot()
    return [
        name for (key, name) in before.keys() | after.keys() if before.get((key, name)) is not after.get((key, name))
    ]


class FailingModel(keras.Model):
    def call(self, images):
        if isinstance(images, keras.KerasTensor):
            raise TypeError("not on symbolic tensors")
        return images


def test_an_export_leaves_nothing_of_keras_changed():
    model = small_model()
    before = snapshot()
    convert(model)
    assert changed(before) == []


def test_nor_does_one_that_fails():
    model = FailingModel()
    model(np.zeros((1, 4), "float32"))
    before = snapshot()
    with pytest.raises(ExportError):
        convert(model)
    assert changed(before) == []
    assert TRACING.state is None


def test_the_snapshot_sees_a_change():
    before = snapshot()
    with TRACING.act(Tracer(), patches):
        assert "symbolic_call" in changed(before)
        assert "Node" in changed(before)
    assert changed(before) == []


def test_a_failed_installation_leaves_nothing_behind():
    original = keras.Layer.symbolic_call

    def table():
        yield patch_of("keras:Layer.symbolic_call", lambda *_: None)
        raise MissingKerasNameError("gone")

    state = Tracer()
    broken = ThreadPatches()
    with pytest.raises(MissingKerasNameError), broken.act(state, table):
        pass
    assert keras.Layer.symbolic_call is original


def test_the_model_keeps_its_graph():
    model = small_model()
    nodes = [(len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in model.layers]
    convert(model)
    assert [(len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in model.layers] == nodes


def work_of_a_user():
    """Build, call and fit a model, and use symbolic tensors as Keras means them to be used."""
    symbol = keras.KerasTensor((2, 3))
    assert symbol == symbol  # noqa: PLR0124  the comparison of identities is the point
    assert (symbol == keras.KerasTensor((2, 3))) is False
    with pytest.raises(ValueError, match="symbolic"):
        np.ones((2, 3), "float32") * symbol
    assert keras.backend.backend() == keras.config.backend() != "symbolic"
    model = keras.Sequential([keras.Input((4,)), L.Rescaling(2.0), L.Dense(2)])
    assert len(model.layers[-1]._inbound_nodes) == 1
    images, labels = np.ones((4, 4), "float32"), np.zeros((4, 2), "float32")
    answer = ops.convert_to_numpy(model(images))
    kernel, bias = (ops.convert_to_numpy(w) for w in model.layers[-1].weights)
    np.testing.assert_allclose(answer, 2 * images @ kernel + bias, rtol=1e-5, atol=1e-6)
    model.compile("sgd", "mse")
    model.fit(images, labels, epochs=1, verbose=0)
    assert ops.convert_to_numpy(ops.zeros((2, 2))).shape == (2, 2)


def in_thread(function):
    """Run a function in a thread of its own; return what it raised."""
    raised = []

    def run():
        try:
            function()
        except BaseException as error:  # noqa: BLE001  handed to the test
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised[0] if raised else None


def test_another_thread_is_not_touched_while_one_traces():
    with TRACING.act(Tracer(pretend_numpy=True), patches), _WATCHING.act(_Watcher(None), _call_patches):
        assert in_thread(work_of_a_user) is None


def test_the_work_of_a_user_would_notice():
    """The negative twin: the same work inside the trace itself fails."""

    def inside():
        with TRACING.act(Tracer(pretend_numpy=True), patches):
            work_of_a_user()

    assert in_thread(inside) is not None


def test_a_thread_exports_in_a_loop_while_another_works():
    model = small_model()
    begun, stop, files = threading.Event(), threading.Event(), []

    def export():
        while not stop.is_set():
            files.append(convert(model).proto.SerializeToString())
            begun.set()

    thread = threading.Thread(target=export)
    thread.start()
    try:
        begun.wait()
        for _ in range(3):
            assert in_thread(work_of_a_user) is None
    finally:
        stop.set()
        thread.join()
    assert set(files) == {convert(model).proto.SerializeToString()}


def test_two_exports_at_once_give_the_files_of_two_in_turn():
    models = [small_model(), keras.Sequential([keras.Input((None, 3)), L.Rescaling(0.5), L.Conv1D(2, 3), L.GRU(2)])]
    expected = [convert(model).proto.SerializeToString() for model in models]
    together = threading.Barrier(4)
    before = snapshot()
    found = [[], [], [], []]

    def export(index):
        together.wait()
        found[index] += [convert(models[index % 2]).proto.SerializeToString() for _ in range(3)]

    threads = [threading.Thread(target=export, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [set(files) for files in found] == [{expected[0]}, {expected[1]}, {expected[0]}, {expected[1]}]
    assert changed(before) == []


def test_the_first_of_two_blocks_to_end_leaves_the_other_its_patches():
    inside, ended = threading.Event(), threading.Event()
    model, seen = small_model(), []

    def second():
        with TRACING.act(Tracer(), patches):
            inside.set()
            ended.wait()
            seen.append(trace(model).records)

    thread = threading.Thread(target=second)
    with TRACING.act(Tracer(), patches):
        thread.start()
        inside.wait()
    ended.set()
    thread.join()
    assert len(seen[0]) > 0


def test_a_trace_inside_a_trace_gives_the_outer_one_back():
    outer, model = Tracer(), small_model()
    with TRACING.act(outer, patches):
        trace(model)
        assert active_tracer() is outer
    with pytest.raises(ExportError, match="outside a trace"):
        active_tracer()


def test_importing_the_exporter_changes_nothing():
    assert importlib.import_module("keras.src.layers.layer").Node.__module__ == "keras.src.ops.node"
    assert inspect.isclass(importlib.import_module("keras.src.layers.layer").Node)
