"""The figure of a graph: boxes with operators, shapes and parameters, from top to bottom."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from mnistkit.publish.report.drawing import Chart, Palette, style
from mnistkit.publish.report.graph_layout import Layout, lay_out
from mnistkit.publish.report.graph_picture import TIMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mnistkit.publish.report.graph_picture import Box, Picture

_WIDE, _HIGH = 3.9, 0.62  # inches of a box with its gap
_BOX_HIGH, _MARGIN = 0.42, 0.12
_TALLEST = 60.0
_LABELED = 12  # boxes named in the label


def draw_graph(picture: Picture, palette: Palette) -> Chart:
    """Draw what `graph_folding.fold` left."""
    layout = lay_out(len(picture.boxes), picture.edges)
    width, height = _WIDE * layout.width + 2 * _MARGIN, min(_HIGH * layout.layers + 2 * _MARGIN, _TALLEST)
    words: list[str] = []
    with style(palette) as mpl:
        figure = mpl.figure.Figure(figsize=(width, height), layout="none")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_xlim(-_MARGIN, width - _MARGIN)
        axes.set_ylim(_HIGH * layout.layers + _MARGIN, -_MARGIN)
        axes.axis("off")
        for block in picture.blocks:
            inside = range(block.first, block.last + 1)
            _draw_frame(axes, layout, inside, times=block.times, mpl=mpl, palette=palette)
        for route in layout.routes:
            _draw_arrow(axes, route, mpl=mpl, palette=palette)
        for place, box in enumerate(picture.boxes):
            left, top = _WIDE * (layout.x[place] - 0.5), _HIGH * layout.layer[place] + (_HIGH - _BOX_HIGH) / 2
            _draw_box(axes, box, (left + 0.04, top), mpl=mpl, palette=palette)
            words += [box.title, box.name, box.shape]
    return Chart("graph", figure, tuple(words), graph_label(picture))


def graph_label(picture: Picture) -> str:
    """What the drawing shows, in a sentence."""
    titles = [box.title for box in picture.boxes]
    told = " → ".join(titles[:_LABELED]) + (" → …" if len(titles) > _LABELED else "")
    return f"Graph of {picture.operations:,} operations, from top to bottom: {told}. The table below lists all boxes."


def _draw_box(axes: Any, box: Box, corner: tuple[float, float], *, mpl: Any, palette: Palette) -> None:
    left, top = corner
    width = _WIDE - 0.08
    is_end = box.kind in {"input", "output"}
    color = palette.green if is_end else (palette.blue if box.parameters else palette.quiet)
    shape = mpl.patches.FancyBboxPatch(
        (left + 0.05, top + 0.05), width - 0.1, _BOX_HIGH - 0.1, boxstyle="round,pad=0.05,rounding_size=0.06",
        facecolor=palette.box, edgecolor=palette.line, linewidth=0.9, linestyle="--" if box.kind == "more" else "-",
    )  # fmt: skip
    axes.add_patch(shape)
    axes.add_patch(
        mpl.patches.Rectangle((left + 0.05, top + 0.07), 0.045, _BOX_HIGH - 0.14, facecolor=color, linewidth=0)
    )
    first, second = top + 0.15, top + 0.31
    axes.text(left + 0.17, first, box.title, fontsize=8.5, fontweight="bold", color=palette.ink, va="center")
    axes.text(left + width - 0.1, first, box.shape, fontsize=7.5, color=palette.ink, va="center", ha="right")
    axes.text(left + 0.17, second, box.name, fontsize=7, color=palette.quiet, va="center")
    if box.parameters:
        told = f"{box.parameters:,} parameters"
        axes.text(left + width - 0.1, second, told, fontsize=7, color=palette.blue, va="center", ha="right")


def _draw_arrow(axes: Any, route: Sequence[tuple[float, float]], *, mpl: Any, palette: Palette) -> None:
    """A curve through the places that the arrow passes, from below one box to above the other."""
    points = [(_WIDE * x, _HIGH * (layer + 0.5)) for x, layer in route]
    edge = _BOX_HIGH / 2
    points = [(points[0][0], points[0][1] + edge), *points[1:-1], (points[-1][0], points[-1][1] - edge)]
    path = mpl.path.Path
    vertices, codes = [points[0]], [path.MOVETO]
    for (x, y), (to_x, to_y) in itertools.pairwise(points):
        middle = (y + to_y) / 2
        vertices += [(x, middle), (to_x, middle), (to_x, to_y)]
        codes += [path.CURVE4] * 3
    arrow = mpl.patches.FancyArrowPatch(
        path=path(vertices, codes),
        arrowstyle="-|>",
        mutation_scale=7,
        color=palette.quiet,
        linewidth=1,
        shrinkA=0,
        shrinkB=0,
    )
    axes.add_patch(arrow)


def _draw_frame(axes: Any, layout: Layout, inside: range, *, times: int, mpl: Any, palette: Palette) -> None:
    """A frame around the boxes of a block that repeats, with its factor."""
    left = _WIDE * (min(layout.x[place] for place in inside) - 0.5)
    right = _WIDE * (max(layout.x[place] for place in inside) + 0.5)
    top = _HIGH * min(layout.layer[place] for place in inside)
    bottom = _HIGH * (max(layout.layer[place] for place in inside) + 1)
    frame = mpl.patches.Rectangle(
        (left, top + 0.03), right - left, bottom - top - 0.06, facecolor="none", linewidth=1.2
    )
    frame.set(edgecolor=palette.orange, linestyle="--")
    axes.add_patch(frame)
    told = {"s": f"{TIMES} {times}", "fontsize": 8.5, "fontweight": "bold", "color": palette.orange}
    behind = {"facecolor": palette.back, "edgecolor": "none", "pad": 1}
    axes.text(right - 0.05, top + 0.07, ha="right", va="center", bbox=behind, **told)
