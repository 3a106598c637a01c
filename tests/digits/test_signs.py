"""Separators and operators between digits: kept in the text when asked for, never read as digits."""

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mnistkit.core.errors import InputError, PictureError
from mnistkit.digits.digit_string import Box, Digit, DigitString, Sign
from mnistkit.digits.numbers import read_digits
from mnistkit.digits.reader.signs import find_ink, find_signs

H = 84  # pixels of a digit


@pytest.fixture(scope="module")
def clear(mnist, classifier):
    """The surest test image of each digit, enlarged to `H` pixels."""
    sure = classifier.probabilities(mnist.x_test[:2000])
    found = []
    for digit in range(10):
        ink = Image.fromarray(mnist.x_test[sure[:, digit].argmax()])
        ink = ink.crop(ink.getbbox())
        found.append(np.asarray(ink.resize((max(ink.width * H // ink.height, 12), H), Image.Resampling.BICUBIC)))
    return found


LINES = {  # corners in heights of a digit, from the top left
    "-": [[(0, 0.5), (0.5, 0.5)]],
    "+": [[(0, 0.5), (0.6, 0.5)], [(0.3, 0.2), (0.3, 0.8)]],
    "x": [[(0, 0.25), (0.5, 0.75)], [(0.5, 0.25), (0, 0.75)]],
    "=": [[(0, 0.4), (0.5, 0.4)], [(0, 0.65), (0.5, 0.65)]],
    "/": [[(0.5, -0.15), (0, 1.15)]],
    "(": [[(0.25, -0.1), (0.08, 0.15), (0, 0.5), (0.08, 0.85), (0.25, 1.1)]],
    ")": [[(0, -0.1), (0.17, 0.15), (0.25, 0.5), (0.17, 0.85), (0, 1.1)]],
    ".": [[(0, 0.9), (0.08, 0.96)]],
    ",": [[(0.06, 0.93), (0, 1.2)]],
    ":": [[(0, 0.4), (0.08, 0.46)], [(0, 0.9), (0.08, 0.96)]],
}


@pytest.fixture
def write(clear):
    """A page with such rows, dark on white."""

    def draw(*rows):
        page = Image.new("L", (1400, 60 + len(rows) * 2 * H), 0)
        pencil = ImageDraw.Draw(page)
        for number, row in enumerate(rows):
            left, top = 60, 40 + number * 2 * H
            for character in row:
                if character.isdigit():
                    page.paste(255, (left, top), Image.fromarray(clear[int(character)]))
                    left += clear[int(character)].shape[1] + H // 5
                else:
                    for line in LINES[character]:
                        points = [(left + x * H, top + y * H) for x, y in line]
                        pencil.line(points, fill=255, width=9, joint="curve")
                    left += round(max(x for line in LINES[character] for x, _ in line) * H) + H // 4
        return 255 - np.asarray(page)

    return draw


@pytest.mark.parametrize("text", ["19-84", "3.12", "4,50", "12/05", "7+38", "6x9", "28=4", "(35)", "10:46"])
def test_signs_are_kept_when_asked_for(classifier, write, text):
    page = write(text)
    number = read_digits(classifier, page, signs=True)
    assert number.text == text
    assert "".join(sign.text for sign in number.signs) == "".join(c for c in text if not c.isdigit())
    digits = read_digits(classifier, page)
    assert digits.text.replace(" ", "") == "".join(c for c in text if c.isdigit())
    assert digits.signs == ()


def test_rows_boxes_and_turned_pages(classifier, write):
    page = write("12+34", "46-90")
    number = classifier.read_digits(page, signs=True)
    assert number.rows == ("12+34", "46-90")
    assert [(sign.row, sign.place) for sign in number.signs] == [(0, 2), (1, 2)]
    for sign in number.signs:
        box = sign.box
        assert (page[box.y : box.y + box.height, box.x : box.x + box.width] < 128).any()
    assert number.candidates[0].label == number.text
    turned = classifier.read_digits(np.rot90(page), signs=True)
    assert turned.rows == number.rows
    assert turned.signs[0].box.width == number.signs[0].box.height


def test_what_has_no_signs_shape_is_left_out(classifier, write):
    page = Image.fromarray(write("47"))
    pencil = ImageDraw.Draw(page)
    pencil.line([(40, 150), (330, 150)], fill=0, width=6)  # an underline
    pencil.ellipse((700, 20, 712, 32), fill=0)  # a spot far away
    assert read_digits(classifier, page, signs=True).text == "47"


def test_no_ink_has_no_signs():
    boxes = np.array([[50, 50, 30, 40]], np.float32)
    ink = find_ink(np.full((100, 100, 1), 255, np.uint8), boxes)
    assert find_signs(ink, boxes, [[0]]) == []


def test_too_many_marks_for_signs_are_told_of(classifier, write):
    page = np.pad(write("4207"), ((0, 1200), (0, 0)), constant_values=255)
    dots = np.full((24, 24), 255, np.uint8)
    dots[4:14, 4:14] = 0
    page[300 : 300 + 46 * 24, : 58 * 24] = np.tile(dots, (46, 58))
    with pytest.raises(PictureError, match="separate marks, more than the limit of 1000; cut out a part of it"):
        read_digits(classifier, page, signs=True)
    assert read_digits(classifier, page).text == "4207"


def test_signs_before_after_and_between():
    chances = np.full(10, 0.1, np.float32)
    box = Box(0, 0, 1, 1)
    digits = [
        Digit(d, str(d), 0.9, chances, box, row, gap) for d, row, gap in [(1, 0, False), (2, 0, True), (3, 1, False)]
    ]
    signs = [Sign(text, box, row, place) for text, row, place in [("(", 0, 0), ("-", 0, 1), (")", 0, 2), ("=", 1, 1)]]
    assert DigitString(tuple(digits), 9, 9, signs=tuple(signs)).rows == ("(1-2)", "3=")
    assert DigitString(tuple(digits), 9, 9).rows == ("1 2", "3")


def test_signs_need_the_ten_digits(classifier, write):
    class Letters:
        labels = tuple("abcdefghij")

        def predict(self, images):
            return classifier.predict(images)

    with pytest.raises(InputError, match="signs are told beside digits"):
        read_digits(Letters(), write("1"), signs=True)


def test_on_the_command_line(cli, fails, asset, write, tmp_path):
    path = tmp_path / "date.png"
    Image.fromarray(write("12/05")).save(path)
    assert cli("predict", "--signs", path, "--model", asset).out.startswith(f"{path}  12/05  (")
    (found,) = json.loads(cli("predict", "--signs", "--json", path, "--model", asset).out)
    assert (found["text"], found["signs"][0]["text"], found["signs"][0]["place"]) == ("12/05", "/", 2)
    assert "--signs does not go with --out" in fails("predict", "--signs", path, "--out", tmp_path / "a.csv")
