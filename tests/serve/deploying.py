"""Models of many kinds for what `mnistkit export --triton`, `--kserve` and `--kubernetes` write."""

import json
import re
import sys
from pathlib import Path

import kubernetes_validate
import numpy as np
import pytest
import yaml
from conftest import save_model, value
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parents[1]))

from exported_files import colors, three_inputs

from mnistkit.cli.parser import build_parser
from mnistkit.publish.deploy import memory
from mnistkit.serve.settings import from_flags

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "exports" / "mnist-jax.onnx"
KUBERNETES = "1.37"
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64

__all__ = [
    "FLOAT", "KUBERNETES", "ROOT", "TUTORIAL", "TensorProto", "arrays", "colors", "helper", "mebibytes", "not_measured",
    "numpy_helper", "objects", "one_node", "read_json", "save_model", "served_with", "three_inputs", "two_inputs",
    "value",
]  # fmt: skip


def one_node(path, *, kind=FLOAT, shape=("n", 4), out=None, op="Identity", **attributes):
    """A model of another origin with one operation."""
    node = helper.make_node(op, ["x"], ["y"], **attributes)
    return save_model(path, [node], [value("x", kind, shape)], [value("y", kind, shape if out is None else out)])


def two_inputs(path):
    """Numbers and a sequence of free length in; a sum for each row and the sequence out. No labels."""
    axes = helper.make_tensor("axes", INT64, [1], [1])
    return save_model(
        path,
        [
            helper.make_node("Mul", ["scale", "words"], ["scaled"]),
            helper.make_node("ReduceSum", ["scaled", "axes"], ["sum"], keepdims=0),
        ],
        [value("scale", FLOAT, ["n", 1]), value("words", FLOAT, ["n", "length"])],
        [value("scaled", FLOAT, ["n", "length"]), value("sum", FLOAT, ["n"])],
        [axes],
    )


def arrays(config, folder, sample):
    """What a sample of the warm-up feeds, as Triton reads it: NumPy arrays with a batch axis."""
    found = {}
    for name, one in sample.inputs.items():
        raw = (folder / "warmup" / one.input_data_file).read_bytes()
        dims = [1, *one.dims] if config.max_batch_size else list(one.dims)
        if one.data_type == 13:  # TYPE_STRING: before each word its length
            words = []
            while raw:
                size = int.from_bytes(raw[:4], "little")
                words.append(raw[4 : 4 + size].decode())
                raw = raw[4 + size :]
            found[name] = np.array(words, dtype=object).reshape(dims)
            continue
        dtype = {1: "?", 2: "u1", 8: "<i4", 9: "<i8", 10: "<f2", 11: "<f4", 12: "<f8"}[one.data_type]
        found[name] = np.frombuffer(raw, dtype).reshape(dims)
    return found


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def not_measured():
    """For a fixture: memory is not measured meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "bench", _no_bench)
        yield


class _Measured:
    memory = 19 * 1024**2


def _no_bench(*_, **__):
    return _Measured


def objects(folder):
    """What kubectl would take of a folder, by kind, each valid."""
    found = {}
    for file in [*folder.glob("*.yaml"), *folder.glob("*.yml"), *folder.glob("*.json")]:
        for one in yaml.safe_load_all(file.read_text(encoding="utf-8")):
            kubernetes_validate.validate(one, KUBERNETES, strict=True)
            found[one["kind"].lower()] = one
    return found


def served_with(container):
    """The settings of the server that a container starts."""
    parser = build_parser(verbs=("serve",))
    return from_flags(parser.parse_args(["serve", *container["args"]]), {})


def mebibytes(text):
    return int(re.fullmatch(r"(\d+)Mi", text)[1])
