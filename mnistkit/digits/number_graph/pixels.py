"""A picture's pixels before a look: made smaller, two planes of gray, turned upright; as `reader.looks` does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mnistkit.digits.reader.looks import _MOST_SIDE

if TYPE_CHECKING:
    from mnistkit.digits.number_graph.graph import Graph
    from mnistkit.digits.number_graph.tensor import Tensor

_BAND: Final = 1 << 19  # pixels handled at a time, so that a photo never becomes one big array
_FAR: Final = 1 << 40
_OPAQUE: Final = 255
_FIXED: Final = float(1 << 24)
_ROUNDED_UP: Final = 1 + 2**-20  # so that no column is lost where the scale has no exact float


def smaller(g: Graph, picture: Tensor) -> Tensor:
    """A large picture by a whole factor smaller, as `reader.looks.smaller`: uint8 ``[rows, columns, channels]``."""
    factor = picture.size(0).most(picture.size(1)) // _MOST_SIDE
    has_alpha = g.op("Mod", picture.size(2), g.constant(2, "int64")).equals(0)

    def reduced() -> list[Tensor]:
        def transparent() -> list[Tensor]:
            return [_divided(g, reduce(g, picture, factor, factor, has_alpha=True))]

        return g.either(has_alpha, transparent, lambda: [reduce(g, picture, factor, factor)])

    return g.either(factor > 1, reduced, lambda: [picture])[0]


def without_alpha(g: Graph, picture: Tensor) -> Tensor:
    """A picture without its alpha where nothing is transparent, as a canvas gives it."""
    channels = picture.size(2)
    has_alpha = g.op("Mod", channels, g.constant(2, "int64")).equals(0)

    def opaque() -> list[Tensor]:
        return [picture.cut(channels - 1, channels, 2).min().equals(_OPAQUE)]

    is_opaque = g.either(has_alpha, opaque, lambda: [g.constant(False, "bool")])[0]
    return g.either(is_opaque, lambda: [picture.cut(0, channels - 1, 2)], lambda: [picture])[0]


def reduce(g: Graph, pixels: Tensor, down: Tensor, across: Tensor, *, has_alpha: bool = False) -> Tensor:
    """Averages over whole cells, cut at the far edges, rounded as Pillow's ``reduce`` rounds.

    Args:
        g: The graph.
        pixels: uint8 ``[rows, columns, channels]``.
        down: Rows of a cell, int64.
        across: Columns of a cell.
        has_alpha: The last channel is alpha, with which the others are multiplied first.
    """
    height, width, channels = (pixels.size(axis) for axis in range(3))
    rows, columns = (height + down - 1) // down, (width + across - 1) // across
    per_band = (g.constant(_BAND, "int64") // (width * down)).most(1)
    bands = (rows + per_band - 1) // per_band
    cells_across = g.choose((g.arange(columns) + 1).equals(columns), width - (columns - 1) * across, across)

    def band(turn: Tensor, done: Tensor) -> tuple[None, list[Tensor], list[Tensor]]:
        first = turn * per_band
        count = (rows - first).least(per_band)
        part = pixels.cut(first * down, (first + count) * down)
        part = (_multiplied(g, part) if has_alpha else part).cast("float32")
        missing = [count * down - part.size(0), columns * across - width]
        part = g.op("Pad", part, g.shape_of([0, 0, 0, missing[0], missing[1], 0]))
        by_rows = part.reshape(count, down, columns * across * channels).sum(1)
        cells = by_rows.reshape(count, columns, across, channels)

        def add(place: Tensor, total: Tensor) -> tuple[None, list[Tensor], list[Tensor]]:
            return None, [total + cells.take(place, 2)], []

        # One column of all cells at a time: a sum over so few, so often, is slow.
        total = g.loop(across, [g.constant([[[0]]], "float32")], add)[0][0].cast("float64")
        is_last = (g.arange(count) + (first + 1)).equals(rows)
        cells_down = g.choose(is_last, height - (rows - 1) * down, down)
        number = (cells_down.unsqueeze(1) * cells_across.unsqueeze(0)).unsqueeze(2).cast("float64")
        # Fixed point: a whole average comes out one lower where 2**24 is no multiple of the cell.
        weighed = (total + (number / 2).apply("Floor")) * (_FIXED / number).apply("Floor")
        return None, [g.join([done, (weighed / _FIXED).cast("uint8")])], []

    start = g.op("Expand", g.constant([[[0]]], "uint8"), g.shape_of([0, columns, channels]))
    return g.loop(bands, [start], band)[0][0]


def _multiplied(g: Graph, picture: Tensor) -> Tensor:
    """Colors times alpha, rounded as Pillow's ``La`` and ``RGBa``."""
    last = picture.size(2) - 1
    alpha = picture.cut(last, last + 1, 2)
    product = picture.cut(0, last, 2).cast("int32") * alpha.cast("int32") + 128
    return g.join([((product // 256 + product) // 256).cast("uint8"), alpha], 2)


def _divided(g: Graph, picture: Tensor) -> Tensor:
    """Colors by alpha again."""
    last = picture.size(2) - 1
    colors, alpha = picture.cut(0, last, 2), picture.cut(last, last + 1, 2)
    wide = alpha.cast("int32")
    divided = (colors.cast("int32") * _OPAQUE // wide.most(1)).least(_OPAQUE).cast("uint8")
    return g.join([g.choose(wide.equals(0) | wide.equals(_OPAQUE), colors, divided), alpha], 2)


def to_planes(g: Graph, picture: Tensor) -> Tensor:
    """The smallest and the largest of the colors of each pixel, uint8 ``[2, rows, columns]``, as `reader.looks`."""
    channels = picture.size(2)
    colors = picture.cut(0, g.choose(channels <= 2, g.constant(1, "int64"), 3), 2)  # noqa: PLR2004
    planes = g.stack([colors.min(2), colors.max(2)])

    def shown() -> list[Tensor]:
        alpha = picture.cut(channels - 1, channels, 2).squeeze(2).cast("int32")
        high = planes.take(1).cast("int32")
        weight = alpha.cast("float32")
        level = (high * alpha).cast("float32").mean() / weight.mean().most(1e-12)
        see_through = (weight < 128).cast("float32").mean() > 0.3  # noqa: PLR2004  # as in looks.to_planes
        page = g.choose(see_through & (level > 160), g.constant(0, "int32"), _OPAQUE)  # noqa: PLR2004
        return [((planes.cast("int32") * alpha + page * (_OPAQUE - alpha)) // _OPAQUE).cast("uint8")]

    has_alpha = g.op("Mod", channels, g.constant(2, "int64")).equals(0)
    return g.either(has_alpha, shown, lambda: [planes])[0]


def upright(g: Graph, pixels: Tensor, turns: Tensor, *, rows: int, columns: int) -> Tensor:
    """Pixels turned back by quarter turns clockwise: ``np.rot90(pixels, -turns)`` in the axes ``rows``, ``columns``."""

    def turned() -> list[Tensor]:
        def reversed_where(value: Tensor, is_so: Tensor, axis: int) -> Tensor:
            ends = [g.choose(is_so, g.ints(one), g.ints(other)) for one, other in ((-1, 0), (-_FAR, _FAR), (-1, 1))]
            return g.op("Slice", value, ends[0], ends[1], g.ints(axis), ends[2])

        flipped = reversed_where(pixels, turns.equals(1) | turns.equals(2), rows)
        flipped = reversed_where(flipped, turns.equals(2) | turns.equals(3), columns)
        order = [0, 1, 2]
        order[rows], order[columns] = columns, rows
        return g.either(turns.equals(2), lambda: [flipped], lambda: [flipped.transpose(*order)])

    return g.either(turns.equals(0), lambda: [pixels], turned)[0]


def resized(g: Graph, planes: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Planes at another size, as Pillow does it with a reducing gap: uint8 ``[2, height, width]``."""
    rows, columns = planes.size(1), planes.size(2)
    is_larger = (width > columns) | (height > rows)

    def resampled(source: Tensor, scales: list[Tensor], mode: str) -> Tensor:
        one = g.constant([1, 1], "float32")
        both = g.join([one, *(scale.reshape(1) for scale in scales)])
        found = g.op(
            "Resize", source.unsqueeze(0), "", both, mode=mode, antialias=1, cubic_coeff_a=-0.5, exclude_outside=1
        )
        return found.squeeze(0).cut(0, height, 1).cut(0, width, 2)

    def exact(source: Tensor, mode: str) -> Tensor:
        sizes = g.shape_of([1, 2, height, width])
        found = g.op(
            "Resize", source.unsqueeze(0), "", "", sizes, mode=mode, antialias=1, cubic_coeff_a=-0.5, exclude_outside=1
        )
        return found.squeeze(0)

    def larger() -> list[Tensor]:
        return [exact(planes, "cubic")]

    def smaller_() -> list[Tensor]:
        down, across = ((size // (wanted * 2)).most(1) for size, wanted in ((rows, height), (columns, width)))

        def in_two_steps() -> list[Tensor]:
            cells = reduce(g, planes.transpose(1, 2, 0), down, across).transpose(2, 0, 1)
            wanted = [
                (size * step).cast("float64") / whole.cast("float64") * _ROUNDED_UP
                for size, step, whole in ((height, down, rows), (width, across, columns))
            ]
            return [resampled(cells, [one.cast("float32") for one in wanted], "linear")]

        return g.either((down > 1) | (across > 1), in_two_steps, lambda: [exact(planes, "linear")])

    return g.either(is_larger, larger, smaller_)[0]
