"""Draw the README's digit.png: a seven as a person would, dark pen on white paper."""

from pathlib import Path

from PIL import Image, ImageDraw

POINTS = [(62, 66), (84, 60), (118, 58), (150, 54), (143, 84), (124, 122), (110, 158), (101, 198)]
PEN = 11


def draw(scale: int = 4) -> Image.Image:
    """Draw at four times the size and shrink, for smooth edges."""
    image = Image.new("L", (220 * scale, 250 * scale), 250)
    pen = ImageDraw.Draw(image)
    points = [(x * scale, y * scale) for x, y in POINTS]
    pen.line(points, fill=40, width=PEN * scale, joint="curve")
    radius = PEN * scale / 2
    for x, y in (points[0], points[-1]):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=40)
    return image.resize((220, 250), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    draw().save(Path(__file__).with_name("digit.png"), optimize=True)
