"""Digits in your own FastAPI app, with onnxruntime alone.

    pip install fastapi uvicorn python-multipart onnxruntime pillow
    uvicorn app:app --app-dir examples/fastapi
    curl -F picture=@examples/digit.png localhost:8000/digit

`mnistkit serve` does more (batches, limits, metrics, reload); this is for an app that has other things to do.
"""

import os
from pathlib import Path
from typing import Annotated, BinaryIO

import numpy as np
import onnxruntime
from fastapi import FastAPI, File, HTTPException, UploadFile
from PIL import Image, ImageOps

MODEL = os.environ.get("MODEL", Path(__file__).parents[2] / "exports" / "mnist-cnn-picture.onnx")
LARGEST_FILE, LARGEST_PICTURE = 10_000_000, 25_000_000  # bytes, pixels

session = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
app = FastAPI(title="digits")


# Not async: decoding and the model would block the event loop, so FastAPI runs this in a thread.
@app.post("/digit")
def digit(picture: Annotated[UploadFile, File()]) -> dict:
    """Read the digit of an uploaded picture."""
    if picture.size is None or picture.size > LARGEST_FILE:
        raise HTTPException(413, f"a picture file has at most {LARGEST_FILE} bytes")
    found, probabilities, ink = session.run(
        ["digit", "probabilities", "ink_fraction"], {"picture": _pixels(picture.file)}
    )
    if not ink > 0:
        raise HTTPException(422, "no digit found; nothing stands out from the background")
    return {"digit": int(found), "probabilities": probabilities.tolist()}


def _pixels(file: BinaryIO) -> np.ndarray:
    """uint8 [height, width, channels], upright; with a fourth channel where the picture has transparency."""
    try:
        with Image.open(file) as image:
            size = image.width * image.height
            if size <= LARGEST_PICTURE:
                upright = ImageOps.exif_transpose(image)
                return np.asarray(upright.convert("RGBA" if upright.has_transparency_data else "RGB"))
    except Exception as error:  # decoders raise anything at all on damaged files
        raise HTTPException(415, "not a picture, or a damaged one") from error
    raise HTTPException(413, f"a picture has at most {LARGEST_PICTURE} pixels")
