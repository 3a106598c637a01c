"""What an exported digit classifier is: its names, its size and how a picture becomes its input."""

from __future__ import annotations

from typing import Any

INPUT_NAME = "image"
OUTPUT_NAME = "probabilities"
CLASSES = 10
SIDE = 28
DIGITS: tuple[str, ...] = tuple("0123456789")
"""Names of the ten classes, unless a data set brings others."""

PREPROCESSING = "grey levels divided by 255: 0 is background, 1 is full ink; 28x28 pixels, row by row"
PREPROCESSING_PARAMETERS: dict[str, Any] = {"scale": 1 / 255, "offset": 0.0, "side": SIDE, "ink": "bright"}
