"""Read digits from pictures of any size with onnxruntime, NumPy and Pillow alone.

    python examples/python/digit.py examples/digit.png

The file takes raw pixels; the steps from there to MNIST's 28x28 are inside. Make one for your own classifier with
`mnistkit export MODEL.keras --picture`, and name it with --model.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

MODEL = Path(__file__).parents[2] / "exports" / "mnist-cnn-picture.onnx"


def pixels(source: str) -> np.ndarray:
    """uint8 [height, width, channels], upright; with a fourth channel where the picture has transparency."""
    with Image.open(source) as image:
        upright = ImageOps.exif_transpose(image)
        return np.asarray(upright.convert("RGBA" if upright.has_transparency_data else "RGB"))


def read(session: onnxruntime.InferenceSession, picture: np.ndarray) -> tuple[int | None, np.ndarray]:
    """Digit and the ten probabilities; the digit is None where nothing is drawn."""
    names = ["digit", "probabilities", "ink_fraction"]
    digit, probabilities, ink = session.run(names, {"picture": picture})
    return (int(digit) if ink > 0 else None), probabilities


def main() -> int:
    """Read the pictures of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("pictures", nargs="+")
    parser.add_argument("--model", default=str(MODEL))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    session = onnxruntime.InferenceSession(options.model, providers=["CPUExecutionProvider"])
    answers = []
    for path in options.pictures:
        digit, probabilities = read(session, pixels(path))
        answers.append({"picture": path, "digit": digit, "probabilities": probabilities.tolist()})
        if not options.json:
            print(f"{path}  {digit}  ({probabilities.max():.1%})" if digit is not None else f"{path}  nothing drawn")
    if options.json:
        print(json.dumps(answers))
    return int(any(answer["digit"] is None for answer in answers))


if __name__ == "__main__":
    sys.exit(main())
