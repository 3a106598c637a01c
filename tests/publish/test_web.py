"""The folder that ``mnistkit export --web`` writes: what goes in, what is refused, and what stays untouched."""

import gzip
import io
import json
import re
import shutil
import tarfile
from base64 import b64decode
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from web_package import make_package

from mnistkit.core.errors import MissingExtraError, ModelFileError, OutputError
from mnistkit.core.folders import LIST, replacing_folder
from mnistkit.publish import web_model, web_parts
from mnistkit.publish.onnxruntime_web import load_web_runtime
from mnistkit.publish.web import web_folder

ROOT = Path(__file__).parents[2]
PICTURE_FILE = ROOT / "exports" / "mnist-cnn-picture.onnx"


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return make_package(tmp_path_factory.mktemp("package") / "ort")


def one_node(path, *, dtype=TensorProto.FLOAT, shape=("n", 2), **options):
    values = [helper.make_tensor_value_info(name, dtype, shape) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, options)
    onnx.save(model, path)
    return path


def about(folder):
    text = (folder / "index.html").read_text(encoding="utf-8")
    return json.loads(re.search(r'id="about">(.*?)</script>', text)[1])


def unpacked(folder, name):
    """What the page makes of the parts of one name."""
    calls = "".join((folder / file).read_text(encoding="utf-8") for file in about(folder)["parts"])
    pieces = re.findall(rf'^part\("{name}", (\d+), "([^"]*)"\);$', calls, re.MULTILINE)
    assert [int(index) for index, _ in pieces] == list(range(len(pieces)))
    return gzip.decompress(b"".join(b64decode(text) for _, text in pieces))


def test_the_model_and_the_runtime_are_in_the_folder(tmp_path, package):
    made = web_folder(PICTURE_FILE, tmp_path / "site", ort=package)
    assert (made.page, made.onnxruntime_web, made.hint) == ("digits", "9.8.7", "")
    assert made.bytes == sum(file.stat().st_size for file in made.path.iterdir())
    assert unpacked(made.path, "model") == PICTURE_FILE.read_bytes()
    assert unpacked(made.path, "runtime") == b"\0asm\1\0\0\0"
    assert about(made.path)["labels"] == list("0123456789")
    files = {file.name for file in made.path.iterdir()}
    assert set(json.loads((made.path / LIST).read_text())["files"]) | {LIST} == files
    kept = json.loads(re.search(r"FILES = (.*);", (made.path / "sw.js").read_text())[1])
    assert {name for name in kept if name != "./"} < files
    again = web_folder(PICTURE_FILE, tmp_path / "twin", ort=package)
    for file in files:
        assert (again.path / file).read_bytes() == (made.path / file).read_bytes()


def test_a_large_model_is_cut_into_parts(tmp_path, package, monkeypatch):
    monkeypatch.setattr(web_parts, "PART", 200_000)
    made = web_folder(PICTURE_FILE, tmp_path / "site", ort=package)
    assert sum(name.startswith("model") for name in about(made.path)["parts"]) > 2
    assert unpacked(made.path, "model") == PICTURE_FILE.read_bytes()


def test_any_other_model_gets_a_page_for_numbers(tmp_path, package, asset):
    one_node(tmp_path / "a <b>&.onnx", **{"mnistkit.labels": '["</script><b>", "b"]'})
    made = web_folder(tmp_path / "a <b>&.onnx", tmp_path / "site", ort=package)
    text = (made.path / "index.html").read_text(encoding="utf-8")
    assert made.page == "numbers"
    assert "<b>" not in text
    assert "<h1>a &lt;b&gt;&amp;</h1>" in text
    assert about(made.path)["labels"] == ["</script><b>", "b"]
    assert about(made.path)["inputs"] == [{"name": "x", "type": "float32", "shape": ["n", 2]}]
    digits = web_folder(asset, tmp_path / "site", ort=package)  # a classifier of arrays, over the page before
    assert digits.page == "numbers"
    assert "pictures" in digits.hint
    assert len(about(digits.path)["example"]["image"][0]) == 784


def test_a_folder_with_other_things_is_not_replaced(tmp_path, package):
    site = tmp_path / "site"
    web_folder(PICTURE_FILE, site, ort=package)
    web_folder(PICTURE_FILE, site, ort=package)
    (site / "CNAME").write_text("example.org")
    with pytest.raises(OutputError, match=r"did not write \(CNAME\); name a new or empty folder"):
        web_folder(PICTURE_FILE, site, ort=package)
    assert (site / "CNAME").read_text() == "example.org"
    (site / "CNAME").unlink()
    with (
        pytest.raises(OutputError, match="did not write"),
        replacing_folder(site, kind="another kind"),
    ):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="a file or link of this name"):
        web_folder(PICTURE_FILE, tmp_path / "file", ort=package)


def test_what_fails_leaves_the_folder_as_it_was(tmp_path, package):
    site = tmp_path / "site"
    web_folder(PICTURE_FILE, site, ort=package)
    before = {file.name: file.read_bytes() for file in site.iterdir()}

    def fail():
        with replacing_folder(site, kind="web page") as temporary:
            (temporary / "half").write_text("")
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError):
        fail()
    assert {file.name: file.read_bytes() for file in site.iterdir()} == before
    assert [file.name for file in tmp_path.iterdir()] == ["site"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("missing", "no such folder"),
        ("empty", "does not hold the npm package"),
        ("another", "does not hold the npm package"),
        ("old", r"has no dist/ort-wasm-simd-threaded.wasm"),
        ("damaged", "is no WebAssembly"),
        ("text", "no archive of npm"),
    ],
)
def test_a_wrong_ort_is_refused(tmp_path, package, change, words):
    place = tmp_path / "ort"
    if change == "empty":
        place.mkdir()
    elif change == "text":
        place.write_text("no archive")
    elif change != "missing":
        shutil.copytree(package, place)
        wasm = place / "dist" / "ort-wasm-simd-threaded.wasm"
        if change == "another":
            (place / "package.json").write_text('{"name": "onnxruntime-node", "version": "1"}')
        elif change == "old":
            wasm.unlink()
        else:
            wasm.write_bytes(b"<html>")
    with pytest.raises(ModelFileError, match=f"--ort .*{words}.*npm pack onnxruntime-web@"):
        load_web_runtime(place)


def test_ort_may_be_an_archive_or_where_npm_installs_it(tmp_path, package):
    with tarfile.open(tmp_path / "onnxruntime-web-9.8.7.tgz", "w:gz") as archive:
        archive.add(package, "package")
        archive.addfile(tarfile.TarInfo("package/../../evil"), io.BytesIO())
    shutil.copytree(package, tmp_path / "app" / "node_modules" / "onnxruntime-web")
    for place in (tmp_path / "onnxruntime-web-9.8.7.tgz", tmp_path / "app"):
        assert load_web_runtime(place) == load_web_runtime(package)


def fake_npm(folder, script):
    """An npm that does what a test needs, in front of the real one."""
    folder.mkdir()
    npm = folder / "npm"
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo 'npm error code ECONNREFUSED' >&2; exit 1", "could not download .*ECONNREFUSED.* --ort DIR"),
        ("exit 0", "could not download .*it wrote nothing"),
        ("echo other > onnxruntime-web.tgz", "another onnxruntime-web .* than the published one"),
    ],
)
def test_npm_may_fail(tmp_path, monkeypatch, script, words):
    monkeypatch.setenv("PATH", fake_npm(tmp_path / "bin", script), prepend=":")
    with pytest.raises(MissingExtraError, match=words):
        load_web_runtime()


def test_npm_may_be_missing(tmp_path, monkeypatch, fails):
    monkeypatch.setenv("PATH", str(tmp_path))
    told = fails("export", PICTURE_FILE, "--web", tmp_path / "site")
    assert "npm is not installed" in told
    assert "--ort DIR" in told
    assert list(tmp_path.iterdir()) == []


def test_models_that_a_page_cannot_run(tmp_path, package, monkeypatch):
    with pytest.raises(ModelFileError, match=r"x is tensor\(bfloat16\), which a page cannot give"):
        web_folder(one_node(tmp_path / "b.onnx", dtype=TensorProto.BFLOAT16), tmp_path / "site", ort=package)
    weights = numpy_helper.from_array(np.full(2000, 0.5, np.float32), "w")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2000]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "two.onnx", save_as_external_data=True, location="two.bin")
    with pytest.raises(ModelFileError, match=r"keeps its weights in a second file.*onnx\.save\(onnx\.load"):
        web_folder(tmp_path / "two.onnx", tmp_path / "site", ort=package)
    onnx.save(onnx.load(tmp_path / "two.onnx"), tmp_path / "one.onnx")  # the cure
    assert web_folder(tmp_path / "one.onnx", tmp_path / "site", ort=package).page == "numbers"
    with pytest.raises(ModelFileError, match="no such file"):
        web_folder(tmp_path / "none.onnx", tmp_path / "site", ort=package)
    monkeypatch.setattr(web_model, "MAX_BYTES", 1000)
    with pytest.raises(ModelFileError, match="more than a browser can hold"):
        web_folder(tmp_path / "one.onnx", tmp_path / "site", ort=package)


def test_the_command_takes_an_onnx_as_it_is(tmp_path, package, cli, fails):
    arguments = ("export", PICTURE_FILE, "--web", tmp_path / "site", "--ort", package)
    ran = cli(*arguments)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"wrote {tmp_path / 'site'} (1.0 MB), a page to draw on; open ")
    assert json.loads(cli(*arguments, "--json").out)["web"]["page"] == "digits"
    told = fails(*arguments, "--opset", "18", "--batch=2", "--no-optimize")
    assert "--opset, --no-optimize, --batch: " in told
    assert "exported already and taken as it is; leave these flags out" in told
    assert "--ort belongs to --web; add --web DIR" in fails("export", PICTURE_FILE, "--ort", package)


def test_the_command_needs_neither_keras_nor_onnx(tmp_path, package, python):
    code = (
        "import sys; from mnistkit.cli import main\n"
        f"assert main(['export', {str(PICTURE_FILE)!r}, '--web', 'site', '--ort', {str(package)!r}]) == 0\n"
        "print(*{name.partition('.')[0] for name in sys.modules} & {'keras', 'onnx', 'torch', 'jax', 'tensorflow'})"
    )
    ran = python("-c", code, cwd=tmp_path)
    assert (ran.code, ran.out.splitlines()[-1]) == (0, ""), ran.err
