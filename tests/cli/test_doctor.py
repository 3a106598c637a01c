"""The doctor tells what works here, and the command for what does not."""

import json
import re
from pathlib import Path

import pytest

from mnistkit.cli import examine as doctor
from mnistkit.core import keras_backend as backend


@pytest.fixture
def light(monkeypatch):
    """As in a light installation: nothing of Keras and no server."""
    known = {"mnistkit", "numpy", "pillow", "onnxruntime"}
    monkeypatch.setattr(backend, "is_installed", lambda name: name in known)
    real = backend.version_of
    monkeypatch.setattr(backend, "version_of", lambda name: real(name) if name in known else "not installed")


def named(**options):
    return {finding.name: finding for finding in doctor.examine(**options)}


@pytest.mark.usefixtures("light")
def test_findings():
    found = named()
    assert found["numpy"].detail[0].isdigit()
    assert (found["device cpu"].state, found["device cpu"].detail) == ("works", "CPUExecutionProvider runs")
    for name in ("jax", "torch", "tensorflow"):
        finding = found[f"backend {name}"]
        assert finding.state == "missing"
        assert finding.cure == f'pip install ".[{name}]"'
    assert found["extra serve"].detail == "without granian, orjson, prometheus-client, python-multipart"
    assert found["extra grpc"].cure == 'pip install ".[grpc]"'
    assert found["matplotlib"].cure == 'pip install ".[report]"'
    assert found["pyarrow"].cure == 'pip install ".[parquet]"'


@pytest.mark.parametrize(
    ("place", "state", "cure"), [(None, "missing", "install Node.js"), ("/bin/npm", "works", None)]
)
def test_npm(monkeypatch, place, state, cure):
    monkeypatch.setattr(doctor.shutil, "which", lambda _: place)
    assert (named()["npm"].state, named()["npm"].cure) == (state, cure)


def test_the_packages_of_the_extras_are_those_of_the_project():
    import tomllib

    project = Path(doctor.__file__).parents[2] / "pyproject.toml"
    if not project.is_file():
        pytest.skip("tested from an installed wheel")
    extras = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["optional-dependencies"]

    def packages(extra):
        return {re.match(r"[\w-]+", entry)[0] for entry in extras[extra]} - {"mnistkit"}

    assert packages("serve") == {*doctor._SERVER, *doctor._ONLY_FASTER}
    assert packages("grpc") == set(doctor._GRPC)
    assert packages("keras") == {"keras", "onnx"}
    for package, extra in (doctor._EXPORTERS | doctor._MORE).items():
        assert package in packages(extra)


@pytest.mark.usefixtures("light")
def test_what_is_missing_has_a_cure():
    found = doctor.examine()
    assert {finding.state for finding in found} == {"works", "missing", "fact"}
    for finding in found:
        assert (finding.cure is not None) == (finding.state in {"missing", "broken"}), finding


@pytest.mark.usefixtures("light")
def test_as_a_verb(cli):
    """What is optional and missing is no failure."""
    ran = cli("doctor")
    assert (ran.code, ran.err) == (0, "")
    assert "\npredict, verify and serve\n" in ran.out
    assert "  + device cpu" in ran.out
    assert "  . backend jax" in ran.out
    assert 'to get it: pip install ".[jax]"' in ran.out
    assert "!" not in ran.out
    groups = [line for line in ran.out.splitlines() if not line.startswith(" ")]
    assert len(groups) == len(set(groups))


@pytest.mark.usefixtures("light")
def test_as_json(cli):
    found = json.loads(cli("doctor", "--json").out)
    assert {"group", "name", "state", "detail", "cure"} == set(found[0])


@pytest.mark.usefixtures("light")
def test_the_default_model(asset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert named()["default model"].detail == f"{asset} (inside the package)"
    (tmp_path / "exports").mkdir()
    (tmp_path / "exports" / "mnist.onnx").write_bytes(asset.read_bytes())
    assert named()["default model"].detail == f"{Path('exports', 'mnist.onnx')} (found in this folder)"


@pytest.mark.usefixtures("light")
def test_two_onnxruntimes(cli, tmp_path, monkeypatch):
    for name in ("onnxruntime", "onnxruntime-gpu"):
        info = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    assert "onnxruntime packages" not in named()
    monkeypatch.syspath_prepend(tmp_path)
    conflict = named()["onnxruntime packages"]
    assert conflict.state == "broken"
    assert conflict.cure.startswith("pip uninstall -y onnxruntime onnxruntime-gpu, then install one")
    ran = cli("doctor")
    assert ran.code == 1
    assert "  ! onnxruntime packages" in ran.out


@pytest.mark.usefixtures("light")
def test_without_onnxruntime_and_with_a_broken_one(monkeypatch):
    from mnistkit.core.errors import MissingExtraError

    def refuse():
        raise MissingExtraError("onnxruntime is installed but its import fails (no libc)")

    monkeypatch.setattr(doctor, "load_onnxruntime", refuse)
    assert named()["onnxruntime"].state == "broken"
    monkeypatch.setattr(backend, "is_installed", lambda _: False)
    assert named()["onnxruntime"].state == "missing"
    assert named()["onnxruntime"].cure == 'pip install ".[cpu]"'


def test_a_framework_is_not_loaded_unless_asked(tmp_path, python):
    """Nor anything else that is slow: what is installed is looked up, not imported."""
    for name in ("keras", "jax", "torch", "tensorflow"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('imported')")
    code = (
        "import subprocess, sys\nfrom mnistkit.cli import main\nsubprocess.run = None\ncode = main(['doctor'])\n"
        "assert not {'keras', 'jax', 'torch', 'tensorflow', 'onnx'} & set(sys.modules)\nsys.exit(code)"
    )
    ran = python("-c", code, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    assert (ran.code, ran.err) == (0, "")
    assert "+ backend torch" in ran.out


def test_a_broken_backend_is_told_from_a_missing_one(tmp_path, monkeypatch):
    for name in ("keras", "torch"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('undefined symbol')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{doctor.__file__.rpartition('/mnistkit/')[0]}")
    monkeypatch.setattr(backend, "is_installed", lambda _: True)
    assert doctor._backend("torch", deep=False).state == "works"
    finding = doctor._backend("torch", deep=True)
    assert finding.state == "broken"
    assert finding.detail.startswith("its import fails: ")
    assert "undefined symbol" in finding.detail
    assert finding.cure == 'pip install --force-reinstall ".[torch]"'
