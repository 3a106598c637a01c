"""Any exported model in your own FastAPI app: arrays in, arrays out, by name.

    pip install fastapi uvicorn onnxruntime
    MODEL=model.onnx uvicorn arrays:app --app-dir examples/fastapi
    curl --json '{"age": [[31]], "words": [[4, 9, 1, 0]], "member": [[true]]}' localhost:8000/run

`mnistkit serve` does more (batches, limits, metrics, reload); this is for an app that has other things to do.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import onnxruntime
from fastapi import Body, FastAPI, HTTPException

sys.path.append(str(Path(__file__).parents[1] / "python"))

from run import run

session = onnxruntime.InferenceSession(os.environ["MODEL"], providers=["CPUExecutionProvider"])
app = FastAPI(title="arrays")


# Not async: the model would block the event loop, so FastAPI runs this in a thread.
@app.post("/run")
def run_model(inputs: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
    """Run the model on an array for each input by its name."""
    try:
        return run(session, inputs)
    except ValueError as error:
        raise HTTPException(422, str(error)) from error
