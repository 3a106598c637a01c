"""A smaller file of a model: kept where it is worth it, refused where it loses too much, and what it says it is."""

import json
import logging
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import mnistkit
from mnistkit.core.errors import ExportError, InputError, MissingExtraError, ModelFileError, ParityError
from mnistkit.core.onnx_header import read_header
from mnistkit.core.runtime import Runtime
from mnistkit.digits.data import Dataset
from mnistkit.digits.evaluate import evaluate
from mnistkit.publish.model_facts import read_facts
from mnistkit.publish.shrink import candidates, shrink
from mnistkit.publish.shrink.candidates import Candidate
from mnistkit.publish.shrink.pipeline import pick
from mnistkit.publish.shrink.samples import choose_samples
from mnistkit.publish.shrink.tools import load_tool, quiet

EXPORTS = Path(__file__).parents[2] / "exports"
TYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "bool": TensorProto.BOOL}
KINDS = {"fp16": {"float16"}, "int8": {"int8", "uint8"}, "int4": {"int4"}}


def write(path, nodes, *, inputs, outputs, weights, props=None, opset=17):
    values = [
        [helper.make_tensor_value_info(name, TYPES[dtype], shape) for name, (dtype, shape) in one.items()]
        for one in (inputs, outputs)
    ]
    graph = helper.make_graph(nodes, "g", *values, [numpy_helper.from_array(w, name) for name, w in weights.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8, producer_name="me")
    helper.set_model_props(model, props or {})
    onnx.save(model, path)
    return path


def mlp(path, *, batch="batch", wide=128, scale=None, **more):
    """Two layers of matrices; ``scale`` multiplies the columns of the input away again."""
    rng = np.random.default_rng(0)
    first = rng.normal(0, 0.15, (64, wide)).astype(np.float32)
    weights = {
        "a": first if scale is None else first / scale[:, None],
        "a_bias": rng.normal(0, 0.1, wide).astype(np.float32),
        "b": rng.normal(0, 0.15, (wide, 8)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Gemm", ["x", "a", "a_bias"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "b"], ["s"]),
        helper.make_node("Softmax", ["s"], ["y"], axis=-1),
    ]
    sizes = {"inputs": {"x": ("float32", [batch, 64])}, "outputs": {"y": ("float32", [batch, 8])}}
    return write(path, nodes, **sizes, weights=weights, **more)


@pytest.fixture
def model(tmp_path):
    return mlp(tmp_path / "m.onnx", props={"mine": "kept", "mnistkit.labels": json.dumps(list("abcdefgh"))})


@pytest.fixture
def samples(model):
    x = np.random.default_rng(1).normal(0, 1, (200, 64)).astype(np.float32)
    return {"x": x}, Runtime(model, device="cpu").run({"x": x})["y"].argmax(1)


@pytest.fixture(autouse=True)
def times(monkeypatch):
    """What the clock says; a test that is about it takes the real one."""
    told = {"value": {1: 0.9, 32: 0.9}}
    real = candidates.time_ratios
    monkeypatch.setattr(
        candidates, "time_ratios", lambda *given: real(*given) if told["value"] is None else dict(told["value"])
    )
    return told


def needs_int4(kind):
    if kind in {"int4", "auto"}:
        pytest.importorskip("onnx_ir", reason="onnx_ir is missing: pip install onnx-ir")


def numbers_by_type(path):
    """Counted from the bytes of the tensors; an operation with packed 4-bit weights says which they are."""
    model = onnx.load(path)
    packed = {node.input[1] for node in model.graph.node if node.op_type == "MatMulNBits"}
    kinds = {1: ("float32", 4), 2: ("uint8", 1), 3: ("int8", 1), 10: ("float16", 2), 22: ("int4", 0.5)}
    counts = {}
    for tensor in model.graph.initializer:
        if tensor.data_type in kinds:
            kind, size = ("int4", 0.5) if tensor.name in packed else kinds[tensor.data_type]
            content = tensor.raw_data or numpy_helper.to_array(tensor).tobytes()
            counts[kind] = counts.get(kind, 0) + len(content) / size
    return counts


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_what_it_is_called(model, samples, kind):
    needs_int4(kind)
    given, targets = samples
    found = shrink(model, kind=kind, samples=given, targets=targets, max_loss=50)
    assert found.path == model.with_name(f"m-{kind}.onnx")
    assert (found.kind, found.picked.kind) == (kind, kind)
    counts = numbers_by_type(found.path)
    assert sum(counts.get(name, 0) for name in KINDS[kind]) > 0.85 * sum(counts.values())
    assert counts == read_header(found.path.read_bytes()).weights
    before, after = Runtime(model, device="cpu"), Runtime(found.path, device="cpu")
    assert (after.inputs, after.outputs) == (before.inputs, before.outputs)
    assert found.path.stat().st_size < {"fp16": 0.62, "int8": 0.5, "int4": 0.45}[kind] * model.stat().st_size
    assert mnistkit.verify(found.path, device="cpu").pairs == 4
    told = {entry.key: entry.value for entry in onnx.load(found.path).metadata_props}
    assert told["mine"] == "kept"
    assert json.loads(told["mnistkit.labels"]) == list("abcdefgh")
    said = json.loads(told["mnistkit.shrunk"])
    assert (said["kind"], said["method"]) == (kind, found.picked.name)
    parts = [given["x"][::2][:64], given["x"][::2][64:]]  # as they were checked: rows of a run may share a scale
    wanted, got = (np.concatenate([one.run(part) for part in parts]) for one in (before, after))
    assert said["accuracy"] == pytest.approx(np.mean(got.argmax(1) == targets[::2]))
    assert said["float32_accuracy"] == 1
    assert told["mnistkit.test_accuracy"] == f"{found.picked.accuracy:.4f}"
    assert 0 < np.abs(wanted - got).max() / np.ptp(wanted) <= said["largest_change"] * 1.5


def test_inputs_that_are_no_floats_stay_as_they_are(tmp_path):
    rng = np.random.default_rng(0)
    path = write(
        tmp_path / "three.onnx",
        [
            helper.make_node("Gather", ["table", "ids"], ["e"]),
            helper.make_node("Cast", ["on"], ["f"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["e", "f"], ["g"]),
            helper.make_node("MatMul", ["g", "w"], ["y"]),
            helper.make_node("ArgMax", ["y"], ["best"], axis=-1, keepdims=0),
        ],
        inputs={"ids": ("int64", ["n", 3]), "on": ("bool", ["n", 3, 1])},
        outputs={"y": ("float32", ["n", 3, 64]), "best": ("int64", ["n", 3])},
        weights={
            "table": rng.normal(0, 1, (100, 64)).astype(np.float32),
            "w": rng.normal(0, 0.1, (64, 64)).astype(np.float32),
        },
    )
    given = {"ids": rng.integers(0, 100, (40, 3)), "on": rng.random((40, 3, 1)) < 0.9}
    for kind in ("fp16", "int8"):
        found = shrink(path, kind=kind, samples=given, max_loss=20)
        before, after = Runtime(path, device="cpu"), Runtime(found.path, device="cpu")
        assert (after.inputs, after.outputs) == (before.inputs, before.outputs)
        mnistkit.verify(found.path, device="cpu")


# --- refused ---------------------------------------------------------------------------------------------------------


def test_a_harmful_quantization_is_refused_and_the_older_file_stays(tmp_path):
    """One column of the input is a million times the others: eight bits for all of them leave the others nothing."""
    scale = np.ones(64, np.float32)
    scale[0] = 1e6
    path = mlp(tmp_path / "m.onnx", scale=scale)
    x = np.random.default_rng(1).normal(0, 1, (100, 64)).astype(np.float32) * scale
    out = tmp_path / "out.onnx"
    out.write_bytes(b"older")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ParityError, match=r"no int8 file: int8-static changes answers by [\d.]+ % of their range, all"):
        shrink(path, out, kind="int8", samples={"x": x})
    assert out.read_bytes() == b"older"
    assert sorted(tmp_path.iterdir()) == before
    right = Runtime(path, device="cpu").run({"x": x})["y"].argmax(1)
    with pytest.raises(ParityError, match=r"loses [\d.]+ points of accuracy, allowed 0.2"):
        shrink(path, out, kind="int8", samples={"x": x}, targets=right)


def test_the_same_without_that_column_is_kept(model, samples):
    """The twin: the refusal above comes from the answers."""
    assert shrink(model, kind="int8", samples=samples[0]).picked.change < 0.05


def test_no_loss_allowed(model):
    with pytest.raises(ParityError, match="allowed 0; keep float32"):
        shrink(model, kind="fp16", max_loss=0)


def test_float16_that_overflows(tmp_path):
    path = mlp(tmp_path / "m.onnx")
    with pytest.raises(ExportError, match="fp16 it overflows: a value inside passes 65,504, where float16 ends"):
        shrink(path, kind="fp16", samples={"x": np.full((4, 64), 7e4, np.float32)})


def test_a_model_too_small_to_gain(tmp_path, times):
    times["value"] = {1: 1.0}
    path = mlp(tmp_path / "m.onnx", wide=2)
    with pytest.raises(ExportError, match="int8-dynamic neither smaller nor faster; the model is too small to gain"):
        shrink(path, kind="int8", max_loss=100)
    with pytest.raises(ExportError, match="int4 no matrix of 64 rows and columns or more"):
        shrink(path, kind="int4")


def test_an_old_opset_has_no_scales_per_channel(tmp_path):
    found = shrink(mlp(tmp_path / "m.onnx", opset=11), kind="int8")
    assert found.candidates[0].refused == "needs opset 13 for scales per channel, and the file has 11"
    assert found.picked.name == "int8-dynamic"


# --- auto ------------------------------------------------------------------------------------------------------------


def test_auto_keeps_float32_where_nothing_is_better(model, tmp_path, times):
    needs_int4("auto")
    times["value"] = {1: 1.3, 32: 1.3}
    found = shrink(model, kind="auto")
    assert (found.kind, found.path, found.picked) == ("float32", model, None)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    assert str(found).splitlines()[-1] == "float32 is best"
    out = tmp_path / "sub" / "out.onnx"
    found = shrink(model, out, kind="auto")
    assert out.read_bytes() == model.read_bytes()
    assert str(found).splitlines()[-1] == f"float32 is best; copied to {out}"


def test_auto_takes_the_smallest_product_of_size_and_time(model, samples):
    needs_int4("auto")
    told = []
    found = shrink(model, kind="auto", samples=samples[0], progress=told.append)
    assert [one.name for one in found.candidates] == ["fp16", "int8-static", "int8-dynamic", "int4"]
    assert [line.partition(":")[0] for line in told[1:]] == [one.name for one in found.candidates]
    kept = [one for one in found.candidates if not one.refused]
    assert found.picked is min(kept, key=lambda one: one.size)
    assert found.as_json()["candidates"][0]["times"] == {"1": 0.9, "32": 0.9}
    lines = str(found).splitlines()
    assert lines[0].split() == ["bytes", "size", "change", "time", "at", "1", "time", "at", "32"]
    assert lines[-1] == f"wrote {found.path} ({found.picked.name})"


def made(name, size, time, **more):
    return Candidate(name, name, size_ratio=size, times={1: time, 32: time}, **more)


def test_the_choice():
    assert pick([made("a", 0.5, 1.0), made("b", 0.3, 1.05)]).name == "b"
    assert pick([made("a", 0.5, 0.5), made("b", 0.3, 1.05)]).name == "a"
    assert pick([made("slow", 0.1, 1.2)]) is None
    assert pick([made("refused", 0.1, 0.1, refused="it loses")]) is None
    assert pick([made("larger", 1.1, 0.95)]) is None
    assert pick([Candidate("none", "int4", refused="no matrix")]) is None
    assert made("a", 1, 1.0).time_ratio == 1
    assert Candidate("a", "a", times={1: 0.5, 32: 2.0}).time_ratio == 1


def test_the_clock(model, times):
    times["value"] = None
    found = shrink(model, kind="fp16")
    assert set(found.picked.times) == {1, 32}
    assert all(0.01 < ratio < 100 for ratio in found.picked.times.values())


def test_a_fixed_batch(tmp_path, times):
    times["value"] = None
    path = mlp(tmp_path / "m.onnx", batch=4)
    found = shrink(path, kind="int8", samples={"x": np.random.default_rng(0).random((21, 64))})
    assert set(found.picked.times) == {None}
    assert Runtime(found.path, device="cpu").inputs[0].shape == (4, 64)
    assert mnistkit.verify(found.path, device="cpu").pairs == 1
    assert "time" in str(found).splitlines()[0]
    with pytest.raises(InputError, match="samples: expected x: float32"):
        shrink(path, samples={"x": np.zeros((3, 64), np.float32)})


# --- digits ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def packaged(tmp_path):
    """A file of an export, with its provenance."""
    for name in ("mnist-jax.onnx", "mnist-jax.onnx.json"):
        shutil.copy(EXPORTS / name, tmp_path)
    return tmp_path / "mnist-jax.onnx"


def test_digits(packaged):
    found = shrink(packaged, kind="int8")
    assert found.calibrated_on == "512 training images of mnist"
    assert found.checked_on == "10,000 test images of mnist"
    assert found.accuracy - found.picked.accuracy <= 0.002
    # evaluate runs more rows at once, and rows of a run share a scale in int8-dynamic
    assert evaluate(found.path, device="cpu").accuracy == pytest.approx(found.picked.accuracy, abs=2e-3)
    facts = read_facts(found.path)
    assert facts.accuracy == f"{found.picked.accuracy:.4f}"
    assert facts.provenance["shrunk"]["from"] == "mnist-jax.onnx"
    assert facts.provenance["training"] == read_facts(packaged).provenance["training"]


def test_the_hub_takes_the_smaller_file(packaged, tmp_path):
    found = shrink(packaged, kind="fp16")
    mnistkit.publish.hub_folder(packaged, tmp_path / "hub")
    assert (tmp_path / "hub" / "onnx" / "model_fp16.onnx").read_bytes() == found.path.read_bytes()


def test_test_images_never_calibrate(asset):
    train, test = np.zeros((20, 28, 28), np.uint8), np.full((10, 28, 28), 255, np.uint8)
    data = Dataset(train, np.zeros(20, np.uint8), test, np.ones(10, np.uint8), tuple("0123456789"), "made")
    chosen = choose_samples(Runtime(asset, device="cpu"), samples=None, targets=None, data=data)
    assert {float(run["image"].max()) for run in chosen.calibration} == {0.0}
    assert {float(run["image"].min()) for run in (*chosen.checks, *chosen.alone)} == {1.0}
    assert chosen.targets.tolist() == [1] * 10


def test_no_row_of_the_samples_is_for_both(model):
    rows = np.arange(7 * 64, dtype=np.float64).reshape(7, 64)
    chosen = choose_samples(Runtime(model, device="cpu"), samples={"x": rows}, targets=np.arange(7), data=None)
    assert np.array_equal(np.concatenate([run["x"] for run in chosen.calibration]), rows[1::2])
    assert np.array_equal(np.concatenate([run["x"] for run in chosen.checks]), rows[::2])
    assert chosen.targets.tolist() == [0, 2, 4, 6]
    one = choose_samples(Runtime(model, device="cpu"), samples={"x": rows[:1]}, targets=None, data=None)
    assert one.note == "calibrated and checked on the same sample; give more"


# --- what the file says, and whether it can fail ---------------------------------------------------------------------


def test_a_changed_weight_fails_the_golden_pairs(packaged):
    found = shrink(packaged, kind="int8")
    model = onnx.load(found.path)
    tensor = max(model.graph.initializer, key=lambda one: len(one.raw_data))
    values = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(np.roll(values, 1, axis=-1), tensor.name))
    onnx.save(model, found.path)
    with pytest.raises(ParityError, match="golden pair"):
        mnistkit.verify(found.path, device="cpu")


@pytest.mark.parametrize("text", ["0.5", "-1", "nan", "much", "1e-9"])
def test_a_tolerance_that_a_file_may_not_ask_for(packaged, text):
    model = onnx.load(packaged)
    model.metadata_props.add(key="mnistkit.golden_atol", value=text)
    onnx.save(model, packaged)
    with pytest.raises(ModelFileError, match="the tolerance of the golden pairs is"):
        mnistkit.verify(packaged, device="cpu")


def test_info_tells_what_it_is(model, samples, cli):
    found = shrink(model, kind="int8", samples=samples[0])
    ran = cli("info", found.path)
    assert " int8" in next(line for line in ran.out.splitlines() if line.startswith("weights "))
    assert '"kind": "int8"' in ran.out
    assert "weights " not in cli("info", model).out
    assert json.loads(cli("info", found.path, "--json").out)["weights"]["int8"] > 8000


def test_provenance_of_an_older_file_goes(model, packaged):
    out = packaged  # an export of this name lies there, with its JSON
    shrink(model, out, kind="fp16")
    assert not out.with_name(f"{out.name}.json").exists()
    mnistkit.verify(out, device="cpu")


def test_weights_beside_the_file(tmp_path):
    path = mlp(tmp_path / "m.onnx")
    inside = Runtime(shrink(path, tmp_path / "inside.onnx", kind="fp16").path, device="cpu")
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="m.data", size_threshold=0)
    found = shrink(path, tmp_path / "out.onnx", kind="fp16")
    x = np.random.default_rng(0).normal(0, 1, (4, 64)).astype(np.float32)
    assert np.array_equal(Runtime(found.path.read_bytes(), device="cpu").run(x), inside.run(x))
    assert found.size == path.stat().st_size + (tmp_path / "m.data").stat().st_size
    os.truncate(tmp_path / "m.data", 2**31)  # sparse: takes no room
    with pytest.raises(ModelFileError, match=r"m.onnx: 2.1 GB of weights; onnxruntime's tools take models up to 2 GB"):
        shrink(path, kind="fp16")


# --- errors ----------------------------------------------------------------------------------------------------------

WRONG = {
    "kind": ({"kind": "int9"}, InputError, "unknown kind 'int9', use one of fp16, int8, int4, auto; did you mean int"),
    "loss": ({"max_loss": -1}, InputError, "max_loss must be a percentage from 0 on, got -1"),
    "no loss": ({"max_loss": float("nan")}, InputError, "got nan"),
    "itself": ({"out": "m.onnx"}, InputError, "this is the model itself"),
    "json": ({"out": "m.json"}, InputError, "name the file .onnx"),
    "shape": (
        {"samples": {"x": np.zeros((4, 63))}},
        InputError,
        r"samples: expected x: float32 .*, got shape \[4, 63\]",
    ),
    "name": ({"samples": {"z": np.zeros((4, 64))}}, InputError, "samples: no input is called 'z'"),
    "type": ({"samples": {"x": np.zeros((4, 64), complex)}}, InputError, "got complex128"),
    "no rows": ({"samples": {"x": np.zeros((0, 64))}}, InputError, "have 0 rows"),
    "targets alone": ({"targets": [1]}, InputError, "give the samples that they belong to"),
    "few targets": (
        {"samples": {"x": np.zeros((4, 64))}, "targets": [1, 2]},
        InputError,
        r"expected 4 class numbers, got shape \[2\]",
    ),
    "other targets": (
        {"samples": {"x": np.zeros((4, 64))}, "targets": [0, 8, 8, 8]},
        InputError,
        "expected class numbers of the scores in y",
    ),
    "targets that are no numbers": ({"targets": ["a"]}, InputError, "expected class numbers, got <U1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments(model, tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    options, error, words = WRONG[case]
    with pytest.raises(error, match=words):
        shrink(model, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_data_for_another_model(model, mnist):
    with pytest.raises(InputError, match="does not take one image of 28x28"):
        shrink(model, data=mnist)
    with pytest.raises(InputError, match="give samples or a data set, not both"):
        shrink(model, data=mnist, samples={"x": np.zeros((4, 64))})


def test_files_that_cannot_be_smaller(tmp_path, make_model, model, samples):
    small = shrink(model, kind="fp16", samples=samples[0]).path
    with pytest.raises(InputError, match="its weights are float16 already; give the float32 file"):
        shrink(small)
    empty = write(
        tmp_path / "empty.onnx",
        [helper.make_node("Identity", ["x"], ["y"])],
        inputs={"x": ("float32", ["n", 2])},
        outputs={"y": ("float32", ["n", 2])},
        weights={},
    )
    with pytest.raises(InputError, match="it has no weights that could be smaller"):
        shrink(empty)
    with pytest.raises(InputError, match="takes no numbers, so none can be drawn"):
        shrink(make_model("words", dtype="STRING"))
    (tmp_path / "no.onnx").write_bytes(b"\x08\x07no model")
    for name in ("no.onnx", "missing.onnx"):
        with pytest.raises(ModelFileError, match=name):
            shrink(tmp_path / name)


def test_without_onnx(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"onnx is not installed; run `pip install .*\[shrink\]"):
        shrink(model)


def test_the_tools_leave_the_process_as_it_is(model):
    before = list(sys.path), logging.getLogger().level, list(logging.getLogger().handlers)
    shrink(model, kind="int8")
    load_tool("onnxruntime.transformers.float16")
    assert (sys.path, logging.getLogger().level, logging.getLogger().handlers) == before
    with pytest.raises(ValueError, match="it"), quiet():
        raise ValueError("it")
    assert (sys.path, logging.getLogger().level, logging.getLogger().handlers) == before


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_takes_an_onnx_file(model, samples, cli, tmp_path):
    given, targets = samples
    np.savez(tmp_path / "s.npz", **given, targets=targets)
    out = tmp_path / "small.onnx"
    ran = cli("export", model, "--shrink", "int8", "-o", out, "--samples", tmp_path / "s.npz", "--max-loss", "5")
    assert ran.code == 0, ran.err
    assert ran.err.splitlines()[0] == "mnistkit: float32 answers the other samples ..."
    assert ran.err.splitlines()[1].startswith("mnistkit: int8-static: ")
    assert "accuracy" in ran.out.splitlines()[0]
    assert ran.out.splitlines()[-1].startswith(f"wrote {out} (int8-")
    assert cli("verify", out).code == 0
    ran = cli("export", model, "--shrink", "fp16", "--quiet", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out)["shrink"]["file"] == str(model.with_name("m-fp16.onnx"))


COMMANDS = {
    "loss alone": (("--max-loss", "1"), "--max-loss belongs to --shrink"),
    "an export's flag": (("--shrink", "int8", "--opset", "18"), "--opset: "),
    "out without it": (("--web", "w", "-o", "x.onnx"), "--out: "),
    "no samples": (("--shrink", "int8", "--samples", "none.npz"), "--samples none.npz: not an .npz file"),
    "too much lost": (("--shrink", "fp16", "--max-loss", "0"), "no fp16 file: fp16 changes answers by"),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_the_command_refuses(model, cli, case):
    flags, words = COMMANDS[case]
    ran = cli("export", model, "--quiet", *flags)
    assert ran.code == 1
    assert words in ran.err
    assert len(ran.err.splitlines()) == 1
