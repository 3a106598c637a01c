"""The figure of a graph: boxes with operators, shapes and parameters, from top to bottom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnistkit.publish.report.drawing import Chart, Palette, style
from mnistkit.publish.report.graph_layout import Layout, lay_out
from mnistkit.publish.report.graph_picture import TIMES
from mnistkit.publish.report.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mnistkit.publish.report.graph_picture import Box, Picture

_HIGH = 0.68  # inches of a layer
_NARROWEST, _WIDEST = 2.5, 3.9  # inches of a box with its gap
_CHARACTER = {"title": 0.078, "shape": 0.062, "name": 0.056}  # inches, about
_BOX_HIGH, _MARGIN = 0.42, 0.12
_TALLEST = 60.0
_LABELED = 12  # boxes named in the label


def draw_graph(picture: Picture, palette: Palette) -> Chart:
    """Draw what `graph_folding.fold` left."""
    layout = lay_out(len(picture.boxes), picture.edges)
    wide = _box_width(picture.boxes)
    width, height = wide * layout.width + 2 * _MARGIN, min(_HIGH * layout.layers + 2 * _MARGIN, _TALLEST)
    words: list[str] = []
    with style(palette) as mpl:
        figure = mpl.figure.Figure(figsize=(width, height), layout="none")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_xlim(-_MARGIN, width - _MARGIN)
        axes.set_ylim(_HIGH * layout.layers + _MARGIN, -_MARGIN)
        axes.axis("off")
        for block in picture.blocks:
            inside = range(block.first, block.last + 1)
            _draw_frame(axes, layout, inside, times=block.times, wide=wide, mpl=mpl, palette=palette)
        for route in layout.routes:
            _draw_arrow(axes, route, wide=wide, mpl=mpl, palette=palette)
        for place, box in enumerate(picture.boxes):
            left, top = wide * (layout.x[place] - 0.5), _HIGH * layout.layer[place] + (_HIGH - _BOX_HIGH) / 2
            _draw_box(axes, box, (left + 0.04, top), wide=wide, mpl=mpl, palette=palette)
            words += [box.title, box.name, box.shape]
    return Chart("graph", figure, tuple(words), graph_label(picture))


def graph_label(picture: Picture) -> str:
    """What the drawing shows, in a sentence."""
    titles = [box.title for box in picture.boxes]
    told = " → ".join(titles[:_LABELED]) + (" → …" if len(titles) > _LABELED else "")
    return f"Graph of {counted(picture.operations)}, from top to bottom: {told}. The table below lists all boxes."


def _box_width(boxes: Sequence[Box]) -> float:
    """Inches that the longest texts need, within limits."""
    size = _CHARACTER
    first = max(size["title"] * len(box.title) + size["shape"] * len(box.shape) for box in boxes)
    second = max(
        size["name"] * (len(box.name) + (len(f"{box.parameters:,}") + 11 if box.parameters else 0)) for box in boxes
    )
    return min(max(first + 0.55, second + 0.55, _NARROWEST), _WIDEST)


def _draw_box(axes: Any, box: Box, corner: tuple[float, float], *, wide: float, mpl: Any, palette: Palette) -> None:
    left, top = corner
    width = wide - 0.08
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
        told = counted(box.parameters, "parameter")
        axes.text(left + width - 0.1, second, told, fontsize=7, color=palette.blue, va="center", ha="right")


def _draw_arrow(axes: Any, route: Sequence[tuple[float, float]], *, wide: float, mpl: Any, palette: Palette) -> None:
    """A curve through the places that the arrow passes, from below one box to above the other."""
    path, edge = mpl.path.Path, _BOX_HIGH / 2
    points = [(wide * x, _HIGH * (layer + 0.5)) for x, layer in route]
    vertices, codes = [(points[0][0], points[0][1] + edge)], [path.MOVETO]
    for to_x, to_y in points[1:]:
        x, y = vertices[-1]
        middle = (y + to_y - edge) / 2
        vertices += [(x, middle), (to_x, middle), (to_x, to_y - edge)]
        codes += [path.CURVE4] * 3
        if (to_x, to_y) != points[-1]:  # straight past the boxes of this layer
            vertices.append((to_x, to_y + edge))
            codes.append(path.LINETO)
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


def _draw_frame(
    axes: Any, layout: Layout, inside: range, *, times: int, wide: float, mpl: Any, palette: Palette
) -> None:
    """A frame around the boxes of a block that repeats, with its factor."""
    left = wide * (min(layout.x[place] for place in inside) - 0.5)
    right = wide * (max(layout.x[place] for place in inside) + 0.5)
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
