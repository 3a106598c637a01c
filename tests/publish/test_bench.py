"""What a file costs: measured in a process of its own, told as a table, JSON and a figure."""

import json
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from mnistkit.core.errors import DeviceError, InputError, ModelFileError
from mnistkit.publish import bench as benching
from mnistkit.publish.bench import bench


def test_a_file_of_mnistkit(asset):
    found = bench(asset, batch_sizes=(8, 1), keras=False, threads=1)
    assert [one.batch_size for one in found.latencies] == [1, 8]
    assert all(0 < one.p50 <= one.p99 and one.runs >= 5 for one in found.latencies)
    assert found.size == asset.stat().st_size
    assert found.load > 0
    assert found.first > 0
    assert sys.platform != "linux" or 1e5 < found.memory < 1e9
    assert 0.9 < found.accuracy < 1
    assert (found.threads, found.provider, found.inputs) == (1, "CPUExecutionProvider", "the inputs of a golden pair")
    assert found.keras_missing == "not asked for"


def test_memory_is_that_of_the_file_not_of_the_caller(asset):
    held = b"1" * 2**29
    found = bench(asset, batch_sizes=(1,), keras=False)
    assert sys.platform != "linux" or 1e5 < found.memory < len(held) / 2


def test_a_foreign_file_with_a_fixed_batch(make_model):
    found = bench(make_model("fixed", shape=(2, 4)), batch_sizes=(1,))
    assert [one.batch_size for one in found.latencies] == [2]
    assert (found.accuracy, found.inputs, found.keras) == (None, "drawn inputs", None)
    assert found.keras_missing == "no fixed.keras beside the file"


def test_a_keras_file_that_cannot_be_measured_is_told_and_the_rest_is_kept(asset, tmp_path):
    shutil.copy(asset, tmp_path / "m.onnx")
    (tmp_path / "m.keras").write_bytes(b"no model")
    found = bench(tmp_path / "m.onnx", batch_sizes=(1,))
    assert found.keras is None
    assert found.keras_missing
    assert "\n" not in found.keras_missing
    assert len(found.latencies) == 1


WRONG = {
    "missing": (lambda _: "none.onnx", {}, ModelFileError, "no such file"),
    "words": (lambda make: make("words", dtype="STRING"), {}, InputError, "takes no numbers"),
    "no rows": (lambda make: make("m"), {"batch_sizes": (0,)}, InputError, "batch sizes must be at least 1, got 0"),
    "no sizes": (lambda make: make("m"), {"batch_sizes": ()}, InputError, "at least 1, got none"),
    "threads": (lambda make: make("m"), {"threads": 0}, InputError, "threads must be at least 1"),
    "device": (lambda make: make("m"), {"device": "tpu"}, DeviceError, "unknown device"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_measured(make_model, case):
    make, options, error, words = WRONG[case]
    with pytest.raises(error, match=words):
        bench(make(make_model), **options)


def test_a_process_that_dies_is_told(asset, monkeypatch):
    real = subprocess.run
    monkeypatch.setattr(
        benching.subprocess,
        "run",
        lambda _, **options: real([sys.executable, "-c", "import os; os.abort()"], **options),
    )
    with pytest.raises(InputError, match=r"the measuring process ended without an answer \(exit code -6\)"):
        bench(asset)


def test_the_command(asset, make_model, cli, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is missing: pip install matplotlib")
    small = make_model("small")
    ran = cli("bench", asset, small, "--batch", "1", "--no-keras", "--plot", tmp_path / "plot.png")
    assert ran.code == 0
    assert ran.err.splitlines() == [f"mnistkit: measuring {file} ..." for file in (asset, small)]
    first, second, written = ran.out.split("\n\n")[0], ran.out.split("\n\n")[1], ran.out.splitlines()[-1]
    assert first.startswith(f"{asset}: {asset.stat().st_size / 1000:,.0f} kB, loads in ")
    assert "test accuracy 0.9" in first
    assert first.splitlines()[2].split() == ["batch", "p50", "p99", "rows/s"]
    assert first.splitlines()[3].split()[0] == "1"
    assert "test accuracy" not in second
    assert written == f"wrote {tmp_path / 'plot.png'}"
    with Image.open(tmp_path / "plot.png") as image:
        assert min(image.size) > 500


def test_json(make_model, cli):
    ran = cli("bench", make_model("m"), "--batch", "1,2", "--json", "--quiet", "--no-keras")
    (found,) = json.loads(ran.out)
    assert [one["batch_size"] for one in found["latencies"]] == [1, 2]
    assert (ran.code, ran.err) == (0, "")


def test_the_plot_is_checked_before_anything_is_measured(make_model, cli, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is missing: pip install matplotlib")
    for name, words in (("plot.jpg", "give a name that ends in .png"), ("none/plot.png/x.png", "cannot write")):
        (tmp_path / "none").mkdir(exist_ok=True)
        (tmp_path / "none" / "plot.png").write_bytes(b"")
        ran = cli("bench", make_model("m"), "--plot", tmp_path / name)
        assert ran.code == 1
        assert words in ran.err
        assert "measuring" not in ran.err
