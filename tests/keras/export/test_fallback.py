"""Keras' own exporters, by name: each under its own backend, in a process of its own."""

import keras
import onnx
import pytest

import mnistkit
from mnistkit import Classifier
from mnistkit.core.comparison import compare, verify_file
from mnistkit.core.errors import ExportError, MissingExtraError, UnsupportedError
from mnistkit.core.keras_backend import EXPORTERS, is_installed
from mnistkit.digits.model import build_model
from mnistkit.export import export_onnx
from mnistkit.export.fallback.exporters import PACKAGES, check_exporter, export_with

HERE = [name for name in EXPORTERS if all(map(is_installed, (EXPORTERS[name], PACKAGES[name][0])))]


@pytest.fixture
def own(here):
    """The exporter of the active backend, where its packages are installed."""
    name = next(name for name, backend in EXPORTERS.items() if backend == here.name)
    if name not in HERE:
        pytest.skip(f"{PACKAGES[name][0]} is not installed")  # an extra of its own, which a user may lack too
    return name


def test_the_active_backends_own(own, trained, small, exported, tmp_path):
    """Independent judges of the default exporter: other code, the same contract and the same answers."""
    report = export_onnx(trained.path, tmp_path / "model.onnx", exporter=own, data=small)
    assert (report.exporter, report.reason) == (own, "asked for by name")
    assert report.largest <= report.atol
    verify_file(report.path)
    proto = onnx.load(report.path)
    assert [value.name for value in (*proto.graph.input, *proto.graph.output)] == ["image", "probabilities"]
    assert proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert [path.name for path in tmp_path.iterdir() if path.suffix not in {".json", ".onnx"}] == []
    content = report.path.read_bytes()
    assert str(trained.path.parent).encode() not in content
    assert b"/site-packages/" not in content
    images = small.x_test[:100]
    compare(
        Classifier(exported.path).probabilities(images),
        Classifier(report.path).probabilities(images),
        atol=1e-6,
        what="two exporters",
    )


class HardTanh(keras.layers.Layer):
    """Somebody's own layer, in the framework's words, which the native exporter cannot follow."""

    def call(self, x):
        backend = keras.backend.backend()
        if backend == "torch":
            import torch

            return torch.nn.functional.hardtanh(x)
        if backend == "tensorflow":
            import tensorflow as tf

            return tf.raw_ops.ClipByValue(t=x, clip_value_min=-1.0, clip_value_max=1.0)
        import jax

        return jax.nn.hard_tanh(x)

    def compute_output_shape(self, shape):
        return shape


def with_own_layer():
    return keras.Sequential([keras.Input((6,)), keras.layers.Dense(4), HardTanh(), keras.layers.Dense(3)])


def test_auto_takes_the_active_backends_own_for_layers_of_ones_own(own, tmp_path):
    report = export_onnx(with_own_layer(), tmp_path / "model.onnx")
    assert report.exporter == own
    assert report.reason.startswith("the native exporter cannot: ")
    assert "HardTanh" in report.reason
    verify_file(report.path)


def test_another_backends_exporter_does_not_know_layers_of_ones_own(own, tmp_path, monkeypatch):
    others = [name for name in HERE if name != own] or [name for name in EXPORTERS if name != own]
    words = rf"the exporter {others[0]} runs in a process of its own, which does not know HardTanh; export under KERAS"
    monkeypatch.setattr("mnistkit.export.fallback.exporters.is_installed", lambda _: True)
    with pytest.raises(ExportError, match=words):
        export_onnx(with_own_layer(), tmp_path / "model.onnx", exporter=others[0])
    assert list(tmp_path.iterdir()) == []


def test_what_the_exporter_says_of_a_layer_of_ones_own(own, tmp_path, monkeypatch):
    def refuse(*_args, **_options):
        raise RuntimeError("first\nnot this one")

    model = with_own_layer()
    monkeypatch.setattr(model, "export", refuse)
    with pytest.raises(ExportError, match=rf"the exporter {own} \(.*\) fails: not this one$"):
        export_onnx(model, tmp_path / "model.onnx", exporter=own)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif("tf2onnx" not in HERE, reason="tf2onnx is not installed")
def test_tf2onnx_whatever_the_backend(small, tmp_path):
    report = export_onnx(build_model(), tmp_path / "model.onnx", exporter="tf2onnx", profile="digits", data=small)
    assert report.exporter == "tf2onnx"
    assert report.largest <= report.atol


def test_operations_that_onnx_does_not_have_are_refused_with_both_reasons(own, tmp_path, monkeypatch):
    def leave(name, model, *, opset):
        proto = export_with(name, model, opset=opset)
        body = onnx.helper.make_graph([onnx.helper.make_node("StringToHashBucketFast", ["a"], ["b"])], "body", [], [])
        proto.graph.node.append(onnx.helper.make_node("If", ["c"], ["d"], then_branch=body, else_branch=body))
        return proto

    model = with_own_layer()
    assert export_onnx(model, tmp_path / "model.onnx").exporter == own
    monkeypatch.setattr("mnistkit.export.choose.export_with", leave)
    words = f"HardTanh.*; the exporter {own} leaves operations that ONNX does not have: StringToHashBucketFast$"
    with pytest.raises(UnsupportedError, match=words):
        export_onnx(model, tmp_path / "other.onnx")
    with pytest.raises(ExportError, match=words.partition("; ")[2]):
        export_onnx(model, tmp_path / "other.onnx", exporter=own)
    assert not (tmp_path / "other.onnx").exists()


@pytest.mark.parametrize("name", EXPORTERS)
def test_missing_packages_with_the_cure(monkeypatch, name, tmp_path):
    monkeypatch.setattr("mnistkit.export.fallback.exporters.is_installed", lambda package: package != PACKAGES[name][0])
    cure = rf'the exporter {name} needs {PACKAGES[name][0]}, which is not installed; run `pip install "\.\['
    with pytest.raises(MissingExtraError, match=cure + PACKAGES[name][1]):
        check_exporter(name)
    with pytest.raises(MissingExtraError):
        export_onnx(build_model(), tmp_path / "model.onnx", exporter=name)
    assert list(tmp_path.iterdir()) == []


def test_a_framework_that_breaks_is_told_with_version_and_cure(own, monkeypatch, tmp_path):
    """Installed, and its import raises something else than ImportError."""
    framework = EXPORTERS[own]
    (tmp_path / framework).mkdir()
    (tmp_path / framework / "__init__.py").write_text("raise RuntimeError('undefined\\nsymbol')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{mnistkit.__file__.rpartition('/mnistkit/')[0]}")
    words = (
        rf"the exporter {own} \(.*\d.*\) fails: {framework} \d.* is installed but its import fails .*undefined symbol"
    )
    with pytest.raises(ExportError, match=words + ".*run `pip install --force-reinstall") as caught:
        export_with(own, build_model(), opset=None)
    assert "\n" not in str(caught.value)
