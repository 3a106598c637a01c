"""How the reader is trained; nothing here needs NumPy or Keras."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mnistkit.core.errors import InputError

_MULTIPLE: Final = 32
_LEAST_SIDE: Final = 128  # less than a large digit


@dataclass(frozen=True, slots=True)
class ReaderSettings:
    """How the reader is trained.

    Attributes:
        steps: Batches; with ``minutes`` the most.
        minutes: The learning-rate cycle ends after so long, or None: after ``steps``.
        batch_size: Pages a step.
        seed: Of the initial weights and of the pages.
        workers: Processes that make pages; by default one for each processor but one.
        fonts: A folder with fonts in ``hand`` and ``print``, or None: Pillow's own.
        pages: Of the score.
        side: Pixels of a page, each way; a multiple of 32.
        start: A ``.keras`` file of a reader that the training goes on from, at a lower rate and without changing its
            batch normalization; or None.

    Raises:
        InputError: A number is out of range.
    """

    steps: int = 1_000_000
    minutes: float | None = None
    batch_size: int = 32
    seed: int = 1337
    workers: int | None = None
    fonts: str | None = None
    pages: int = 600
    side: int = 256
    start: str | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "pages"):
            if getattr(self, name) < 1:
                raise InputError(f"{name.replace('_', ' ')} must be at least 1, got {getattr(self, name)}")
        if self.minutes is not None and not self.minutes > 0:
            raise InputError(f"minutes must be positive, got {self.minutes}")
        if self.side < _LEAST_SIDE or self.side % _MULTIPLE:
            raise InputError(f"side must be a multiple of {_MULTIPLE} from {_LEAST_SIDE} on, got {self.side}")
        if self.seed < 0:
            raise InputError(f"seed must not be negative, got {self.seed}")
