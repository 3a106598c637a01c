"""The doctor tells what works here, and the command for what does not."""

import json

import pytest

from mnistkit.cli import examine as doctor
from mnistkit.core import keras_backend as backend


@pytest.fixture
def no_backends(monkeypatch):
    """As in a light installation; trying real frameworks takes seconds each and is done in the Keras tests."""
    monkeypatch.setattr(backend, "is_installed", lambda _: False)


@pytest.mark.usefixtures("no_backends")
def test_findings():
    found = {finding.name: finding for finding in doctor.examine()}
    assert found["numpy"].detail[0].isdigit()
    assert found["provider cpu"].works is True
    assert found["provider cpu"].detail == "CPUExecutionProvider runs"
    for name in ("jax", "torch", "tensorflow"):
        finding = found[f"backend {name}"]
        assert finding.works is False
        assert finding.cure == f"pip install 'mnistkit[{name}]'"


@pytest.mark.usefixtures("no_backends")
def test_what_does_not_work_has_a_cure():
    for finding in doctor.examine():
        assert finding.works is not False or finding.cure, finding


@pytest.mark.usefixtures("no_backends")
def test_as_a_verb(cli):
    ran = cli("doctor")
    assert (ran.code, ran.err) == (0, "")
    assert "+ provider cpu" in ran.out
    assert "to get it: pip install 'mnistkit[jax]'" in ran.out


@pytest.mark.usefixtures("no_backends")
def test_as_json(cli):
    found = json.loads(cli("doctor", "--json").out)
    assert {"name", "works", "detail", "cure"} == set(found[0])


@pytest.mark.usefixtures("no_backends")
def test_two_onnxruntimes(tmp_path, monkeypatch):
    for name in ("onnxruntime", "onnxruntime-gpu"):
        info = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    assert not [f for f in doctor.examine() if f.name == "onnxruntime packages"]
    monkeypatch.syspath_prepend(tmp_path)
    (conflict,) = [f for f in doctor.examine() if f.name == "onnxruntime packages"]
    assert conflict.works is False
    assert conflict.cure.startswith("pip uninstall -y onnxruntime onnxruntime-gpu && pip install")


def test_a_broken_backend_is_told_from_a_missing_one(tmp_path, monkeypatch):
    for name in ("keras", "torch"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('undefined symbol')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{doctor.__file__.rpartition('/mnistkit/')[0]}")
    monkeypatch.setattr(backend, "is_installed", lambda _: True)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    finding = doctor._backend("torch")
    assert finding.works is False
    assert finding.detail.startswith("installed but broken: ")
    assert "undefined symbol" in finding.detail
    assert finding.cure == "pip install 'mnistkit[torch]' --force-reinstall"
