"""Run any exported file on numbers, with onnxruntime and NumPy alone.

    python examples/python/run.py MODEL.onnx INPUTS.json

INPUTS.json has an array for each input by its name, nested as its shape: {"age": [[31], [54]], "words": [[4, 9, 1]]}.
Prints the outputs in the same form. `mnistkit info MODEL.onnx` shows names, types and shapes.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

NAMES = {"float": "float32", "double": "float64"}  # where ONNX and NumPy differ
KINDS = {"f": "fiu", "i": "iu", "u": "iu", "b": "b"}  # of JSON's arrays, for each kind of tensor


def run(session: onnxruntime.InferenceSession, given: dict[str, Any]) -> dict[str, Any]:
    """Outputs by name, for nested lists by input name; raises ValueError where these do not fit the model."""
    inputs = {node.name: node.type.removeprefix("tensor(").removesuffix(")") for node in session.get_inputs()}
    if unknown := given.keys() - inputs.keys():
        raise ValueError(f"unknown input {', '.join(sorted(unknown))}; the model takes {', '.join(inputs)}")
    feeds = {name: tensor(name, kind, given.get(name)) for name, kind in inputs.items()}
    names = [node.name for node in session.get_outputs()]
    try:
        return {name: array.tolist() for name, array in zip(names, session.run(names, feeds), strict=True)}
    except Exception as error:  # onnxruntime's exceptions share no public base
        raise ValueError(str(error).splitlines()[0]) from error


def tensor(name: str, kind: str, value: Any) -> np.ndarray:
    """The array of one input."""
    if value is None:
        raise ValueError(f"input {name}: expected an array, got none")
    try:
        array = np.array(value)
    except ValueError as error:
        raise ValueError(f"input {name}: rows differ in length") from error
    if kind == "string" and array.dtype.kind == "U":
        return array.astype(object)
    wanted = np.dtype(NAMES.get(kind, kind) if kind != "string" else object)
    made = array.astype(wanted) if array.dtype.kind in KINDS.get(wanted.kind, "") else None
    if made is None or (wanted.kind in "iu" and (made != array).any()):
        raise ValueError(f"input {name}: expected {kind}, got {array.dtype} {array.ravel()[:3].tolist()}")
    return made


def main() -> int:
    """Run the model of the command line."""
    try:
        model, inputs = sys.argv[1:]
    except ValueError:
        print("usage: run.py MODEL.onnx INPUTS.json", file=sys.stderr)
        return 2
    try:
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        print(json.dumps(run(session, json.loads(Path(inputs).read_text(encoding="utf-8")))))
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
