"""The folder through which prometheus-client adds up the numbers of several processes.

Apart from `mnistkit.serve.metrics`, because prometheus-client decides when it is imported whether there is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def forget(folder: Path, process: int) -> None:
    """Drop what a dead worker said of its present; what it counted stays in the sums."""
    for path in folder.glob(f"gauge_live*_{process}.db"):
        path.unlink(missing_ok=True)
