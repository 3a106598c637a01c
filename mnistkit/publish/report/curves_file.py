"""The curves of a training as a PNG, for `mnistkit train --plot`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mnistkit.core.files import replacing
from mnistkit.publish.report.charts import draw_curves
from mnistkit.publish.report.drawing import SLIDES, as_png
from mnistkit.publish.report.history import curves_of

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence


def write_curves(history: Mapping[str, Sequence[float]], path: str | os.PathLike[str]) -> None:
    """Draw all metrics of a history, and replace the file.

    Args:
        history: Values of all epochs by metric, those of validation data with ``val_`` before the name.
        path: The PNG.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: The file cannot be written.
    """
    curves = curves_of({name: list(values) for name, values in history.items()})
    if not curves:
        return
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(as_png(draw_curves(curves, SLIDES)))
