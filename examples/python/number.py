"""Read all digits of pictures with onnxruntime, NumPy and Pillow alone.

    python examples/python/number.py MODEL-number.onnx PICTURE ...

The file is written by `mnistkit export MODEL.keras --picture --number`. It takes raw pixels and gives the text.
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def pixels(source: str) -> np.ndarray:
    """uint8 [height, width, channels], upright; with a fourth channel where the picture has transparency."""
    with Image.open(source) as image:
        upright = ImageOps.exif_transpose(image)
        return np.asarray(upright.convert("RGBA" if upright.has_transparency_data else "RGB"))


def main() -> int:
    """Read the pictures of the command line."""
    if len(sys.argv) < 3:  # noqa: PLR2004
        print("usage: number.py MODEL-number.onnx PICTURE ...", file=sys.stderr)
        return 2
    session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
    for path in sys.argv[2:]:
        text, confidence, doubt = session.run(["text", "confidence", "in_doubt"], {"picture": pixels(path)})
        answer = {"text": bytes(text).decode(), "confidence": float(confidence), "in_doubt": bool(doubt)}
        print(json.dumps({"picture": path, **answer}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
