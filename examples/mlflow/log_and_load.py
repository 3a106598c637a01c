"""Log an exported file to MLflow and load it again, as ONNX and as a pyfunc model; all answers are the same.

    pip install mlflow-skinny pandas onnx onnxruntime
    python examples/mlflow/log_and_load.py exports/mnist-jax.onnx

Logged is to the store that MLFLOW_TRACKING_URI names, by default a temporary folder.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow is imported

import mlflow
import numpy as np
import onnx
import onnxruntime
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

TYPES = {"tensor(float)": "float32", "tensor(double)": "float64"}  # others are named as NumPy names them


def signature(session: onnxruntime.InferenceSession) -> ModelSignature:
    """Inputs and outputs as the file declares them; a free axis is -1."""

    def schema(nodes: list) -> Schema:
        specs = []
        for node in nodes:
            dtype = np.dtype(TYPES.get(node.type, node.type.removeprefix("tensor(").removesuffix(")")))
            shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)
            specs.append(TensorSpec(dtype, shape, node.name))
        return Schema(specs)

    return ModelSignature(schema(session.get_inputs()), schema(session.get_outputs()))


def main(path: str) -> None:
    """Log, load twice, compare."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    said = session.get_modelmeta().custom_metadata_map
    with mlflow.start_run():
        if "mnistkit.test_accuracy" in said:
            mlflow.log_metric("test_accuracy", float(said["mnistkit.test_accuracy"]))
        logged = mlflow.onnx.log_model(
            onnx.load(path),
            name=Path(path).stem,
            signature=signature(session),
            onnx_execution_providers=["CPUExecutionProvider"],
            metadata={key: value for key, value in said.items() if key != "mnistkit.golden"},
            pip_requirements=["onnxruntime", "onnx", "numpy"],
        )
    print(mlflow.models.get_model_info(logged.model_uri).signature)

    rng = np.random.default_rng(0)
    inputs = {}
    for spec in logged.signature.inputs:
        shape = [2 if size == -1 else size for size in spec.shape]
        inputs[spec.name] = (rng.random(shape) * 2).astype(spec.type)
    expected = dict(zip([node.name for node in session.get_outputs()], session.run(None, inputs), strict=True))

    again = onnxruntime.InferenceSession(mlflow.onnx.load_model(logged.model_uri).SerializeToString())
    answers = again.run(None, inputs)
    by_pyfunc = mlflow.pyfunc.load_model(logged.model_uri).predict(inputs)
    for (name, right), answer in zip(expected.items(), answers, strict=True):
        np.testing.assert_allclose(answer, right, rtol=0, atol=1e-6)
        np.testing.assert_allclose(by_pyfunc[name], right, rtol=0, atol=1e-6)
        print(f"{name}: same answers by mlflow.onnx and by pyfunc, {list(right.shape)}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        if "MLFLOW_TRACKING_URI" not in os.environ:
            os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"  # files need no database and no server; enough to try it
            mlflow.set_tracking_uri(Path(folder).as_uri())
        mlflow.set_experiment("mnistkit")
        main(*sys.argv[1:])
