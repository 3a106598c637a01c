"""The figure of ``mnistkit bench --plot``: the latency of each file at each batch size."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from mnistkit.core.files import replacing
from mnistkit.publish.report.drawing import SLIDES, Chart, as_png, style

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from mnistkit.publish.bench import Bench
    from mnistkit.publish.speed import Latency

_MARKS = ("o", "s", "^", "D", "v", "P")


def write_plot(found: Sequence[Bench], path: str | os.PathLike[str]) -> None:
    """Draw the median latencies, both axes logarithmic; Keras' with dashes."""
    colors = (SLIDES.blue, SLIDES.orange, SLIDES.green, SLIDES.quiet)
    words = []
    with style(SLIDES) as mpl:
        figure = mpl.figure.Figure(figsize=(6.4, 4))
        axes = figure.add_subplot()
        for number, one in enumerate(found):
            options = {"color": colors[number % len(colors)], "marker": _MARKS[number % len(_MARKS)]}
            curves = [(Path(one.file).name, one.latencies, "-")]
            curves += [(f"{Path(one.file).stem}, Keras predict", _of_keras(one), "--")] if one.keras else []
            for label, latencies, dashes in curves:
                rows = [latency.batch_size or 1 for latency in latencies]
                axes.plot(rows, [latency.p50 for latency in latencies], dashes, label=label, **options)
                words.append(label)
        sizes = sorted({latency.batch_size or 1 for one in found for latency in one.latencies})
        axes.set_xscale("log")
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.set_xticks([], minor=True)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(lambda *_: "")
        all_times = [math.log10(latency.p50) for one in found for latency in one.latencies + _of_keras(one)]
        axes.set_ylim(10 ** math.floor(min(all_times)), 10 ** math.ceil(max(all_times)))
        axes.set_xlabel("batch size")
        axes.set_ylabel("milliseconds, median")
        axes.grid(visible=True)
        axes.legend()
    with replacing(path) as temporary:
        temporary.write_bytes(as_png(Chart("bench", figure, tuple(words), "")))


def _of_keras(found: Bench) -> tuple[Latency, ...]:
    return found.keras.latencies if found.keras else ()
