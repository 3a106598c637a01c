"""The folder for a model hub: complete, true to the file, and never in the way of other files."""

import json
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from exported_files import colors, three_inputs
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from mnistkit import Classifier
from mnistkit.core.errors import InputError, ModelFileError, OutputError, ParityError
from mnistkit.publish import hub, hub_folder, model_facts, verify_hub_folder
from mnistkit.publish.front_matter import read_accuracy

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "examples" / "digit.png"
FILES = ("README.md", "config.json", "mnistkit-folder.json", "onnx/model.onnx", "onnx/model_picture.onnx",
         "preprocessor_config.json")  # fmt: skip


def copy_model(folder, *, name="mnist-cnn", picture=True):
    """A model with what lies beside it."""
    folder.mkdir()
    for end in (".onnx", ".onnx.json", *(["-picture.onnx"] if picture else [])):
        shutil.copy(ROOT / "exports" / f"{name}{end}", folder)
    return folder / f"{name}.onnx"


@pytest.fixture
def model(tmp_path):
    return copy_model(tmp_path / "model")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    return hub_folder(copy_model(folder / "model"), folder / "digits", license_id="mit")


@pytest.fixture
def copied(made, tmp_path):
    """The folder, for a test that changes it."""
    return Path(shutil.copytree(made.path, tmp_path / "copied"))


def python_of(card):
    return re.findall(r"```python\n(.*?)```", card, re.DOTALL)


def run(code, folder):
    return subprocess.check_output([sys.executable, "-W", "error", "-c", code], cwd=folder, text=True).split()


def test_it_holds_what_the_hub_expects(made):
    assert made.files == FILES
    assert made.notes == ()
    card = (made.path / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlicense: mit\nlibrary_name: onnx\npipeline_tag: image-classification\ntags:\n- onnx\n")
    assert "datasets:\n- ylecun/mnist\nmetrics:\n- accuracy\n" in card
    assert read_accuracy(card) == "0.9964"
    for told in ("0.9964 on 10,000 test images of MNIST", "| Parameters | 129,546 |", "opset 17, IR version 8",
                 "1 thread, onnxruntime ", "| test images | 1, 2, 3, 64, 10000 | 1.3e-06 | 9.3e-05 |",
                 "mnistkit verify onnx/model.onnx", "| optimizer | adamw |", "Ink is bright"):  # fmt: skip
        assert told in card, told
    config = json.loads((made.path / "config.json").read_text())
    assert config["id2label"] == {str(digit): str(digit) for digit in range(10)}
    assert config["label2id"] == {str(digit): digit for digit in range(10)}
    verify_hub_folder(made.path)


def test_the_images_that_count_as_mnist_are_the_embedded_ones(mnist):
    assert mnist.sha256 == model_facts.DATASET_SHA256


def test_the_rules_of_the_preprocessor_give_the_classifiers_answers(made, mnist):
    rules = json.loads((made.path / "preprocessor_config.json").read_text())
    assert rules["size"] == {"height": 28, "width": 28}
    assert (rules["do_convert_rgb"], rules["do_normalize"]) == (False, False)
    pixel_values = mnist.x_test[:50, None].astype(np.float32) * np.float32(rules["rescale_factor"])
    session = onnxruntime.InferenceSession(made.path / "onnx" / "model.onnx")
    answers = session.run(None, {"image": pixel_values.reshape(50, 784)})[0]
    expected = Classifier(made.path / "onnx" / "model.onnx", device="cpu").probabilities(mnist.x_test[:50])
    np.testing.assert_allclose(answers, expected, rtol=0, atol=1e-6)
    with pytest.raises(AssertionError):  # other rules give other answers
        np.testing.assert_allclose(
            session.run(None, {"image": 1 - pixel_values.reshape(50, 784)})[0], expected, atol=1e-6
        )


def test_its_python_reads_a_picture(made, copied, mnist):
    from_picture, from_image = python_of((made.path / "README.md").read_text(encoding="utf-8"))
    shutil.copy(PICTURE, copied / "picture.png")
    digit, probability = run(from_picture, copied)
    expected = Classifier(ROOT / "exports" / "mnist-cnn.onnx", device="cpu").predict_picture(PICTURE)
    assert int(digit) == expected.digit == 7
    assert abs(float(probability) - expected.probabilities.max()) < 1e-5
    Image.fromarray(mnist.x_test[1]).save(copied / "picture.png")
    digit, probability = run(from_image, copied)
    assert (digit, float(probability) > 0.9) == (str(mnist.y_test[1]), True)
    Image.new("RGB", (50, 40), "white").save(copied / "picture.png")
    assert run(from_picture, copied)[:2] == ["nothing", "drawn"]


def test_it_is_the_same_every_time_but_for_the_latency_and_names_no_place(model, made, tmp_path):
    again = hub_folder(model, tmp_path / "again", license_id="mit").path
    assert [name for name in FILES if (again / name).read_bytes() != (made.path / name).read_bytes()] in (
        ["README.md", "mnistkit-folder.json"],
        [],
    )
    first, second = ((folder / "README.md").read_text(encoding="utf-8") for folder in (again, made.path))
    assert re.sub(r"[\d.e-]+ ms", "? ms", first) == re.sub(r"[\d.e-]+ ms", "? ms", second)
    for name in FILES:
        content = (again / name).read_bytes()
        for word in (str(tmp_path), str(ROOT), f"{Path.home()}/"):
            assert word.encode() not in content, (name, word)
        if not name.endswith(".onnx"):
            assert not re.search(rf"\b{re.escape(socket.gethostname())}\b", content.decode()), name


def test_the_picture_file_is_made_where_it_is_missing(tmp_path):
    found = hub_folder(copy_model(tmp_path / "model", picture=False), tmp_path / "hub")
    assert found.files == FILES
    assert [note for note in found.notes if "license" not in note] == []
    assert (found.path / "README.md").read_text(encoding="utf-8").startswith("---\n# license: fill in, for example mit")


def test_an_own_folder_is_replaced_as_a_whole_and_others_stay(model, copied, tmp_path):
    (copied / "onnx" / "model_picture.onnx").unlink()
    found = hub_folder(model, copied, license_id="apache-2.0")
    assert found.files == FILES
    assert "license: apache-2.0" in (copied / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    (copied / "notes.txt").write_text("mine")
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    with pytest.raises(OutputError, match=r"did not write \(notes.txt\); name a new or empty folder"):
        hub_folder(model, copied)
    (copied / "notes.txt").unlink()
    (copied / "README.md").write_text("edited")
    with pytest.raises(OutputError, match=r"README.md was changed since .*; move it away"):
        hub_folder(model, copied)
    changed = {copied / "notes.txt", copied / "README.md"}
    assert all(path.read_bytes() == content for path, content in before.items() if path not in changed)
    assert (copied / "README.md").read_text() == "edited"


@pytest.mark.parametrize("step", ["add_variants", "time_runs", "_check_contents"])
def test_an_interrupted_run_leaves_the_older_folder(model, copied, tmp_path, monkeypatch, step):
    def interrupt(*_):
        raise KeyboardInterrupt

    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    monkeypatch.setattr(hub, step, interrupt)
    for target in (copied, tmp_path / "new"):
        with pytest.raises(KeyboardInterrupt):
            hub_folder(model, target)
    assert {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copied", "model"]


def change(file, old, new):
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def rewrite_manifest(folder, name):
    """As if the command had written the changed file."""
    manifest = json.loads((folder / "mnistkit-folder.json").read_text())
    manifest["files"][name] = hub.digest(folder / name)
    (folder / "mnistkit-folder.json").write_text(json.dumps(manifest))


CHANGES = {
    "another accuracy": ("README.md", "value: 0.9964", "value: 0.9999", "says accuracy 0.9999, and .* says 0.9964"),
    "another in the text": ("README.md", "| 0.9964 on", "| 0.9999 on", "says accuracy 0.9999, and .* says 0.9964"),
    "no accuracy": ("README.md", "    - type: accuracy\n      value: 0.9964\n", "", "says accuracy None"),
    "no front matter": ("README.md", "---\nlicense", "license", "no front matter"),
    "other classes": ("config.json", '"0": "0"', '"0": "zero"', "its classes are not those"),
    "other rules": ("preprocessor_config.json", "0.0039", "0.0078", "not the preprocessing"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_folder_that_contradicts_its_model_is_found(copied, case):
    name, old, new, words = CHANGES[case]
    change(copied / name, old, new)
    if name != "README.md":
        with pytest.raises(ModelFileError, match="was changed since the folder was written"):
            verify_hub_folder(copied)
    rewrite_manifest(copied, name)
    with pytest.raises(ModelFileError, match=words):
        verify_hub_folder(copied)


def test_a_changed_or_missing_file_is_found_and_an_edited_card_is_fine(copied):
    change(copied / "README.md", "license: mit", "license: apache-2.0")
    verify_hub_folder(copied)
    (copied / "onnx" / "model_picture.onnx").unlink()
    with pytest.raises(ModelFileError, match=r"model_picture.onnx: it is missing"):
        verify_hub_folder(copied)
    with pytest.raises(ModelFileError, match="no folder that"):
        verify_hub_folder(copied / "onnx")


def test_a_json_about_another_file_is_refused(model, tmp_path):
    beside = model.with_name("mnist-cnn.onnx.json")
    text = beside.read_text()
    beside.write_text(text.replace('"onnxruntime": 0.9964', '"onnxruntime": 0.9999'))
    with pytest.raises(
        ModelFileError, match=r"it says accuracy 0.9999, and the file says 0.9964; export the model again"
    ):
        hub_folder(model, tmp_path / "hub")
    beside.write_text(text.replace(json.loads(text)["sha256"][:8], "00000000"))
    with pytest.raises(ModelFileError, match="about another file of this name"):
        hub_folder(model, tmp_path / "hub")
    damaged = [('"largest"', '"smallest"'), ('"onnxruntime": 0.9964', '"onnxruntime": []'),
               ('"batch_size"', '"size"'), ('"settings": {', '"settings": [1], "a": {')]  # fmt: skip
    for old, new in damaged:
        beside.write_text(text.replace(old, new))
        with pytest.raises(ModelFileError, match=r"onnx.json: it is damaged"):
            hub_folder(model, tmp_path / "hub")
    assert not (tmp_path / "hub").exists()
    beside.unlink()
    found = hub_folder(model, tmp_path / "hub")
    assert found.notes[0].startswith("no mnist-cnn.onnx.json beside the file")
    card = (found.path / "README.md").read_text(encoding="utf-8")
    assert "0.9964 on the inputs with known answers that were given at the export" in card
    assert "## Training" not in card


def halved(source, target):
    """The model with float16 weights, cast where they are used."""
    proto = onnx.load(source)
    casts = []
    for tensor in proto.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            half, name = numpy_helper.to_array(tensor).astype(np.float16), tensor.name
            tensor.CopyFrom(numpy_helper.from_array(half, f"{name}_half"))
            casts.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    onnx.save(proto, target)


def quantized(source, target):
    """The model with its kernels in bytes."""
    proto = onnx.load(source)
    kernels = [one for one in proto.graph.initializer if one.data_type == TensorProto.FLOAT and len(one.dims) > 1]
    for tensor in kernels:
        values, name = numpy_helper.to_array(tensor), tensor.name
        step = np.float32(np.abs(values).max() / 127)
        tensor.CopyFrom(numpy_helper.from_array(np.rint(values / step).astype(np.int8), f"{name}_bytes"))
        proto.graph.initializer.append(numpy_helper.from_array(step, f"{name}_step"))
        proto.graph.node.insert(0, helper.make_node("DequantizeLinear", [f"{name}_bytes", f"{name}_step"], [name]))
    onnx.save(proto, target)


def test_files_of_other_types_are_taken_for_what_they_are(tmp_path):
    model = copy_model(tmp_path / "model", name="mnist-jax", picture=False)
    halved(model, model.with_name("mnist-jax-fp16.onnx"))
    quantized(model, model.with_name("mnist-jax-int8.onnx"))
    found = hub_folder(model, tmp_path / "hub")
    assert {"onnx/model_fp16.onnx", "onnx/model_quantized.onnx"} <= set(found.files)
    card = (found.path / "README.md").read_text(encoding="utf-8")
    told = r"8-bit weights, accuracy 0.94\d\d; answers differ by up to [\d.e-]+ on the golden inputs"
    assert re.search(rf"`onnx/model_quantized.onnx` \| the same model with {told} \|", card)
    assert "not measured on the test set: `onnx/model_picture.onnx`." in card
    verify_hub_folder(found.path)


def test_files_that_are_not_what_their_name_says_are_refused(model, tmp_path):
    other = model.with_name("mnist-cnn-int8.onnx")
    shutil.copy(model, other)
    with pytest.raises(
        ModelFileError, match="its name says int8, its weights are float32; convert the model, or rename"
    ):
        hub_folder(model, tmp_path / "hub")
    quantized(ROOT / "exports" / "mnist-cnn.onnx", other)
    proto = onnx.load(other)
    proto.graph.node.append(helper.make_node("Neg", [proto.graph.output[0].name], ["negated"]))
    proto.graph.output[0].name = "negated"
    onnx.save(proto, other)
    with pytest.raises(ModelFileError, match=r"its inputs or outputs are not those of mnist-cnn.onnx"):
        hub_folder(model, tmp_path / "hub")
    proto = onnx.load(ROOT / "exports" / "mnist-cnn.onnx")
    for node in proto.graph.node:
        node.output[:] = ["before" if name == "probabilities" else name for name in node.output]
    proto.graph.node.append(helper.make_node("Neg", ["before"], ["probabilities"]))
    onnx.save(proto, tmp_path / "negated.onnx")
    quantized(tmp_path / "negated.onnx", other)
    with pytest.raises(ModelFileError, match="so it is another model"):
        hub_folder(model, tmp_path / "hub")
    other.unlink()
    shutil.copy(ROOT / "exports" / "mnist-cnn-picture.onnx", model.with_name("mnist-cnn-picture.onnx"))
    shutil.copy(ROOT / "exports" / "mnist-jax.onnx", model)
    model.with_name("mnist-cnn.onnx.json").unlink()
    with pytest.raises(ModelFileError, match=r"its weights are not those of mnist-cnn.onnx"):
        hub_folder(model, tmp_path / "hub")
    assert not (tmp_path / "hub").exists()


def test_what_is_no_exported_file_is_refused(tmp_path, foreign):
    with pytest.raises(ModelFileError, match="give the classifier's file, and this one goes"):
        hub_folder(ROOT / "exports" / "mnist-cnn-picture.onnx", tmp_path / "hub")
    with pytest.raises(ModelFileError, match="carries no golden pairs"):
        hub_folder(foreign, tmp_path / "hub")
    with pytest.raises(InputError, match="license 'My License'"):
        hub_folder(foreign, tmp_path / "hub", license_id="My License")
    proto = onnx.load(ROOT / "exports" / "mnist-jax.onnx")
    proto.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(
            numpy_helper.to_array(proto.graph.initializer[0]) * 1.1, proto.graph.initializer[0].name
        )
    )
    onnx.save(proto, foreign)
    with pytest.raises(ParityError):
        hub_folder(foreign, tmp_path / "hub")


@pytest.fixture
def foreign(tmp_path):
    """A file that mnistkit did not export."""
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", inputs, outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_weights_beside_the_file_come_along(model, tmp_path):
    onnx.save(onnx.load(model), model, save_as_external_data=True, location="weights.bin")
    beside = model.with_name("mnist-cnn.onnx.json")
    provenance = json.loads(beside.read_text())
    beside.unlink()
    with pytest.raises(ModelFileError, match=r"its weights are in another file, and .* does not name it"):
        hub_folder(model, tmp_path / "hub")
    provenance |= {"sha256": hub.digest(model), "external_data": {"name": "weights.bin", "size": 1}}
    beside.write_text(json.dumps(provenance))
    found = hub_folder(model, tmp_path / "hub")
    assert "onnx/weights.bin" in found.files
    assert "onnx/weights.bin" in (found.path / "README.md").read_text(encoding="utf-8")
    verify_hub_folder(found.path)


def test_any_file_has_a_card_with_python_that_runs(tmp_path):
    found = hub_folder(three_inputs(tmp_path / "three.onnx"), tmp_path / "hub", license_id="mit")
    assert found.files == ("README.md", "config.json", "mnistkit-folder.json", "onnx/model.onnx")
    assert found.notes == ("no three.onnx.json beside the file: the card has no table of the check",)
    card = (found.path / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag" not in card
    assert "model-index" not in card
    assert "`x` float32 [n, 2]<br>`ids` int64 [n, 3]<br>`on it` bool [n, 1]" in card
    (code,) = python_of(card)
    assert run(code, found.path) == ["sum", "[[0.", "0.]", "[0.", "0.]]", "same", "[[0", "0", "0]", "[0", "0", "0]]"]
    assert json.loads((found.path / "config.json").read_text())["model_type"] == "custom"
    verify_hub_folder(found.path)


@pytest.mark.parametrize("layout", ["hwc", "chw"])
def test_a_classifier_of_pictures_has_its_own_classes_and_rules(tmp_path, layout):
    model = colors(tmp_path / "colors.onnx", layout=layout, test_accuracy="0.7500")
    found = hub_folder(model, tmp_path / "hub", license_id="mit").path
    card = (found / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag: image-classification" in card
    assert "| Classes | red, gr&#124;een &lt;b>, blau ü |" in card
    assert read_accuracy(card) == "0.7500"
    rules = json.loads((found / "preprocessor_config.json").read_text())
    assert (rules["rescale_factor"], rules["image_mean"], rules["image_std"]) == (1 / 127.5, [1.0] * 3, [1.0] * 3)
    Image.new("RGB", (30, 20), (10, 20, 250)).save(found / "picture.png")
    blue, ue, probability = run(*python_of(card), found)
    assert (blue, ue) == ("blau", "ü")
    levels = np.full((1, 8, 8, 3), (10, 20, 250), np.float32)
    pixel_values = (levels * rules["rescale_factor"] - rules["image_mean"]) / rules["image_std"]
    batch = pixel_values.transpose(0, 3, 1, 2) if layout == "chw" else pixel_values
    answer = onnxruntime.InferenceSession(model).run(None, {"picture": batch.astype(np.float32)})[0]
    assert abs(float(probability) - answer[0, 2]) < 1e-5


@pytest.mark.parametrize(
    "parameters",
    [{"side": 8}, {"scale": 1.0}, {"side": 9, "scale": 1.0}, {"side": 8, "scale": "1"}, {"side": True, "scale": 1}],
    ids=str,
)
def test_rules_that_the_file_does_not_say_are_not_invented(tmp_path, parameters):
    found = hub_folder(colors(tmp_path / "colors.onnx", parameters=parameters), tmp_path / "hub")
    assert "preprocessor_config.json" not in found.files
    assert any(note.startswith("no preprocessor_config.json and no pipeline_tag") for note in found.notes)
    card = (found.path / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag" not in card
    assert "Classifies its inputs into 3 classes" in card
    assert next(iter(json.loads((found.path / "config.json").read_text())["id2label"].values())) == "red"


def test_an_exported_file_is_taken_by_the_command_without_keras(model, tmp_path, cli, fails, python):
    code = (
        "import sys\nfrom mnistkit.cli import main\nassert main(sys.argv[1:]) == 0\n"
        "assert not {'keras', 'onnx', 'torch', 'jax', 'tensorflow'} & set(sys.modules)"
    )
    ran = python("-c", code, "export", model, "--hub", "hub", "--license", "mit", cwd=tmp_path)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"wrote hub: {', '.join(FILES)}\n"
    verify_hub_folder(tmp_path / "hub")
    told = json.loads(cli("export", model, "--hub", tmp_path / "hub", "--json", "--quiet").out)
    assert told["hub"]["files"] == list(FILES)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    assert "did not write (notes.txt)" in fails("export", model, "--hub", tmp_path / "mine")
    assert "license 'MIT License': expected an identifier" in fails(
        "export", model, "--hub", tmp_path / "hub", "--license", "MIT License"
    )
    assert "--license belongs to --hub" in fails("export", model, "--license", "mit")
    assert "--opset: " in fails("export", model, "--hub", tmp_path / "hub", "--opset", "18")
