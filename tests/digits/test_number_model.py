"""The file that reads numbers by itself: the strings of the reader, and a refusal where it would say others."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from PIL import Image

from mnistkit.core.comparison import verify_file
from mnistkit.core.errors import ModelFileError, ParityError, PictureError
from mnistkit.core.runtime import Runtime
from mnistkit.digits.classifier import Classifier
from mnistkit.digits.number_graph.answer import OUTPUTS
from mnistkit.digits.number_graph.examples import example_pages, page
from mnistkit.digits.number_model import build_number_model, export_number_model, verify_against_reader
from mnistkit.digits.numbers import read_digits
from mnistkit.digits.reader.confidence import RIGHT, THERE

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def numbers(tmp_path_factory, asset):
    return export_number_model(asset, tmp_path_factory.mktemp("numbers") / "number.onnx")


@pytest.fixture(scope="module")
def runtime(numbers):
    return Runtime(numbers, device="cpu")


def read(runtime, picture):
    answer = runtime.run({"picture": np.ascontiguousarray(picture)})
    return answer["text"].tobytes().decode(), answer


BARE = """
import json, sys
import numpy, onnxruntime
from PIL import Image
session = onnxruntime.InferenceSession(sys.argv[1])
for path in sys.argv[2:]:
    text, doubt = session.run(["text", "in_doubt"], {"picture": numpy.asarray(Image.open(path).convert("RGBA"))})
    print(json.dumps([bytes(text).decode(), bool(doubt)]))
assert not any(name.startswith("mnistkit") for name in sys.modules)
"""


def test_bare_onnxruntime_gives_the_readers_strings(numbers, classifier, tmp_path):
    paths = [str(ROOT / "examples" / "digit.png")]
    for number, picture in enumerate(example_pages()):
        paths.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(picture.squeeze()).save(paths[-1])
    done = subprocess.run([sys.executable, "-c", BARE, numbers, *paths], capture_output=True, text=True, check=True)
    expected = []
    for path in paths:
        try:
            expected.append([read_digits(classifier, path).text, False])
        except PictureError:
            expected.append(["", False])
    assert [json.loads(line) for line in done.stdout.splitlines()] == expected
    assert done.stderr == ""
    assert len({text for text, _ in expected}) >= 7


def test_composed_pages(runtime, classifier, mnist):
    """Touching, ruled, turned, dates, print: the same string wherever the file is not in doubt."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from read_numbers import KINDS, compose
    from read_signs import compose as compose_signs

    from mnistkit.digits.pictures import decode

    generators = [np.random.default_rng([5, *kind.encode()]) for kind in KINDS]
    contents = [
        compose(mnist.x_test, mnist.y_test, generator, **kind)[1]
        for generator, kind in zip(generators, KINDS.values(), strict=True)
    ]
    contents += [compose_signs(mnist.x_test, mnist.y_test, np.random.default_rng([5, n]))[1] for n in range(4)]
    doubts = verify_against_reader(runtime, classifier, [decode(content) for content in contents])
    assert doubts <= len(contents) / 2


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 4), (1, 300, 3), (2800, 1, 1), (3, 2, 2), (64, 64, 2)])
def test_nothing_on_pictures_of_any_shape(runtime, shape):
    text, answer = read(runtime, np.full(shape, 200, np.uint8))
    assert text == ""
    assert answer["confidence"] == 0
    assert {name: (str(value.dtype), value.ndim) for name, value in answer.items()} == {
        name: (dtype, len(sizes)) for name, (dtype, sizes) in OUTPUTS.items()
    }
    assert answer["boxes"].shape == (0, 4)
    assert answer["probabilities"].shape == (0, 10)


def test_noise_and_dots_end(runtime, classifier):
    dots = np.full((600, 900, 1), 255, np.uint8)
    dots[::13] = dots[:, ::13] = 20
    noise = np.random.default_rng(0).integers(0, 256, (500, 700, 3), dtype=np.uint8)
    verify_against_reader(runtime, classifier, [dots, noise, 255 - dots])


def test_outputs_of_two_rows(runtime, classifier):
    text, answer = read(runtime, example_pages()[1])
    number = classifier.read_digits(example_pages()[1])
    assert text == number.text
    assert "\n" in text
    assert " " in text
    assert answer["digits"].tolist() == [digit.digit for digit in number.digits]
    assert answer["rows"].tolist() == [digit.row for digit in number.digits]
    assert answer["after_gap"].tolist() == [digit.after_gap for digit in number.digits]
    probabilities = [digit.probabilities for digit in number.digits]
    np.testing.assert_allclose(answer["probabilities"], probabilities, rtol=0, atol=0.01)
    np.testing.assert_allclose(answer["confidences"], answer["probabilities"].max(1), rtol=1e-6)


def test_what_may_be_a_sign_is_in_doubt(runtime):
    digits = page([[0, 1, 2, 3]], scale=3)
    plus = np.full((digits.shape[0], 90), 255, np.uint8)
    middle = digits.shape[0] // 2
    plus[middle - 3 : middle + 3, 25:65] = plus[middle - 20 : middle + 20, 42:48] = 40
    text, answer = read(runtime, np.concatenate([digits, plus, digits], 1)[..., None])
    assert answer["in_doubt"] or len(text.replace(" ", "")) == 8


def test_golden_pairs_prove_the_file_and_notice_a_change(numbers):
    assert verify_file(numbers).pairs == 4
    model = onnx.load(numbers)
    weights = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    array = -onnx.numpy_helper.to_array(weights)
    weights.CopyFrom(onnx.numpy_helper.from_array(array, weights.name))
    with pytest.raises(ParityError):
        verify_file(model.SerializeToString())


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("vote.THERE", (*THERE[:-1], -30.0), "page 0, 244 x 104: the file reads ''"),
        ("vote.RIGHT", (*RIGHT[:-1], RIGHT[-1] - 1), "page 0, 244 x 104: confidence"),
    ],
)
def test_a_file_that_reads_otherwise_is_not_written(asset, tmp_path, monkeypatch, place, value, message):
    monkeypatch.setattr(f"mnistkit.digits.number_graph.{place}", value)
    with pytest.raises(ParityError, match=message):
        export_number_model(asset, tmp_path / "wrong.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_always_in_doubt_is_refused(asset, monkeypatch, classifier):
    for limit in ("_SMALL", "_TALL"):
        monkeypatch.setattr(f"mnistkit.digits.number_graph.answer.{limit}", 1.0)
    monkeypatch.setattr("mnistkit.digits.number_graph.shapes._ON_AXES", -1.0)
    model = build_number_model(asset)
    pages = [picture for picture in example_pages() if picture.min() < 100][:3]
    with pytest.raises(ParityError, match=r"is in doubt on \d of 3 pages"):
        verify_against_reader(Runtime(model.SerializeToString(), device="cpu"), classifier, pages)


def test_what_is_no_such_classifier_is_refused(numbers, asset, tmp_path):
    with pytest.raises(ModelFileError, match="needs opset 17 alone"):
        build_number_model(numbers)
    with pytest.raises(ModelFileError, match="cannot be read"):
        export_number_model(tmp_path / "none.onnx", tmp_path / "out.onnx")
    model = onnx.load(asset)
    entry = next(entry for entry in model.metadata_props if entry.key == "mnistkit.labels")
    entry.value = json.dumps(list("abcdefghij"))
    with pytest.raises(ModelFileError, match="needs a classifier with the labels 0 to 9"):
        build_number_model(model.SerializeToString())
    model = onnx.load(asset)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    with pytest.raises(ModelFileError, match="needs a free batch axis, the classifier has 1"):
        build_number_model(model.SerializeToString())
    with pytest.raises(ModelFileError, match="reads whole pictures of digits by itself"):
        Classifier(numbers)


def test_the_command_line_knows_the_file(numbers, cli, fails, asset):
    assert "4 golden pairs answered alike" in cli("verify", numbers).out
    shown = cli("info", numbers).out
    assert "in_doubt" in shown
    assert "kind" in shown
    assert "give the classifier that it was made from" in fails(
        "predict", "--model", numbers, ROOT / "examples/digit.png"
    )
    assert "--number belongs to --picture" in fails("export", asset, "--number")


def test_same_bytes_each_time(numbers, asset):
    assert build_number_model(asset).SerializeToString(deterministic=True) == numbers.read_bytes()


def test_export_writes_it_in_place_of_the_picture_file(tmp_path, capsys):
    """Here with the tutorial's classifier, which takes rows of 784."""
    from mnistkit.cli.export import _picture_file
    from mnistkit.cli.parser import build_parser

    report = SimpleNamespace(
        path=Path(shutil.copy(ROOT / "exports" / "mnist-jax.onnx", tmp_path / "my.onnx")), profile="digits"
    )
    options = build_parser().parse_args(["export", "my.keras", "--picture", "--number"])
    assert _picture_file(options, report) is None
    assert f"picture model of several digits in {tmp_path / 'my-number.onnx'}" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my-number.onnx", "my.onnx"]
