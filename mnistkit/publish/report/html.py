"""Small pieces of HTML. All text that comes from a file goes through `escape`, and nothing else may."""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING

from mnistkit.publish.report.drawing import as_svg
from mnistkit.publish.report.pictures import png_of
from mnistkit.publish.report.words import short

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mnistkit.publish.report.drawing import Chart
    from mnistkit.publish.report.scores import Mistake


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text; backquotes make code."""
    pieces = text.split("`")
    written = "".join(f"<code>{escape(one)}</code>" if place % 2 else escape(one) for place, one in enumerate(pieces))
    return f"<p{_class(kind)}>{written}</p>"


def figure(chart: Chart, caption: str, *, scroll: float | None = None) -> str:
    """A figure with its caption.

    Args:
        chart: Drawn with the palette of pages.
        caption: What it shows.
        scroll: Pixels below which it is not made narrower but scrolls.
    """
    svg = as_svg(chart)
    label = escape(chart.label, quote=True)
    inner = f'<div role="img" aria-label="{label}">{svg}</div>'
    if scroll is not None:
        inner = f'<div role="img" aria-label="{label}" style="min-width:{scroll:.0f}px">{svg}</div>'
        inner = (
            f'<div class="scroll" tabindex="0" role="region" aria-label="The drawing scrolls sideways">{inner}</div>'
        )
    return f"<figure>{inner}<figcaption>{escape(caption)}</figcaption></figure>"


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Iterable[int] = ()) -> str:
    """A table that scrolls within itself; the first cell of a row is its header.

    Args:
        caption: What it lists.
        head: Names of the columns.
        rows: Cells.
        numbers: Columns that are set to the right.
    """
    right = set(numbers)

    def kind(place: int) -> str:
        return ' class="number"' if place in right else ""

    header = "".join(f'<th scope="col"{kind(place)}>{escape(one)}</th>' for place, one in enumerate(head))
    body = []
    for row in rows:
        first, *others = (escape(str(one)) for one in row)
        cells = "".join(f"<td{kind(place + 1)}>{one}</td>" for place, one in enumerate(others))
        body.append(f'<tr><th scope="row"{kind(0)}>{first}</th>{cells}</tr>')
    told = escape(caption, quote=True)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{told}"><table><caption>{told}</caption>'
        f"<thead><tr>{header}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def details(summary: str, content: str) -> str:
    """Something that is shown on demand."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """The few numbers at the top."""
    cells = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in pairs)
    return f'<dl class="facts">{cells}</dl>'


def mistake(one: Mistake, told: str) -> str:
    """One picture that was read wrong, with both labels."""
    assert one.pixels is not None
    data = base64.b64encode(png_of(one.pixels)).decode()
    height, width = one.pixels.shape[:2]
    words = escape(f"Test sample {one.index}: {short(one.true)}, read as {short(one.read)}, {told}", quote=True)
    true, read = (f"<strong>{escape(short(label, 24))}</strong>" for label in (one.true, one.read))
    return (
        f'<li><img src="data:image/png;base64,{data}" width="{width}" height="{height}" alt="{words}">'
        f'{true} read as {read}<br><span class="score">{escape(told)}</span></li>'
    )


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
