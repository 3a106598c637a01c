"""The commands as a user types them, in processes of their own: clean streams, exit codes, no half files."""

import io
import json

import numpy as np
import pytest
from one_backend import once
from web_package import make_package

from mnistkit.cli import examine as doctor
from mnistkit.core.comparison import verify_file


@pytest.fixture(scope="module")
def road(tmp_path_factory, python_here, small_npz):
    """The README's commands in an empty folder, on the small data set."""
    folder = tmp_path_factory.mktemp("road")
    trained = python_here("-m", "mnistkit.train", "--data", small_npz, "--epochs", "1", cwd=folder)
    exported = python_here("-m", "mnistkit.export", "--data", small_npz, cwd=folder)
    return folder, trained, exported


def test_train(road, here):
    folder, trained, _ = road
    assert trained.code == 0, trained.err
    lines = trained.out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("test loss ")
    assert lines[1] == "wrote exports/mnist.keras, exports/mnist.train.json"
    assert (folder / "exports" / "mnist.keras").is_file()
    first = trained.err.splitlines()[0]
    assert first.startswith(f"backend {here.name} {here.version}, Keras ")


LOG_LINES = (
    "WARNING",
    "I0000",
    "E0000",
    "W0000",
    "oneDNN",
    "cuda",
    "XLA",
    "TPU",
    "Warning:",
    "computation_placer",
    "absl",
)


def test_no_frameworks_log_lines(road):
    for ran in road[1:]:
        assert not [line for line in ran.err.splitlines() if any(word in line for word in LOG_LINES)], ran.err


def test_export(road):
    folder, _, exported = road
    assert exported.code == 0, exported.err
    assert exported.err == ""
    lines = exported.out.splitlines()
    assert lines[0].startswith("exporter ")
    assert any(line.startswith("test images") for line in lines)
    assert any(line.startswith("test accuracy: Keras 0.") for line in lines)
    assert lines[-1] == "wrote exports/mnist.onnx, exports/mnist.onnx.json"
    verify_file(folder / "exports" / "mnist.onnx")
    assert sorted(path.name for path in (folder / "exports").iterdir()) == [
        "mnist.keras",
        "mnist.onnx",
        "mnist.onnx.json",
        "mnist.train.json",
    ]


@once
def test_json_is_all_of_stdout_and_quiet_is_quiet(tmp_path, python_here, small_npz, trained):
    """And another process with the same seed gets the same bits."""
    ran = python_here("-m", "mnistkit.train", "--data", small_npz, "--quiet", "--json", cwd=tmp_path)
    assert (ran.code, ran.err) == (0, "")
    told = json.loads(ran.out)
    assert told == json.loads((tmp_path / "exports" / "mnist.train.json").read_text(encoding="utf-8"))
    assert told["weights_sha256"] == trained.provenance["weights_sha256"]


@once
def test_a_plot_beside_the_model(cli, tmp_path, monkeypatch, small_npz, trained):
    """With --quiet too; the weights are those of the run without it, made by the same fast program."""
    pytest.importorskip("matplotlib", reason="matplotlib is missing: pip install matplotlib")
    from PIL import Image

    from mnistkit.publish.report import curves_file
    from mnistkit.training import fallback

    drawn = []
    write = curves_file.write_curves
    monkeypatch.setattr(curves_file, "write_curves", lambda history, path: drawn.append(write(history, path)))
    monkeypatch.setattr(fallback, "run", lambda *_, **__: pytest.fail("model.fit trained"))
    monkeypatch.chdir(tmp_path)
    ran = cli("train", "--data", small_npz, "--quiet", "--plot")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[-1] == "wrote exports/mnist.keras, exports/mnist.train.json, exports/mnist.train.png"
    assert len(drawn) == 2
    with Image.open("exports/mnist.train.png") as image:
        assert image.size == pytest.approx((1840, 620), abs=1)
    told = json.loads((tmp_path / "exports" / "mnist.train.json").read_text(encoding="utf-8"))
    assert told["weights_sha256"] == trained.provenance["weights_sha256"]


def test_json_of_an_export(cli, tmp_path, monkeypatch, small_npz, trained):
    monkeypatch.chdir(tmp_path)
    ran = cli("export", trained.path, "--out", "mnist.onnx", "--data", small_npz, "--json")
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out) == json.loads((tmp_path / "mnist.onnx.json").read_text(encoding="utf-8"))


@once
def test_a_page_is_made_of_the_exported_model(cli, fails, tmp_path, monkeypatch, small_npz, trained):
    monkeypatch.chdir(tmp_path)
    package = make_package(tmp_path / "ort")
    arguments = ("export", trained.path, "--out", "out/m.onnx", "--data", small_npz, "--ort", package)
    ran = cli(*arguments, "--web", "site")
    assert ran.code == 0, ran.err
    assert ran.out.endswith("wrote out/m.onnx, out/m.onnx.json\n")
    assert "a page to draw on; open site/index.html" in ran.err
    assert verify_file("out/m-picture.onnx")
    assert '"page": "digits"' in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    (tmp_path / "out" / "m.onnx").unlink()
    assert "holds files that this command did not write" in fails(*arguments, "--web", "ort")
    assert not (tmp_path / "out" / "m.onnx").exists()  # it was refused before the work


@once
def test_a_smaller_file_beside_the_exported_one(cli, tmp_path, monkeypatch, small_npz, trained):
    monkeypatch.chdir(tmp_path)
    arguments = ("export", trained.path, "--out", "m.onnx", "--data", small_npz, "--shrink", "int8")
    ran = cli(*arguments, "--max-loss", "3")
    assert ran.code == 0, ran.err
    assert "wrote m.onnx, m.onnx.json\n" in ran.out
    assert ran.out.splitlines()[-1].startswith("wrote m-int8.onnx (int8-")
    told = json.loads((tmp_path / "m-int8.onnx.json").read_text(encoding="utf-8"))
    assert (told["shrunk"]["kind"], told["shrunk"]["from"]) == ("int8", "m.onnx")
    assert told["training"] == json.loads((tmp_path / "m.onnx.json").read_text(encoding="utf-8"))["training"]
    assert verify_file("m-int8.onnx")
    samples = {"image": np.random.default_rng(0).random((40, 784), np.float32), "targets": np.zeros(40, np.int64)}
    np.savez("s.npz", **samples)
    ran = cli(*arguments[:3], "again.onnx", "--shrink", "fp16", "--samples", "s.npz", "--max-loss", "5", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["shrink"]["candidates"][0]["accuracy"] is not None


WRONG = {
    "optimizer": (["train", "--optimizer", "rmsprob"], "unknown optimizer 'rmsprob'"),
    "epochs": (["train", "--epochs", "0"], "epochs must be at least 1"),
    "data": (["train", "--data", "none.npz"], "none.npz: no such file or folder"),
    "labels": (["train", "--labels", "a,b"], "expected 10 different names, got 2"),
    "no model": (["export"], "exports/mnist.keras: no such file; make one with `python -m mnistkit.train`"),
    "atol": (["export", "KERAS", "--atol", "0"], "atol must be above 0"),
    "out": (["export", "KERAS", "--out", "."], "it is a folder; name a file"),
    "no states": (["export", "KERAS", "--stateful"], "has stateful=True; export it without --stateful"),
    "not met": (["export", "KERAS", "--out", "x.onnx", "--atol", "1e-12"], "largest difference"),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors_are_one_line(fails, tmp_path, monkeypatch, trained, case):
    """In this process, for speed: the same function that the commands run."""
    arguments, words = WRONG[case]
    monkeypatch.chdir(tmp_path)
    assert words in fails(*[trained.path if word == "KERAS" else word for word in arguments])
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


@once
def test_the_exit_code_reaches_the_shell(tmp_path, python_here):
    ran = python_here("-m", "mnistkit.export", "none.keras", cwd=tmp_path)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "mnistkit: none.keras: no such file; make one with `python -m mnistkit.train`\n"


def test_the_backend_flag_works(tmp_path, python, here, trained):
    """The environment names a backend that does not exist; the flag makes it right."""
    ran = python(
        "-m", "mnistkit.export", trained.path, "--out", "x.onnx", "--backend", here.name, "--json",
        cwd=tmp_path, env={"KERAS_BACKEND": "theano"},
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["exported_under"]["name"] == here.name


@once
def test_keras_json_decides_where_nothing_else_does(tmp_path, python, here):
    (tmp_path / "keras.json").write_text(json.dumps({"backend": here.name}))
    code = "from mnistkit.core.keras_backend import load_keras; print(load_keras().backend.backend())"
    ran = python("-c", code, cwd=tmp_path, env={"KERAS_BACKEND": "", "KERAS_HOME": str(tmp_path)})
    assert ran.out.split() == [here.name], ran.err


@once
def test_set_after_keras_was_imported(tmp_path, python_here, here):
    """A backend asked for too late is an error with the cure, never silently another one."""
    other = "torch" if here.name != "torch" else "jax"
    code = (
        "import keras\n"
        "from mnistkit.core.keras_backend import select_backend\n"
        "from mnistkit.core.errors import BackendError\n"
        f"try:\n    select_backend({other!r})\nexcept BackendError as error:\n    print(error)\n"
    )
    ran = python_here("-c", code, cwd=tmp_path)
    assert f"Keras is already loaded with {here.name}, so {other} (asked for by name) cannot be used in th" in ran.out


@once
def test_a_variable_that_was_set_too_late(tmp_path, python_here, here):
    """Keras reads KERAS_BACKEND once, so the exporter and the trainer would run on another backend than it names."""
    other = "torch" if here.name != "torch" else "jax"
    code = (
        f"import keras, os\nos.environ['KERAS_BACKEND'] = {other!r}\n"
        "import mnistkit\n"
        "model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])\n"
        "try:\n    mnistkit.export_onnx(model, 'm.onnx')\n"
        "except mnistkit.errors.BackendError as error:\n    print(error)\n"
    )
    ran = python_here("-c", code, cwd=tmp_path)
    assert f"loaded with {here.name}, so {other} (from KERAS_BACKEND) cannot be used in this process" in ran.out
    assert not (tmp_path / "m.onnx").exists()


@once
def test_a_full_disk_during_training(tmp_path, python_here, small_npz):
    """No file may grow over 20 kB: one line, exit 1, nothing left under any name."""
    code = (
        "import resource, signal, sys\nfrom mnistkit.cli import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from mnistkit.core.keras_backend import load_keras, quiet_startup_logs\nquiet_startup_logs(); load_keras()\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        f"sys.exit(main(['train', '--data', {str(small_npz)!r}, '--epochs', '1', '--quiet', '--out', 'out/m.keras']))\n"
    )
    ran = python_here("-c", code, cwd=tmp_path)
    assert ran.code == 1, ran.err
    assert ran.err.startswith("mnistkit: cannot write out/m")
    assert ran.err.count("\n") == 1
    assert list((tmp_path / "out").iterdir()) == []


def test_doctor_finds_this_backend_working(here):
    finding = doctor._backend(here.name, deep=True)
    assert finding.state == "works"
    assert finding.detail == f"{here.version} on {here.device}"
    assert finding.cure is None


def test_a_backend_that_cannot_be_imported_fails_the_suite(tmp_path, python):
    """What the conftest promises: asked for and not there is an error, and no test is skipped."""
    from pathlib import Path

    tests = Path(__file__).parents[1]
    ran = python(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests / "digits" / "test_pairs.py"),
        cwd=tests.parents[0].parent, env={"KERAS_BACKEND": "theano", "KERAS_HOME": str(tmp_path)},
    )  # fmt: skip
    assert ran.code != 0
    assert "unknown backend 'theano'" in ran.out + ran.err
    assert "skipped" not in ran.out


def test_evaluate_gives_what_training_measured(cli, trained, exported, small, small_npz):
    """The .keras and the .onnx file of one model: the loss and the accuracy of its provenance, and one matrix."""
    test = trained.provenance["test"]
    found = [
        json.loads(cli("evaluate", path, "--data", small_npz, "--json").out) for path in (trained.path, exported.path)
    ]
    for one in found:
        assert one["accuracy"] == pytest.approx(test["accuracy"], abs=1e-6)
        assert one["loss"] == pytest.approx(test["loss"], abs=1e-5)
        assert one["images"] == len(small.x_test)
    assert found[0]["confusion"] == found[1]["confusion"]
    assert found[0]["runs_on"].startswith("Keras (")


def test_evaluate_of_another_model(fails, tmp_path):
    import keras

    path = tmp_path / "other.keras"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(path)
    assert "other.keras: not a classifier of 28x28 images into 10 classes" in fails("evaluate", path)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("quiet", "stream", "told"), [(False, Terminal, True), (True, Terminal, False),
                                                       (False, io.StringIO, False)])  # fmt: skip
def test_a_terminal_is_told_that_keras_is_loading(monkeypatch, here, quiet, stream, told):
    """Seconds pass without a line otherwise. Files and pipes get none."""
    import sys
    from types import SimpleNamespace

    from mnistkit.cli import common
    from mnistkit.core import keras_backend as backends

    monkeypatch.setattr(sys, "stderr", stream())
    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.setattr(backends, "load_keras", lambda _: None)
    common.start_keras(SimpleNamespace(backend=here.name, quiet=quiet, verbose=0))
    assert sys.stderr.getvalue() == (f"loading Keras on {here.name} ...\n" if told else "")
