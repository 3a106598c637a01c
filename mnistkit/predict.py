"""Read digits from picture files: ``python -m mnistkit.predict``."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mnistkit.images import read_picture

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from mnistkit.errors import MnistkitError
    from mnistkit.inference import Classifier, Prediction


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What one picture was read as.

    Attributes:
        source: The picture, as it was named.
        prediction: The digit, or ``None`` when there is an error.
        error: Why there is no digit, or ``None``.
        seen: What the picture was made into, float32 ``[28, 28]``, or ``None`` when it cannot be read.
    """

    source: str
    prediction: Prediction | None
    error: MnistkitError | None
    seen: NDArray[np.float32] | None = None

    @property
    def runner_up(self) -> int | None:
        """The second digit when it is close: at least half as probable as the first."""
        if self.prediction is None:
            return None
        second, first = self.prediction.probabilities.argsort()[-2:]
        close = self.prediction.probabilities[second] >= self.prediction.probabilities[first] / 2
        return int(second) if close else None


def read_files(
    classifier: Classifier, sources: Iterable[str | os.PathLike[str]], *, min_confidence: float = 0.0
) -> Iterator[Reading]:
    """Read pictures one by one; one that cannot be read does not stop the others.

    Args:
        classifier: Who reads.
        sources: Paths of picture files.
        min_confidence: A reading less sure than this is an error: "cannot tell".

    Yields:
        One reading for each source, in order.
    """
    from mnistkit.errors import PictureError

    for source in sources:
        try:
            seen = read_picture(source)
            prediction = classifier.predict(seen)[0]
        except PictureError as error:
            yield Reading(str(source), None, error)
            continue
        if prediction.confidence < min_confidence:
            guess = f"best guess {prediction.label} with {prediction.confidence:.1%}, asked for {min_confidence:.1%}"
            yield Reading(str(source), None, PictureError(f"{source}: cannot tell ({guess})"), seen)
        else:
            yield Reading(str(source), prediction, None, seen)


if __name__ == "__main__":
    from mnistkit.cli import main

    sys.exit(main(["predict", *sys.argv[1:]], prog="python -m mnistkit.predict"))
