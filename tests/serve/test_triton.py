"""The model repository of ``mnistkit export --triton``, read by Triton's own protobuf and by our own server."""

import json
import shutil

import numpy as np
import onnxruntime
import pytest
from deploying import (
    FLOAT,
    ROOT,
    TUTORIAL,
    TensorProto,
    arrays,
    colors,
    helper,
    one_node,
    save_model,
    three_inputs,
    two_inputs,
    value,
)
from google.protobuf import text_format
from served import tensor
from tritonclient.grpc import model_config_pb2

from mnistkit.core.errors import InputError, ModelFileError, OutputError
from mnistkit.core.golden import GoldenPair, encode_golden
from mnistkit.publish import triton_repository
from mnistkit.publish.deploy.model import read_served_file
from mnistkit.publish.deploy.triton_config import labeled_output
from mnistkit.serve.repository import parse_text_format


@pytest.fixture
def written(tmp_path):
    """Write a repository; gives what was written, Triton's view of its configuration, and the model's folder."""

    def write(model, **options):
        made = triton_repository(model, tmp_path / "repository", **options)
        folder = made.path / made.name
        text = (folder / "config.pbtxt").read_text(encoding="utf-8")
        parse_text_format(text, "config.pbtxt")  # as our own server reads it
        return made, text_format.Parse(text, model_config_pb2.ModelConfig()), folder

    return write


def shapes(tensors):
    types = model_config_pb2.DataType
    return {one.name: (types.Name(one.data_type).removeprefix("TYPE_"), list(one.dims)) for one in tensors}


def test_the_tutorials_model(written):
    made, config, folder = written(TUTORIAL)
    assert (config.name, config.platform, config.backend) == ("mnist-jax", "onnxruntime_onnx", "onnxruntime")
    assert (made.max_batch_size, config.max_batch_size, made.notes) == (32, 32, ())
    assert shapes(config.input) == {"image": ("FP32", [784])}
    assert shapes(config.output) == {"probabilities": ("FP32", [10])}
    assert config.output[0].label_filename == "labels.txt"
    assert (folder / "labels.txt").read_text() == "".join(f"{digit}\n" for digit in range(10))
    assert config.version_policy.latest.num_versions == 1
    assert [(group.count, group.kind) for group in config.instance_group] == [(1, 0)]  # a GPU where there is one
    queue = config.dynamic_batching.default_queue_policy
    assert (queue.max_queue_size, queue.default_timeout_microseconds, queue.timeout_action) == (128, 30_000_000, 0)
    assert queue.allow_timeout_override
    assert (folder / "1" / "model.onnx").read_bytes() == TUTORIAL.read_bytes()
    session = onnxruntime.InferenceSession(folder / "1" / "model.onnx")
    samples = {sample.name: sample for sample in config.model_warmup}
    assert len(samples) == 5
    assert samples["golden_0_full_batch"].batch_size == 32
    for sample in samples.values():
        assert session.run(None, arrays(config, folder, sample))[0].shape == (1, 10)
    for file in made.path.rglob("*"):
        assert str(made.path.parent).encode() not in (file.read_bytes() if file.is_file() else b"")


def test_several_inputs_of_several_types(written, tmp_path):
    made, config, folder = written(three_inputs(tmp_path / "any.onnx"))
    assert shapes(config.input) == {"x": ("FP32", [2]), "ids": ("INT64", [3]), "on it": ("BOOL", [1])}
    assert shapes(config.output) == {"sum": ("FP32", [2]), "same": ("INT64", [3])}
    assert (made.max_batch_size, made.notes) == (32, ())
    assert not (folder / "labels.txt").exists()
    session = onnxruntime.InferenceSession(folder / "1" / "model.onnx")
    for sample in config.model_warmup:
        assert len(session.run(None, arrays(config, folder, sample))[0]) == 1


def test_a_model_of_another_origin_with_free_axes(written, tmp_path):
    made, config, folder = written(two_inputs(tmp_path / "two.onnx"))
    assert shapes(config.input) == {"scale": ("FP32", [1]), "words": ("FP32", [-1])}
    assert shapes(config.output) == {"scaled": ("FP32", [-1]), "sum": ("FP32", [1])}
    assert [one.HasField("reshape") for one in config.output] == [False, True]  # a row is one number
    assert list(config.output[1].reshape.shape) == []
    assert (made.max_batch_size, made.notes) == (32, ())
    assert [sample.name for sample in config.model_warmup] == ["drawn_0", "drawn_0_full_batch"]
    arrays(config, folder, config.model_warmup[0])


@pytest.mark.parametrize(("kind", "name"), [(TensorProto.FLOAT16, "FP16"), (TensorProto.DOUBLE, "FP64"),
                                            (TensorProto.BOOL, "BOOL"), (TensorProto.UINT8, "UINT8")])  # fmt: skip
def test_types(written, tmp_path, kind, name):
    _, config, folder = written(one_node(tmp_path / "x.onnx", kind=kind, shape=("n", 3)))
    assert (shapes(config.input), shapes(config.output)) == ({"x": (name, [3])}, {"y": (name, [3])})
    arrays(config, folder, config.model_warmup[0])


def test_words(written, tmp_path):
    import onnx

    path = one_node(tmp_path / "words.onnx", kind=TensorProto.STRING, shape=("n", 2))
    made, config, folder = written(path)
    assert shapes(config.input) == {"x": ("STRING", [2])}
    assert (made.max_batch_size, len(config.model_warmup)) == (32, 0)
    assert made.notes == ("no warm-up: there are no golden pairs, and no inputs could be drawn",)
    words = np.array([["sieben", "ü 数"]], dtype=object)
    model = onnx.load(path)
    model.metadata_props.add(
        key="mnistkit.golden", value=encode_golden([GoldenPair({"x": words}, {"y": words.astype(str)})])
    )
    onnx.save(model, path)
    made, config, folder = written(path)
    assert arrays(config, folder, config.model_warmup[0])["x"].tolist() == words.tolist()


@pytest.mark.parametrize(("options", "told"), [
    ({"shape": (1, 4)}, "the first axis of x: float32 [1, 4] is no free batch axis"),
    ({"shape": (4,)}, "the first axis of x: float32 [4] is no free batch axis"),
    ({"shape": ("n", "n")}, "the batch axis is a second axis of a tensor as well"),
    ({"op": "Softmax", "axis": 0}, "output y of a row depends on the other rows of the batch"),
    ({"op": "ReduceMean", "axes": [0], "keepdims": 1, "out": ("m", 4)}, "axis of y: float32 [1, 4] is no free batch"),
    ({"op": "Unique", "out": ("m",)}, "output y has not one row for each row of the inputs"),
    ({"op": "Transpose", "perm": [1, 0], "shape": ("n", "m"), "out": ("m", "n")}, "second axis of a tensor as well"),
])  # fmt: skip
def test_what_must_not_be_batched_is_not(written, tmp_path, options, told):
    made, config, _ = written(one_node(tmp_path / "x.onnx", **options))
    assert (made.max_batch_size, config.max_batch_size) == (0, 0)
    assert told in made.notes[0], made.notes
    assert not config.HasField("dynamic_batching")
    assert list(config.input[0].dims) == [
        size if isinstance(size, int) else -1 for size in options.get("shape", ("n", 4))
    ]
    assert all(sample.batch_size == 1 for sample in config.model_warmup)


def test_axes_of_different_names_are_tried(written, tmp_path):
    """tf2onnx gives the batch axis one name in the input and another one in the output."""
    assert written(one_node(tmp_path / "x.onnx", shape=("unk__6", 4), out=("unk__7", 4)))[0].max_batch_size == 32
    path = save_model(
        tmp_path / "two.onnx",
        [helper.make_node("Identity", ["a"], ["y"]), helper.make_node("Identity", ["b"], ["z"])],
        [value("a", FLOAT, ["n", 2]), value("b", FLOAT, ["m", 2])],
        [value("y", FLOAT, ["n", 2]), value("z", FLOAT, ["m", 2])],
    )
    made, _, _ = written(path)
    assert made.max_batch_size == 0
    assert "different names (m, n)" in made.notes[0]


@pytest.mark.parametrize(("options", "told"), [
    ({"shape": ()}, "is a single number without axes, which Triton does not take; reshape it to [1]"),
    ({"kind": TensorProto.BFLOAT16}, "which Triton's onnxruntime does not take; export the model with tensors"),
    ({"shape": ("n", 0)}, "can hold no numbers"),
])  # fmt: skip
def test_what_triton_does_not_take_is_refused(tmp_path, options, told):
    with pytest.raises(ModelFileError, match=r"x\.onnx") as raised:
        triton_repository(one_node(tmp_path / "x.onnx", **options), tmp_path / "repository")
    assert told in str(raised.value)
    assert list((tmp_path / "repository").iterdir()) == []


def test_a_model_of_pictures_is_refused_by_its_name(tmp_path):
    with pytest.raises(ModelFileError, match=r"takes pictures of any size .*; give the classifier's file"):
        triton_repository(ROOT / "exports" / "mnist-cnn-picture.onnx", tmp_path / "repository")


def with_labels(path):
    import onnx

    model = onnx.load(path)
    model.metadata_props.add(key="mnistkit.labels", value=json.dumps(list("0123456789")))
    onnx.save(model, path)
    return path


def test_labels_that_fit_in_no_file_are_left_out_and_said(written, tmp_path):
    _, config, folder = written(colors(tmp_path / "good.onnx"))
    assert config.output[0].label_filename == "labels.txt"
    assert (folder / "labels.txt").read_text(encoding="utf-8") == "red\ngr|een <b>\nblau ü\n"
    single = one_node(tmp_path / "single.onnx", shape=(1, 10))
    assert labeled_output(read_served_file(with_labels(single)), max_batch=0) == "y"
    several = one_node(tmp_path / "several.onnx", shape=(4, 10))  # Triton would count to 40
    assert labeled_output(read_served_file(with_labels(several)), max_batch=0) is None
    made, config, folder = written(colors(tmp_path / "bad.onnx", labels=json.dumps(["red", "two\nlines", "blue"])))
    assert config.output[0].label_filename == ""
    assert not (folder / "labels.txt").exists()
    assert "no labels.txt" in made.notes[0]


def test_other_models_and_versions_stay(written, tmp_path):
    made, _, folder = written(TUTORIAL)
    (folder.parent / "of-others").mkdir()
    (folder.parent / "of-others" / "file").write_text("theirs")
    second, config, _ = written(TUTORIAL, version=2)
    assert {"mnist-jax/1/model.onnx", "mnist-jax/2/model.onnx"} <= set(second.files)
    assert config.version_policy.latest.num_versions == 1
    assert (folder.parent / "of-others" / "file").read_text() == "theirs"
    written(two_inputs(tmp_path / "two.onnx"))
    assert made.path.joinpath("mnist-jax", "2", "model.onnx").is_file()
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    with pytest.raises(InputError, match=r"version 1 takes or gives other tensors than .*; give the new model another"):
        written(two_inputs(tmp_path / "two.onnx"), name="mnist-jax", version=3)
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


def test_what_somebody_changed_or_put_there_stays(written):
    _, _, folder = written(TUTORIAL)
    config = folder / "config.pbtxt"
    config.write_text(config.read_text().replace("max_batch_size: 32", "max_batch_size: 64"))
    with pytest.raises(OutputError, match=r"config\.pbtxt was changed since it was written"):
        written(TUTORIAL)
    assert "64" in config.read_text()
    shutil.rmtree(folder)
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.onnx").write_bytes(b"theirs")
    with pytest.raises(OutputError, match="holds files that this command did not write"):
        written(TUTORIAL)


@pytest.mark.parametrize("options", [{"name": "a/b"}, {"name": "ü"}, {"name": ""}, {"name": ".."}, {"version": 0}])
def test_names_and_versions_that_cannot_be(tmp_path, options):
    with pytest.raises(InputError, match=r"--name|--triton-version"):
        triton_repository(TUTORIAL, tmp_path / "repository", **options)
    assert not list(tmp_path.glob("repository/*"))


def test_our_own_server_takes_the_folder(written, started, tmp_path, digits):
    made, _, _ = written(TUTORIAL, name="digits")
    written(two_inputs(tmp_path / "two.onnx"))
    with started("--model-repository", made.path) as server:
        images = digits.reshape(-1, 784) / np.float32(255)
        answer = server.infer({"inputs": [tensor(images)]}, model="digits").json
        scores = np.reshape(answer["outputs"][0]["data"], (10, 10))
        expected = onnxruntime.InferenceSession(TUTORIAL).run(None, {"image": images})[0]
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-6)
        two = {"inputs": [tensor([[2.0]], name="scale"), tensor([[1.0, 2.0, 3.0]], name="words")]}
        outputs = {one["name"]: one["data"] for one in server.infer(two, model="two").json["outputs"]}
        assert outputs == {"scaled": [2.0, 4.0, 6.0], "sum": [12.0]}
        (made.path / "digits" / "config.pbtxt").write_text('name: "other"')
        assert server.post("/v2/repository/models/digits/load", {}).status == 400  # the configuration does count


def test_the_command(cli, fails, tmp_path):
    ran = cli("export", TUTORIAL, "--triton", tmp_path / "repository", "--name", "digits", "--triton-version", "7")
    assert (ran.code, ran.err) == (0, "")
    assert "digits/7/model.onnx" in ran.out
    made = json.loads(cli("export", TUTORIAL, "--triton", tmp_path / "other", "--json").out)["triton"]
    assert (made["name"], made["version"], made["max_batch_size"]) == ("mnist-jax", 1, 32)
    assert "--triton-version belongs to --triton; add --triton DIR" in fails("export", TUTORIAL, "--web", "site",
                                                                             "--triton-version", "2")  # fmt: skip
    assert "--name belongs to --triton, --kserve and --kubernetes" in fails("export", TUTORIAL, "--hub", tmp_path / "h",
                                                                            "--name", "x")  # fmt: skip
    (tmp_path / "file").write_text("")
    assert "there is a file or link of this name" in fails("export", TUTORIAL, "--triton", tmp_path / "file")
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    assert "not a model that onnxruntime" in fails("export", tmp_path / "broken.onnx", "--triton", tmp_path / "other")


def test_weights_in_a_second_file_go_along(written, tmp_path):
    import onnx

    weights = onnx.numpy_helper.from_array(np.float32([1, 2, 3, 4]), "w")
    path = save_model(
        tmp_path / "large.onnx",
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        [value("x", FLOAT, ["n", 4])],
        [value("y", FLOAT, ["n", 4])],
        [weights],
    )
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    made, _, folder = written(path)
    assert "large/1/weights.bin" in made.files
    session = onnxruntime.InferenceSession(folder / "1" / "model.onnx")
    assert session.run(None, {"x": np.ones((1, 4), np.float32)})[0].tolist() == [[1, 2, 3, 4]]
