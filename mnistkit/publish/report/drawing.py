"""How figures are drawn: matplotlib, one palette for pages and one for slides, and SVG that can stand in a page.

A page's figures take their colors from its style sheet, so that they follow light and dark. Each color of the palette
`PAGE` stands for a CSS variable and is replaced by it in the SVG.
"""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistkit.core.errors import InputError, MissingExtraError
from mnistkit.core.files import check_writable
from mnistkit.core.install import install_hint

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

_FONT = "DejaVu Sans"  # comes with matplotlib
_MORE_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "PingFang SC",
    "Microsoft YaHei",
    "WenQuanYi Zen Hei",
    "Arial Unicode MS",
)
_DOTS = 200  # an inch, of a PNG


@dataclass(frozen=True, slots=True)
class Palette:
    """Colors of a figure by their use. Blue and orange (Okabe and Ito) differ for color-blind eyes too."""

    ink: str
    quiet: str
    line: str
    box: str
    blue: str
    orange: str
    green: str
    on: str  # text on a strong blue or orange
    back: str


SLIDES = Palette(
    ink="#1b1f24", quiet="#57606a", line="#d0d7de", box="#f3f5f8", blue="#0b62a8", orange="#b8500b", green="#0f7b5b",
    on="#ffffff", back="#ffffff",
)  # fmt: skip
PAGE = Palette(**{field.name: f"#0a0b{number + 16:02x}" for number, field in enumerate(fields(Palette))})
_VARIABLES = {getattr(PAGE, field.name): f"var(--{field.name})" for field in fields(Palette)}


@dataclass(frozen=True, slots=True)
class Chart:
    """One drawn figure.

    Attributes:
        name: For file names and ids: letters and hyphens.
        figure: A ``matplotlib.figure.Figure``.
        words: All text in it; decides how the text is written.
        label: What it shows, with the numbers, for who cannot see it.
    """

    name: str
    figure: Any
    words: tuple[str, ...]
    label: str


def check_matplotlib() -> None:
    """Raise before the work starts if nothing can be drawn.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(f"matplotlib is not installed; run {install_hint('report')}") from error


def check_png(path: str | os.PathLike[str], *, what: str) -> None:
    """Raise before the work starts if a figure could not be written.

    Args:
        path: Where it goes.
        what: The beginning of the message about a wrong name, up to "a PNG".

    Raises:
        MissingExtraError: matplotlib is not installed.
        InputError: The name does not end in ``.png``.
        OutputError: The file cannot be written.
    """
    if Path(path).suffix.lower() != ".png":
        raise InputError(f"{what} a PNG; give a name that ends in .png")
    check_matplotlib()
    check_writable(Path(path))


@contextlib.contextmanager
def style(palette: Palette) -> Iterator[Any]:
    """Draw within: matplotlib's settings for this time, whatever the user's own are; yields ``matplotlib``."""
    check_matplotlib()
    import matplotlib as mpl

    chosen = {
        "font.family": [_FONT],
        "font.size": 10,
        "text.parse_math": False,  # a label may have dollars
        "text.color": palette.ink,
        "axes.edgecolor": palette.quiet,
        "axes.labelcolor": palette.ink,
        "axes.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.linewidth": 0.8,
        "grid.color": palette.line,
        "grid.linewidth": 0.8,
        "xtick.color": palette.quiet,
        "ytick.color": palette.quiet,
        "xtick.labelcolor": palette.ink,
        "ytick.labelcolor": palette.ink,
        "figure.facecolor": palette.back if palette is not PAGE else "none",
        "figure.constrained_layout.use": True,
        "legend.frameon": False,
        "svg.hashsalt": "mnistkit",
        "path.simplify": True,
    }
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(chosen)
        yield mpl


def as_svg(chart: Chart) -> str:
    """A chart drawn with `PAGE` as an ``<svg>`` element for a page: no width of its own, unique ids, no style sheet."""
    with style(PAGE) as mpl, _other_fonts(chart.words) as paths:
        mpl.rcParams["svg.fonttype"] = "path" if paths else "none"
        stream = io.StringIO()
        chart.figure.savefig(stream, format="svg", metadata={"Date": None}, transparent=True)
    return _for_a_page(stream.getvalue(), chart.name)


def as_png(chart: Chart) -> bytes:
    """A chart drawn with `SLIDES` as a PNG file."""
    with style(SLIDES), _other_fonts(chart.words):
        stream = io.BytesIO()
        chart.figure.savefig(stream, format="png", dpi=_DOTS, metadata={"Software": None})
    return stream.getvalue()


@contextlib.contextmanager
def _other_fonts(words: Iterable[str]) -> Iterator[bool]:
    """Tell whether the font has all characters; else other fonts are tried, and missing characters make no warning.

    An SVG without them keeps its text as text, which the browser draws with its own fonts.
    """
    import warnings

    from matplotlib import font_manager, rcParams

    known = font_manager.get_font(font_manager.findfont(_FONT)).get_charmap()
    if all(ord(one) in known for text in words for one in text):
        yield True
        return
    installed = {font.name for font in font_manager.fontManager.ttflist}
    rcParams["font.family"] = [_FONT, *(name for name in _MORE_FONTS if name in installed)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support .* natively")
        yield False


def _for_a_page(text: str, name: str) -> str:
    svg = text[text.index("<svg") :]
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) width="([\d.]+)pt"', _sized, svg, count=1)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg)
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r' id="([^"]+)"', rf' id="{name}-\1"', svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", svg)
    svg = re.sub(r"#0a0b[0-9a-f]{2}", lambda found: _VARIABLES.get(found[0], found[0]), svg)
    svg = svg.replace("<svg", '<svg aria-hidden="true" focusable="false"', 1)
    return re.sub(r"\n\s*", "\n", svg).strip()


def _sized(found: re.Match[str]) -> str:
    """Points as the pixels of a page: a figure is never drawn larger than it was made."""
    return f'{found[1]} style="max-width:{float(found[2]) * 4 / 3:.0f}px"'
