"""What every digit classifier of this package is: its names and its sizes."""

from __future__ import annotations

NAME = "digits"
"""The profile's name, in the training provenance and for ``--profile``."""
INPUT_NAME = "image"
OUTPUT_NAME = "probabilities"
CLASSES = 10
SIDE = 28
DIGITS: tuple[str, ...] = tuple("0123456789")
"""Names of the ten classes, unless a data set brings others."""
SHOWN = ".shown.png"
"""How the files end that ``predict --show`` writes beside pictures."""
ARRAY_ENDINGS = frozenset({".npz", ".npy", ".parquet"})
"""Of files with many images, which are read into a table."""
