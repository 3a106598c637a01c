"""Export of models that nothing is known about: the verification, the options, the plug-in ways."""

from __future__ import annotations

import json

import keras
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from cases_models import crnn, encoder_decoder, unet
from comparing import redraw
from one_backend import few

from mnistkit.core.comparison import verify_file
from mnistkit.core.errors import ExportError, InputError, OutputError, ParityError, UnsupportedError
from mnistkit.export import ExportOnnx, export_onnx, pipeline, register, unregister
from mnistkit.export.answers import KerasAnswers
from mnistkit.export.choose import choose
from mnistkit.export.collect_samples import drawn_samples
from mnistkit.export.diagnose import compare_layers
from mnistkit.export.verification import derived_atol


def two_inputs():
    ids = keras.Input((None,), dtype="int32", name="ids")
    extra = keras.Input((3,), name="extra")
    pooled = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(11, 4)(ids))
    joined = keras.layers.Dense(5, activation="tanh")(keras.layers.Concatenate()([pooled, extra]))
    return keras.Model({"ids": ids, "extra": extra}, {"a": keras.layers.Dense(2, name="a")(joined), "b": joined})


def small():
    return keras.Sequential([keras.Input((6,)), keras.layers.Dense(4, activation="relu"), keras.layers.Dense(2)])


def declared(path):
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return {x.name: x.shape for x in session.get_inputs()}, {x.name: x.shape for x in session.get_outputs()}


def test_dicts_and_a_free_axis_are_verified_at_several_lengths(tmp_path):
    report = export_onnx(two_inputs(), tmp_path / "m.onnx")
    assert report.exporter == "native"
    lengths = {row.sample for row in report.rows if row.sample.startswith("noise")}
    assert lengths == {f"noise, length {n}" for n in (24, 9, 1, 224)}  # a long text too
    assert {row.batch_size for row in report.rows} == {1, 2, 3, 16}
    inputs, _ = declared(tmp_path / "m.onnx")
    assert inputs["ids"] == ["batch", "ids_1"]
    assert verify_file(tmp_path / "m.onnx").pairs == 1


def test_names_and_fixed_batch(tmp_path):
    export_onnx(small(), tmp_path / "m.onnx", input_names=["x"], output_names=["y"], batch=4)
    assert declared(tmp_path / "m.onnx") == ({"x": [4, 6]}, {"y": [4, 2]})


def test_a_batch_size_that_the_model_fixes_is_verified_and_told(cli, tmp_path):
    inputs = keras.Input((6,), batch_size=4)
    keras.Model(inputs, keras.layers.Dense(2)(inputs)).save(tmp_path / "m.keras")
    ran = cli("export", tmp_path / "m.keras")
    assert (ran.code, ran.err) == (
        0,
        "mnistkit: the model fixes its batch axis to 4, so does the file; see --batch\n",
    )
    assert declared(tmp_path / "m.onnx")[0] == {"input_layer": [4, 6]}
    assert json.loads((tmp_path / "m.onnx.json").read_text())["batch"] == 4
    ran = cli("export", tmp_path / "m.keras", "--batch", "3")
    assert (ran.code, ran.err) == (0, "")
    assert declared(tmp_path / "m.onnx")[0] == {"input_layer": [3, 6]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_names": ["a", "b"]}, "2 names for 1 inputs"),
        ({"input_names": ["a"], "output_names": ["a"]}, "names used twice: a"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"atol": 0.0}, "atol must be above 0"),
        ({"exporter": "magic"}, "unknown exporter 'magic'; use one of auto, native"),
        ({"opset": 12}, "opset 17 or newer"),
        ({"opset": 0}, "opset must be at least 1, got 0"),
        ({"opset": 0, "exporter": "torch"}, "opset must be at least 1, got 0"),
        ({"rename": {"x": "y"}}, "nothing to rename is called x; there are input_layer, dense"),
        ({"rename": {"input_layer": "dense_1"}}, "names used twice: dense_1"),
    ],
)
def test_options_that_do_not_fit(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        export_onnx(small(), tmp_path / "m.onnx", **options)
    assert not list(tmp_path.iterdir())


def test_the_file_is_verified_on_given_samples(tmp_path):
    np.savez(tmp_path / "s.npz", input_layer=np.ones((5, 6), np.float32))
    report = export_onnx(small(), tmp_path / "m.onnx", samples=tmp_path / "s.npz")
    assert {row.sample for row in report.rows} == {"given samples"}


def test_samples_under_another_name_are_refused(tmp_path):
    with pytest.raises(InputError, match="expected arrays input_layer, got x"):
        export_onnx(small(), tmp_path / "m.onnx", samples={"x": np.ones((5, 6), np.float32)})


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((5, 7), np.float32), r"expected input_layer: float32 \[batch, 6\], got \[5, 7\]"),
        (np.ones((5, 6, 1), np.float32), r"expected input_layer: float32 \[batch, 6\], got \[5, 6, 1\]"),
        (np.full((5, 6), "seven"), "no array of float32"),
        (np.full((5, 6), np.nan), "input_layer has NaN or an infinity"),
        (np.float32(1), "the same number of rows"),
    ],
)
def test_samples_that_do_not_fit_are_refused(tmp_path, array, message):
    with pytest.raises(InputError, match=message):
        export_onnx(small(), tmp_path / "m.onnx", samples={"input_layer": array})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("policy", ["mixed_float16", "float16"])
def test_half_precision_has_finite_golden_pairs(tmp_path, policy):
    model = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(4, dtype=policy), keras.layers.Dense(2, dtype=policy)]
    )
    export_onnx(model, tmp_path / "m.onnx")
    assert verify_file(tmp_path / "m.onnx").pairs == 1


def test_the_model_is_never_overwritten(tmp_path):
    path = tmp_path / "m.keras"
    small().save(path)
    before = path.read_bytes()
    for target in (path, tmp_path / "." / "m.keras"):
        with pytest.raises(InputError, match="this is the model itself"):
            export_onnx(path, target)
    with pytest.raises(InputError, match=r"name the file \.onnx"):
        export_onnx(path, tmp_path / "m.json")
    with pytest.raises(
        InputError, match=r"the model itself; .* an ONNX model needs no export: --web DIR and --hub DIR"
    ):
        export_onnx(tmp_path / "m.onnx")
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.keras"]


def test_an_opset_that_nobody_reads(tmp_path):
    with pytest.raises(InputError, match=r"opset 99 is newer than onnx .* knows \(up to \d+\)"):
        export_onnx(small(), tmp_path / "m.onnx", opset=99)


def test_samples_that_are_no_npz_are_refused(tmp_path):
    (tmp_path / "s.npz").write_text("no")
    with pytest.raises(InputError, match=r"not an \.npz"):
        export_onnx(small(), tmp_path / "m.onnx", samples=tmp_path / "s.npz")


def test_a_tolerance_that_cannot_be_met_keeps_the_old_file(tmp_path):
    target = tmp_path / "m.onnx"
    target.write_bytes(b"old")
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(64), keras.layers.Dense(64, activation="softmax")])
    with pytest.raises(ParityError, match="largest difference"):
        export_onnx(model, target, atol=1e-12)
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_the_first_layer_that_differs_is_named():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    x = keras.layers.Dense(4, activation="relu", name="first")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, name="last")(keras.layers.Dense(3, name="middle")(x)))
    chosen = choose(model, "native", opset=None, optimize=True, batch=None)
    sample = drawn_samples(KerasAnswers(model, chosen.signature), chosen.proto.graph, atol=1e-5)[0]
    assert compare_layers(model, chosen, sample, atol=1e-5) is None
    for tensor in chosen.proto.graph.initializer:
        if tensor.name == "middle/kernel":
            tensor.CopyFrom(
                onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) * np.float32(1.03), tensor.name)
            )
    path, largest = compare_layers(model, chosen, sample, atol=1e-5)
    assert path == "middle"
    assert largest > 1e-5


@pytest.mark.parametrize(
    "build", few([encoder_decoder, unet, crnn], everywhere=[unet]), ids=lambda build: build.__name__
)
def test_a_mutant_is_caught_in_any_large_tensor(tmp_path, monkeypatch, build):
    """One weight tensor x 1.03, in models with masks, attention, free sizes and recurrence."""
    model = redraw(build())
    export_onnx(model, tmp_path / "m.onnx")
    before = (tmp_path / "m.onnx").read_bytes()
    chosen = pipeline.choose
    mutated = []

    def mutate(*arguments, **options):
        found = chosen(*arguments, **options)
        floats = [t for t in found.proto.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
        tensor = sorted(floats, key=lambda t: -np.prod(t.dims))[len(mutated)]
        tensor.raw_data = (onnx.numpy_helper.to_array(tensor) * np.float32(1.03)).tobytes()
        mutated.append(tensor.name)
        return found

    monkeypatch.setattr(pipeline, "choose", mutate)
    for _ in range(3):
        with pytest.raises(ParityError, match="the first layer that differs is"):
            export_onnx(model, tmp_path / "m.onnx")
    assert len(set(mutated)) == 3
    assert (tmp_path / "m.onnx").read_bytes() == before


def test_a_model_that_answers_nan_is_refused(tmp_path):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.ops.log(inputs - 100.0))
    with pytest.raises(ExportError, match="Keras itself answers with NaN"):
        export_onnx(model, tmp_path / "m.onnx")


def test_tolerance_grows_with_depth_and_half_precision():
    shallow, deep = small(), keras.Sequential([keras.Input((512,)), *(keras.layers.Dense(512) for _ in range(8))])
    half = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4, dtype="mixed_float16")])
    assert 1e-5 <= derived_atol(shallow) < derived_atol(deep) < 1e-3 < derived_atol(half) < 2e-2


def test_every_unsupported_part_is_listed(tmp_path):
    class Odd(keras.layers.Layer):
        def call(self, x):
            return keras.ops.convert_to_tensor(np.asarray(keras.ops.convert_to_numpy(x)))

        def compute_output_spec(self, x):
            return keras.KerasTensor(x.shape, x.dtype)

    inputs = keras.Input((3,))
    model = keras.Model(inputs, Odd(name="two")(keras.layers.Dense(3)(Odd(name="one")(inputs))))
    with pytest.raises(UnsupportedError, match=r"(?s)one.*two.*register_layer"):
        export_onnx(model, tmp_path / "m.onnx", exporter="native")


def test_register_takes_model_export_and_unregister_gives_it_back(tmp_path):
    original = keras.Model.export
    register()
    register()
    try:
        small().export(tmp_path / "m.onnx", format="onnx", verbose=False)
        assert json.loads((tmp_path / "m.onnx.json").read_text())["exporter"]["name"] == "native"
    finally:
        unregister()
    unregister()
    assert keras.Model.export is original


@pytest.fixture
def registered():
    register()
    yield
    unregister()


@pytest.mark.usefixtures("registered")
def test_input_signature_gives_names_shapes_and_types_as_in_keras(tmp_path, capsys):
    inputs = keras.Input((None, 3))
    model = keras.Model(inputs, keras.layers.Conv1D(2, 3, name="conv")(inputs))
    spec = keras.InputSpec(shape=(4, 9, 3), dtype="float32", name="wave")
    model.export(tmp_path / "m.onnx", "onnx", False, [spec])  # Keras' order of arguments
    assert declared(tmp_path / "m.onnx") == ({"wave": [4, 9, 3]}, {"conv": [4, 7, 2]})
    model.export(tmp_path / "m.onnx", "onnx", input_signature=[keras.ops.zeros((4, 9, 3))])
    assert declared(tmp_path / "m.onnx")[0] == {"inputs": ["batch", 9, 3]}, "a tensor is an example"
    assert "verified, largest difference" in capsys.readouterr().err, "Keras prints a line by default"


@pytest.mark.usefixtures("registered")
def test_input_signature_of_several_arguments(tmp_path):
    class Sum(keras.Model):
        def call(self, left, right):
            return left + right["x"]

    spec = keras.InputSpec(shape=(None, 3), dtype="float32")
    Sum().export(tmp_path / "m.onnx", "onnx", verbose=False, input_signature=[spec, {"x": spec}])
    assert list(declared(tmp_path / "m.onnx")[0].values()) == [["batch", 3], ["batch", 3]]


def test_inputs_describe_a_model_that_was_never_called(tmp_path):
    class Head(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(2)

        def call(self, x):
            return self.dense(x)

    with pytest.raises(ExportError, match="does not know its input shapes"):
        export_onnx(Head(), tmp_path / "m.onnx")
    export_onnx(Head(), tmp_path / "m.onnx", inputs=keras.InputSpec("float32", (None, 9, 3), name="wave"))
    assert declared(tmp_path / "m.onnx")[0] == {"wave": ["batch", 9, 3]}


@pytest.mark.usefixtures("registered")
def test_input_signature_that_the_model_does_not_take_is_refused(tmp_path):
    spec = keras.InputSpec(shape=(None, 7), dtype="float32")
    with pytest.raises(ExportError, match="cannot be called on symbolic inputs"):
        small().export(tmp_path / "m.onnx", "onnx", input_signature=[spec])
    with pytest.raises(InputError, match="has no option is_static"):
        small().export(tmp_path / "m.onnx", "onnx", is_static=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("registered")
def test_opset_version_is_the_opset(tmp_path):
    small().export(tmp_path / "m.onnx", "onnx", verbose=False, opset_version=19)
    assert json.loads((tmp_path / "m.onnx.json").read_text())["opset"] == 19
    with pytest.raises(InputError, match="at least 1"):
        small().export(tmp_path / "m.onnx", "onnx", opset_version=0)


@pytest.mark.parametrize("rows", [1, 5])
def test_a_sequential_without_an_input_takes_any_number_of_rows(tmp_path, rows):
    """It has the size of the first batch that it was called with; a file from disk does not tell that from a wish."""
    model = keras.Sequential([keras.layers.Reshape((3, 2)), keras.layers.Conv1D(2, 2), keras.layers.Flatten()])
    model(np.zeros((rows, 6), "float32"))
    report = export_onnx(model, tmp_path / "m.onnx")
    assert declared(tmp_path / "m.onnx")[0] == {"input_layer": ["batch", 6]}
    assert {row.batch_size for row in report.rows} >= {1, 2, 3}
    model.save(tmp_path / "m.keras")
    export_onnx(tmp_path / "m.keras", batch=4)
    assert declared(tmp_path / "m.onnx")[0] == {"input_layer": [4, 6]}


def by_name():
    a, b = keras.Input((3,), name="zebra"), keras.Input((3,), name="apple")
    return keras.Model({"zebra": a, "apple": b}, {"low": a - b, "high": a + 2 * b})


def test_names_in_order_are_refused_for_inputs_that_have_none(tmp_path):
    """They were given in the order of the alphabet, and so swapped."""
    for options in ({"input_names": ["zebra2", "apple2"]}, {"output_names": ["low2", "high2"]}):
        with pytest.raises(InputError, match=r"have names and no order .*--rename"):
            export_onnx(by_name(), tmp_path / "m.onnx", **options)
    assert not list(tmp_path.iterdir())


def test_renames_by_name_are_printed(cli, tmp_path):
    by_name().save(tmp_path / "m.keras")
    ran = cli("export", tmp_path / "m.keras", "--rename", "zebra=horse", "--rename", "low=down")
    assert ran.code == 0, ran.err
    assert "renamed: zebra -> horse, low -> down" in ran.out
    session = ort.InferenceSession(tmp_path / "m.onnx")
    ones = np.ones((1, 3), np.float32)
    (down,) = session.run(["down"], {"horse": 5 * ones, "apple": ones})
    np.testing.assert_array_equal(down, 4 * ones)
    ran = cli("export", tmp_path / "m.keras", "--rename", "zebra")
    assert ran.code == 2
    assert "'zebra' is no OLD=NEW" in ran.err


def test_the_callback_exports_the_best_epoch_only(tmp_path):
    callback = ExportOnnx(tmp_path / "best.onnx", monitor="val_loss")
    callback.set_model(small())
    callback.on_epoch_end(0, {"val_loss": 1.0})
    first = callback.report
    callback.on_epoch_end(1, {"val_loss": 2.0})
    assert callback.report is first
    callback.on_epoch_end(2, {"val_loss": 0.5})
    assert callback.report is not first
    assert callback.best == 0.5


def test_the_callback_says_what_it_misses(tmp_path):
    callback = ExportOnnx(tmp_path / "best.onnx", monitor="val_loss")
    callback.set_model(small())
    with pytest.warns(UserWarning, match="no 'val_loss' to monitor; it logs loss"):
        callback.on_epoch_end(0, {"loss": 1.0})
    callback.on_epoch_end(1, {"loss": 0.5})  # once is enough, and the training goes on
    assert callback.report is None
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="unknown mode"):
        ExportOnnx(tmp_path / "best.onnx", mode="most")


def test_a_folder_in_the_way_is_refused_before_the_work(tmp_path):
    (tmp_path / "m.onnx").mkdir()
    with pytest.raises(OutputError, match="it is a folder"):
        export_onnx(small(), tmp_path / "m.onnx")


def test_a_json_of_the_users_is_never_replaced(tmp_path):
    small().save(tmp_path / "m.keras")
    (tmp_path / "m.json").write_text('{"mine": 1}')
    export_onnx(tmp_path / "m.keras")
    assert (tmp_path / "m.json").read_text() == '{"mine": 1}'
    before = (tmp_path / "m.onnx").read_bytes()
    (tmp_path / "m.onnx.json").write_text('{"mine": 2}')
    with pytest.raises(InputError, match=r"m\.onnx\.json: the provenance goes there, and this file is not mnistkit's"):
        export_onnx(tmp_path / "m.keras")
    assert (tmp_path / "m.onnx.json").read_text() == '{"mine": 2}'
    assert (tmp_path / "m.onnx").read_bytes() == before


def test_the_old_name_of_the_exporter_is_deprecated(tmp_path):
    with pytest.warns(DeprecationWarning, match='the exporter "writer" is called "native" now'):
        report = export_onnx(small(), tmp_path / "m.onnx", exporter="writer")
    assert report.exporter == "native"


def test_a_report_is_short_as_a_value_and_a_table_as_text(tmp_path):
    report = export_onnx(small(), tmp_path / "m.onnx")
    assert repr(report) == f"ExportReport({str(report.path)!r}, exporter='native', largest={report.largest:.1e})"
    lines = str(report).splitlines()
    assert lines[0] == "exporter native (it covers the whole model)"
    assert lines[1].split()[:3] == ["sample", "batch", "rows"]
    assert sum(line.startswith("noise") for line in lines) == 4
    assert lines[-1] == f"wrote {report.path}, {report.path}.json"
