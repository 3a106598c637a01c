"""A hub folder is read by what people use of hubs: onnxruntime-node, transformers.js, huggingface_hub, MLflow."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from exported_files import colors, three_inputs
from PIL import Image

from mnistkit import Classifier
from mnistkit.core.errors import ModelFileError
from mnistkit.publish import hub_folder, verify_hub_folder
from mnistkit.publish.front_matter import read_accuracy

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
NODE = shutil.which("node")
TOLERANCE = 1e-5


def needs(folder):
    return pytest.mark.skipif(
        NODE is None or not (EXAMPLES / folder / "node_modules").is_dir(),
        reason=f"Node.js or the packages of examples/{folder} are missing: run python tools/node_packages.py",
    )


def needs_package(name):
    return pytest.mark.skipif(
        importlib.util.find_spec(name) is None, reason=f"{name} is missing: run pip install {name}"
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return hub_folder(ROOT / "exports" / "mnist-cnn.onnx", tmp_path_factory.mktemp("hub") / "digits").path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, mnist):
    """Dark on light and light on dark, gray and in color, of several sizes."""
    made = tmp_path_factory.mktemp("pictures")
    for number, digit in enumerate(mnist.x_test[:8]):
        page = np.pad(np.kron(digit, np.ones((1 + number,) * 2, np.uint8)), 5 * number)
        image = Image.fromarray(page if number % 2 else 255 - page)
        (image.convert("RGB") if number % 3 else image).save(made / f"{number}.png")
    return [EXAMPLES / "digit.png", *sorted(made.iterdir())]


@pytest.fixture(scope="module")
def expected(pictures):
    classifier = Classifier(ROOT / "exports" / "mnist-cnn.onnx")
    return [classifier.predict_picture(path) for path in pictures]


def assert_same(answers, expected):
    assert [answer["digit"] for answer in answers] == [one.digit for one in expected]
    for answer, one in zip(answers, expected, strict=True):
        np.testing.assert_allclose(answer["probabilities"], one.probabilities, rtol=0, atol=TOLERANCE)


def run(*command, cwd=None):
    return subprocess.check_output([str(part) for part in command], cwd=cwd, text=True, stderr=subprocess.PIPE)


@needs("node")
def test_onnxruntime_node_reads_its_picture_file(folder, pictures, expected):
    model = folder / "onnx" / "model_picture.onnx"
    answers = json.loads(run(NODE, EXAMPLES / "node" / "digit.mjs", "--json", "--model", model, *pictures))
    assert_same(answers, expected)
    with pytest.raises(AssertionError):  # the comparison can fail
        assert_same(answers[1:], expected[:-1])


@needs("transformers-js")
def test_transformers_js_reads_the_folder(folder, pictures, expected):
    lines = run(NODE, EXAMPLES / "transformers-js" / "read.mjs", folder, *pictures).splitlines()
    assert_same([json.loads(line) for line in lines], expected)


def javascript_of(folder, picture):
    """The examples of a card, each with the example whose packages it needs."""
    card = (folder / "README.md").read_text(encoding="utf-8")
    here = f"env.allowRemoteModels = false; env.localModelPath = {json.dumps(str(folder.parent))};\n"
    for code in re.findall(r"```js\n(.*?)```", card, re.DOTALL):
        script = code.replace("picture.png", str(picture)).replace('"onnx/', f'"{folder}/onnx/')
        if "transformers" in code:
            script = f'import {{ env }} from "@huggingface/transformers";\n{here}' + script.replace(
                "USER/NAME", folder.name
            )
        yield "transformers-js" if "transformers" in code else "node", script


def run_card(packages, code, folder):
    folder.mkdir()
    (folder / "node_modules").symlink_to(EXAMPLES / packages / "node_modules")
    (folder / "card.mjs").write_text(code, encoding="utf-8")
    return run(NODE, folder / "card.mjs")


@needs("node")
@needs("transformers-js")
def test_the_javascript_of_the_card_runs(folder, tmp_path):
    found = list(javascript_of(folder, EXAMPLES / "digit.png"))
    assert [packages for packages, _ in found] == ["node", "transformers-js"]
    for packages, code in found:
        digit, probability = run_card(packages, code, tmp_path / packages).split()
        assert (digit, round(float(probability), 3)) == ("7", 0.99)


@needs("node")
@needs("transformers-js")
def test_the_javascript_of_any_card_runs(tmp_path):
    given = hub_folder(three_inputs(tmp_path / "three.onnx"), tmp_path / "three").path
    zeros = [run_card(packages, code, tmp_path / packages) for packages, code in javascript_of(given, "")]
    assert [sorted(set(re.findall(r"^\w+", shown, re.MULTILINE))) for shown in zeros] == [["same", "sum"]] * 2
    Image.new("RGB", (30, 20), (10, 20, 250)).save(tmp_path / "blue.png")
    for layout in ("hwc", "chw"):
        model = colors(tmp_path / "colors.onnx", layout=layout)
        given = hub_folder(model, tmp_path / layout).path
        ((packages, code),) = javascript_of(given, tmp_path / "blue.png")
        *name, probability = run_card(packages, code, tmp_path / f"{layout}-card").split()
        levels = np.broadcast_to(np.float32([10, 20, 250]) / np.float32(127.5) - 1, (1, 8, 8, 3))
        batch = levels if layout == "hwc" else levels.transpose(0, 3, 1, 2)
        answer = onnxruntime.InferenceSession(model).run(None, {"picture": np.ascontiguousarray(batch)})[0]
        assert name == ["blau", "ü"]
        assert abs(float(probability) - answer[0, 2]) < TOLERANCE


@needs_package("huggingface_hub")
def test_huggingface_hub_understands_the_card(folder, tmp_path):
    from huggingface_hub import ModelCard, ModelCardData

    data = ModelCard.load(folder / "README.md").data
    assert isinstance(data, ModelCardData)
    assert (data.pipeline_tag, data.library_name, data.license) == ("image-classification", "onnx", None)
    assert (data.tags, data.datasets, data.metrics) == (
        ["onnx", "onnxruntime", "keras"],
        ["ylecun/mnist"],
        ["accuracy"],
    )
    (result,) = data.eval_results
    assert (result.task_type, result.dataset_type, result.dataset_name, result.dataset_split) == (
        "image-classification",
        "ylecun/mnist",
        "MNIST",
        "test",
    )
    said = Classifier(folder / "onnx" / "model.onnx")._runtime.metadata["test_accuracy"]
    assert (result.metric_type, result.metric_value) == ("accuracy", float(said))
    # what huggingface_hub writes back is read and checked as well
    copied = Path(shutil.copytree(folder, tmp_path / "copied"))
    card = ModelCard.load(copied / "README.md")
    card.data.license = "mit"
    card.save(copied / "README.md")
    verify_hub_folder(copied)
    card.data.eval_results[0].metric_value = 0.9999
    card.save(copied / "README.md")
    assert read_accuracy((copied / "README.md").read_text(encoding="utf-8")) == "0.9999"
    with pytest.raises(ModelFileError, match=r"says accuracy 0.9999"):
        verify_hub_folder(copied)


@needs_package("mlflow")
def test_mlflow_keeps_the_file_and_its_signature():
    shown = run(sys.executable, EXAMPLES / "mlflow" / "log_and_load.py", ROOT / "exports" / "mnist-jax.onnx")
    assert "['image': Tensor('float32', (-1, 784))]" in shown
    assert "probabilities: same answers by mlflow.onnx and by pyfunc, [2, 10]" in shown
