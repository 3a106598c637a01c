"""The examples give the same digits with the same probabilities, whatever language they are written in."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from same_answers import assert_same

EXAMPLES = Path(__file__).parents[2] / "examples"
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(
    NODE is None or not (EXAMPLES / "node" / "node_modules").is_dir(),
    reason="Node.js or the packages of examples/node are missing: run python tools/node_packages.py",
)


def run(*command, code=0):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done


def test_python(pictures, expected):
    done = run(sys.executable, EXAMPLES / "python" / "digit.py", "--json", *pictures)
    assert_same(json.loads(done.stdout), expected)
    shown = run(sys.executable, EXAMPLES / "python" / "digit.py", EXAMPLES / "digit.png").stdout
    assert shown == f"{EXAMPLES / 'digit.png'}  7  (99.0%)\n"


@pytest.fixture(scope="module")
def client():
    return client_of("app")


def client_of(name):
    from fastapi.testclient import TestClient

    spec = importlib.util.spec_from_file_location(f"fastapi_{name}", EXAMPLES / "fastapi" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return TestClient(module.app)


def upload(client, content):
    return client.post("/digit", files={"picture": ("picture.png", content, "image/png")})


def test_fastapi(client, pictures, expected):
    answers = [upload(client, Path(path).read_bytes()) for path in pictures]
    assert {answer.status_code for answer in answers} == {200}
    assert_same([answer.json() for answer in answers], expected)


def test_fastapi_refuses(client, tmp_path):
    Image.new("L", (50, 50), 200).save(tmp_path / "empty.png")
    Image.new("1", (6000, 6000)).save(tmp_path / "large.png")
    statuses = {
        name: upload(client, content).status_code
        for name, content in {
            "empty": (tmp_path / "empty.png").read_bytes(),
            "large": (tmp_path / "large.png").read_bytes(),
            "text": b"no picture",
            "torn": (EXAMPLES / "digit.png").read_bytes()[:200],
            "long": b"x" * 10_000_001,
        }.items()
    }
    assert statuses == {"empty": 422, "large": 413, "text": 415, "torn": 415, "long": 413}


@needs_node
def test_node(pictures, expected):
    done = run(NODE, EXAMPLES / "node" / "digit.mjs", "--json", *pictures)
    assert_same(json.loads(done.stdout), expected)
    shown = run(NODE, EXAMPLES / "node" / "digit.mjs", EXAMPLES / "digit.png").stdout
    assert shown == f"{EXAMPLES / 'digit.png'}  7  (99.0 %)\n"


@needs_node
def test_node_goes_on_after_a_bad_picture(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    Image.new("L", (50, 50), 200).save(tmp_path / "empty.png")
    files = [tmp_path / "bad.png", tmp_path / "empty.png", EXAMPLES / "digit.png"]
    done = run(NODE, EXAMPLES / "node" / "digit.mjs", *files, code=1)
    assert done.stdout == f"{EXAMPLES / 'digit.png'}  7  (99.0 %)\n"
    assert len(done.stderr.splitlines()) == 2
    assert "empty.png: no digit found" in done.stderr
    assert "usage" in run(NODE, EXAMPLES / "node" / "digit.mjs", code=2).stderr


@pytest.fixture
def three_inputs(tmp_path):
    """Floats, ids and truth values in; a sum and the ids out."""
    import onnx
    from onnx import TensorProto, helper

    inputs = [
        ("x", TensorProto.FLOAT, ["n", 2]),
        ("ids", TensorProto.INT64, ["n", 3]),
        ("on", TensorProto.BOOL, ["n", 1]),
    ]
    nodes = [
        helper.make_node("Cast", ["on"], ["on_float"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["x", "on_float"], ["sum"]),
        helper.make_node("Identity", ["ids"], ["same"]),
    ]
    outputs = [("sum", TensorProto.FLOAT, ["n", 2]), ("same", TensorProto.INT64, ["n", 3])]
    graph = helper.make_graph(
        nodes, "g", *([helper.make_tensor_value_info(*one) for one in values] for values in (inputs, outputs))
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


GIVEN = {"x": [[0.5, 1], [2, 3]], "ids": [[1, 2, 3], [2**40, 5, 6]], "on": [[True], [False]]}
ANSWERS = {"sum": [[1.5, 2], [2, 3]], "same": GIVEN["ids"]}
WRONG = {
    "input ids: expected an array, got none": {"x": GIVEN["x"], "on": GIVEN["on"]},
    "input x: rows differ in length": GIVEN | {"x": [[1, 2], [3]]},
    "input ids: expected int64, got float64 [1.5, 2.0, 3.0]": GIVEN | {"ids": [[1.5, 2, 3]]},
    "unknown input y; the model takes x, ids, on": GIVEN | {"y": 1},
}


@needs_node
def test_node_runs_any_file(three_inputs, tmp_path):
    (tmp_path / "inputs.json").write_text(json.dumps(GIVEN))
    done = run(NODE, EXAMPLES / "node" / "run.mjs", three_inputs, tmp_path / "inputs.json")
    assert json.loads(done.stdout) == ANSWERS
    for words, inputs in list(WRONG.items())[:2]:
        (tmp_path / "inputs.json").write_text(json.dumps(inputs))
        ended = run(NODE, EXAMPLES / "node" / "run.mjs", three_inputs, tmp_path / "inputs.json", code=1)
        assert ended.stderr == f"{words}\n"


def test_python_runs_any_file(three_inputs, tmp_path):
    def ran(given, code=0):
        (tmp_path / "inputs.json").write_text(json.dumps(given))
        return run(sys.executable, EXAMPLES / "python" / "run.py", three_inputs, tmp_path / "inputs.json", code=code)

    assert json.loads(ran(GIVEN).stdout) == ANSWERS
    for words, inputs in WRONG.items():
        assert ran(inputs, code=1).stderr == f"{words}\n"


def test_fastapi_runs_any_file(three_inputs, monkeypatch):
    monkeypatch.setenv("MODEL", str(three_inputs))
    client = client_of("arrays")
    answer = client.post("/run", json=GIVEN)
    assert (answer.status_code, answer.json()) == (200, ANSWERS)
    for words, inputs in WRONG.items():
        refused = client.post("/run", json=inputs)
        assert (refused.status_code, refused.json()) == (422, {"detail": words})
    refused = client.post("/run", json=GIVEN | {"x": [[1, 2, 3]]})
    assert refused.status_code == 422
    assert "dimensions" in refused.json()["detail"]


def test_another_model_is_seen(pictures, expected):
    """The comparison above can fail."""
    other = json.loads(run(sys.executable, EXAMPLES / "python" / "digit.py", "--json", *pictures[1:]).stdout)
    with pytest.raises(AssertionError):
        assert_same(other, expected[:-1])
