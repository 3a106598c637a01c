"""Figures of the numbers: curves, confusion, reliability, mistakes. Each is a function of data and a palette."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.publish.report.drawing import Chart, Palette, style
from mnistkit.publish.report.words import short

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mnistkit.publish.report.calibration import Calibration
    from mnistkit.publish.report.confusion import Confusion
    from mnistkit.publish.report.history import Curve
    from mnistkit.publish.report.scores import Mistake

_MOST_POINTS = 1000
_MARKED = 40  # epochs up to which each has a mark
_STRONG = 0.82
_WEAK = 0.55
"""Cells are at least this strong, or at most this weak: in between neither dark nor light text can be read."""
_LABEL = 14
_LARGEST = 1e30  # drawn value


def draw_curve(curve: Curve, palette: Palette, *, name: str) -> Chart:
    """One metric over the epochs."""
    with style(palette) as mpl:
        figure = mpl.figure.Figure(figsize=(4.6, 3.1))
        _curve_axes(figure.add_subplot(), curve, palette)
    return Chart(name, figure, (curve.name,), curve_label(curve))


def draw_curves(curves: Sequence[Curve], palette: Palette) -> Chart:
    """All metrics in one figure, beside each other: what `mnistkit train --plot` shows."""
    columns = min(2, len(curves))
    rows = math.ceil(len(curves) / columns)
    with style(palette) as mpl:
        figure = mpl.figure.Figure(figsize=(4.6 * columns, 3.1 * rows))
        for number, curve in enumerate(curves):
            _curve_axes(figure.add_subplot(rows, columns, number + 1), curve, palette)
    return Chart("curves", figure, tuple(curve.name for curve in curves), " ".join(map(curve_label, curves)))


def curve_label(curve: Curve) -> str:
    """What a curve shows, in a sentence."""
    parts = []
    for values, of in ((curve.training, "training"), (curve.validation, "validation")):
        if values:
            parts.append(f"{of} {_number(values[0])} after epoch 1, {_number(values[-1])} after epoch {len(values)}")
    return f"Line chart of {short(curve.name)}: {'; '.join(parts)}."


def _curve_axes(axes: Any, curve: Curve, palette: Palette) -> None:
    from matplotlib.ticker import MaxNLocator

    lines = (
        (curve.training, "training", palette.blue, "o", "-"),
        (curve.validation, "validation", palette.orange, "s", "--"),
    )
    for values, label, color, mark, dash in lines:
        if not values:
            continue
        chosen = np.unique(np.linspace(0, len(values) - 1, min(len(values), _MOST_POINTS)).astype(int))
        marked = mark if len(values) <= _MARKED else ""
        axes.plot(
            chosen + 1,
            _drawable(np.array(values)[chosen]),
            color=color,
            marker=marked,
            markersize=4,
            linestyle=dash,
            label=label,
        )
    axes.set_title(short(curve.name, 40))
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.grid(axis="y")
    if curve.validation:
        axes.legend()
    if len(curve.training) == 1:
        axes.set_xlim(0.5, 1.5)


def draw_confusion(confusion: Confusion, palette: Palette) -> Chart:
    """The matrix: right answers in blue by their share of the class, mistakes in orange by their number."""
    labels = [short(label, _LABEL) for label in confusion.labels]
    count = len(labels)
    rows = np.maximum(confusion.matrix.sum(axis=1), 1)
    off = confusion.matrix * ~np.eye(count, dtype=bool)
    most = max(int(off.max(initial=0)), 1)
    side = 1.6 + max(3.2, 0.42 * count)
    size = 9 if count <= 12 else 7  # noqa: PLR2004  # cells that four digits fit into
    turned = max(map(len, labels)) > 3  # noqa: PLR2004  # wider than a cell
    with style(palette) as mpl:
        figure = mpl.figure.Figure(figsize=(side, side))
        axes = figure.add_subplot()
        for row in range(count):
            for column in range(count):
                value = int(confusion.matrix[row, column])
                if not value:
                    continue
                is_right = row == column
                share = value / rows[row] if is_right else math.sqrt(value / most)
                is_strong = is_right and share >= _STRONG
                strength = share if is_strong else 0.08 + (_WEAK - 0.08) * share
                color = palette.blue if is_right else palette.orange
                cell = mpl.patches.Rectangle(
                    (column - 0.5, row - 0.5), 1, 1, facecolor=color, alpha=strength, linewidth=0
                )
                axes.add_patch(cell)
                text = palette.on if is_strong else palette.ink
                axes.text(column, row, _compact(value), ha="center", va="center", fontsize=size, color=text)
        axes.set_xlim(-0.5, count - 0.5)
        axes.set_ylim(count - 0.5, -0.5)
        axes.set_aspect("equal")
        axes.set_xticks(range(count), labels, rotation=90 if turned else 0)
        axes.set_yticks(range(count), labels)
        axes.set_xticks(np.arange(-0.5, count), minor=True)
        axes.set_yticks(np.arange(-0.5, count), minor=True)
        axes.grid(which="minor", linewidth=0.5)
        axes.tick_params(which="both", length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("read as")
        axes.set_ylabel("true class")
    worst = ", ".join(f"{short(p.true)} read as {short(p.read)} {p.count} times" for p in confusion.pairs[:3])
    label = f"Confusion matrix of {count} classes. {f'Most frequent mistakes: {worst}' if worst else 'No mistakes'}."
    return Chart("confusion", figure, tuple(labels), label)


def draw_calibration(calibration: Calibration, palette: Palette) -> Chart:
    """The reliability diagram, with the number of samples of each bin below it."""
    used = [one for one in calibration.bins if one.count]
    width = 1 / len(calibration.bins)
    with style(palette) as mpl:
        figure = mpl.figure.Figure(figsize=(4.6, 4.8))
        upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3.2, 1]})
        upper.plot([0, 1], [0, 1], color=palette.quiet, linestyle="--", linewidth=1, label="perfectly calibrated")
        upper.bar([one.low for one in used], [one.accuracy for one in used], width, align="edge", color=palette.blue,
                  alpha=0.35, linewidth=0, label="accuracy")  # fmt: skip
        upper.plot(
            [one.confidence for one in used],
            [one.accuracy for one in used],
            "o",
            color=palette.blue,
            markersize=5,
            clip_on=False,
        )
        upper.set_ylabel("accuracy")
        upper.set_ylim(0, 1.02)
        upper.set_xlim(0, 1)
        upper.grid(axis="y")
        upper.legend(loc="upper left", fontsize=9)
        lower.bar([one.low for one in used], [one.count for one in used], width, align="edge", color=palette.quiet,
                  alpha=0.6, linewidth=0)  # fmt: skip
        lower.set_yscale("log")
        lower.set_ylim(0.7, 2 * max((one.count for one in used), default=1))
        lower.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        lower.set_ylabel("samples")
        lower.set_xlabel("confidence")
        lower.minorticks_off()
    label = (
        f"Reliability diagram: expected calibration error {calibration.error:.4f}, mean confidence "
        f"{calibration.confidence:.4f}, accuracy {calibration.accuracy:.4f}."
    )
    return Chart("calibration", figure, (), label)


def draw_mistakes(mistakes: Sequence[Mistake], palette: Palette) -> Chart:
    """The pictures that were read wrong, with both labels, for slides; a page has them as pictures of its own."""
    shown = [one for one in mistakes if one.pixels is not None]
    columns = min(6, max(len(shown), 1))
    rows = max(1, math.ceil(len(shown) / columns))
    words = []
    with style(palette) as mpl:
        figure = mpl.figure.Figure(figsize=(1.5 * columns, 1.85 * rows))
        for number, one in enumerate(shown):
            axes = figure.add_subplot(rows, columns, number + 1)
            axes.imshow(one.pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.axis("off")
            words += [short(one.true, 10), short(one.read, 10)]
            axes.set_title(f"{words[-2]} → {words[-1]}\n{one.score:.3g}", fontsize=9, loc="center", fontweight="normal")
    return Chart("mistakes", figure, tuple(words), f"{len(shown)} pictures that were read wrong, the surest first.")


def _drawable(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same with gaps where an axis would overflow."""
    return np.where(np.abs(values) < _LARGEST, values, np.nan)


def _number(value: float) -> str:
    return f"{value:.4g}"


def _compact(value: int) -> str:
    return str(value) if value < 10_000 else f"{value / 1000:.0f}k"  # noqa: PLR2004  # five digits do not fit
