"""Read digits from picture files: ``python -m mnistkit.predict``."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mnistkit.images import read_picture

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

    from mnistkit.errors import MnistkitError
    from mnistkit.inference import Classifier, Prediction


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What one picture was read as.

    Attributes:
        source: The picture, as it was named.
        prediction: The digit, or ``None`` when there is an error.
        error: Why there is no digit, or ``None``.
    """

    source: str
    prediction: Prediction | None
    error: MnistkitError | None


def read_files(classifier: Classifier, sources: Iterable[str | os.PathLike[str]]) -> Iterator[Reading]:
    """Read pictures one by one; one that cannot be read does not stop the others.

    Args:
        classifier: Who reads.
        sources: Paths of picture files.

    Yields:
        One reading for each source, in order.
    """
    from mnistkit.errors import PictureError

    for source in sources:
        try:
            prediction = classifier.predict(read_picture(source))[0]
        except PictureError as error:
            yield Reading(str(source), None, error)
        else:
            yield Reading(str(source), prediction, None)


if __name__ == "__main__":
    from mnistkit.cli import main

    sys.exit(main(["predict", *sys.argv[1:]], prog="python -m mnistkit.predict"))
