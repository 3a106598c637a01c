"""The reader from the first step to the file: trained a little, exported, equal to Keras."""

import json

import numpy as np
import onnx
import pytest

from mnistkit.core.errors import InputError, ModelFileError, ParityError
from mnistkit.core.runtime import Runtime
from mnistkit.digits.model import build_model
from mnistkit.digits.reader import export
from mnistkit.digits.reader.export import export_reader
from mnistkit.digits.reader.loss import reader_loss
from mnistkit.digits.reader.net import STRIDE, Maps, build_reader
from mnistkit.digits.reader.pages import NO_BOX
from mnistkit.digits.reader.settings import ReaderSettings
from mnistkit.digits.reader.train import train_reader


@pytest.fixture(scope="module")
def trained(tmp_path_factory, mnist, here):
    if here.name != "torch":
        pytest.skip("trained under PyTorch alone: compiling the net takes a minute; its loss is tested on all backends")
    path = tmp_path_factory.mktemp("reader") / "reader.keras"
    report = train_reader(ReaderSettings(steps=2, batch_size=1, workers=1, pages=1, side=128), data=mnist, out=path)
    return path, report


def test_a_training_leaves_a_model_and_its_provenance(trained):
    path, report = trained
    assert json.loads(path.with_suffix(".train.json").read_text(encoding="utf-8")) == report
    assert report["settings"]["steps"] == 2
    assert report["score"]["digits"] > 0
    assert report["history"][-1]["step"] == 2


def test_the_file_finds_what_keras_finds(trained, tmp_path):
    path = export_reader(trained[0], tmp_path / "reader.onnx")
    assert path.stat().st_size < 2_000_000
    onnx.checker.check_model(onnx.load(path), full_check=True)
    runtime = Runtime(path, device="cpu")
    answer = runtime.run({"pixels": np.zeros((33, 70, 2), np.uint8)})
    assert answer["boxes"].shape[1:] == (4,)
    assert answer["classes"].shape[1:] == (10,)


def test_a_file_that_finds_something_else_is_refused(trained, tmp_path, monkeypatch):
    whole = export.build_graph

    def changed(net):
        model = whole(net)
        for tensor in model.graph.initializer:
            if tensor.name == "least":  # the file then takes every cell for a digit
                tensor.CopyFrom(onnx.numpy_helper.from_array(np.array(-1e3, np.float32), "least"))
        return model

    monkeypatch.setattr(export, "build_graph", changed)
    with pytest.raises(ParityError, match="Keras does not find"):
        export_reader(trained[0], tmp_path / "reader.onnx")
    assert not (tmp_path / "reader.onnx").exists()


def test_another_model_is_no_reader(tmp_path):
    build_model("mlp").save(tmp_path / "mlp.keras")
    with pytest.raises(ModelFileError, match="is no reader"):
        export_reader(tmp_path / "mlp.keras", tmp_path / "reader.onnx")


def test_the_loss_is_small_where_the_answer_is_right():
    boxes = np.full((1, 3, 6), NO_BOX, np.float32)
    boxes[0, 0] = (34.0, 30.0, 32.0, 32.0, 7, 0)
    maps = np.zeros((1, 16, 16, Maps.COUNT), np.float32)
    maps[..., Maps.OBJECT] = -12
    maps[..., Maps.CLASS.start + 7] = 12
    maps[..., Maps.TURN.start] = 12
    cells = (np.arange(16) + 0.5) * STRIDE
    maps[..., Maps.OFFSET.start] = (34 - cells[None, :]) / 8
    maps[..., Maps.OFFSET.start + 1] = (30 - cells[:, None]) / 8
    right = maps.copy()
    right[0, 7, 8, Maps.OBJECT] = 12
    wrong = right.copy()
    wrong[..., Maps.CLASS.start + 1] = 20
    moved = np.roll(right, 4, axis=2)
    losses = [float(reader_loss(boxes, answer)) for answer in (right, wrong, moved, maps)]
    assert losses[0] < 0.05
    assert min(losses[1:]) > 1


def test_weights_start_equal_everywhere():
    first, second = build_reader(seed=3), build_reader(seed=3)
    assert all(np.array_equal(a, b) for a, b in zip(first.get_weights(), second.get_weights(), strict=True))
    other = build_reader(seed=4)
    assert not np.array_equal(first.get_weights()[0], other.get_weights()[0])


@pytest.mark.parametrize("name", ["steps", "batch_size", "pages", "minutes", "seed", "side"])
def test_settings_out_of_range_are_refused(name):
    with pytest.raises(InputError, match=name.replace("_", " ")):
        ReaderSettings(**{name: -1})
