"""Numbers: rows of digits on one picture, through Python and the command line."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from mnistkit.core.errors import NoDigitError, PictureError
from mnistkit.digits import numbers
from mnistkit.digits.numbers import DigitString, read_digits
from mnistkit.digits.pictures import decode, decode_sized
from mnistkit.digits.reader import looks
from mnistkit.digits.show import shown_path


@pytest.fixture(scope="module")
def clear(mnist, classifier):
    """The three test images of each digit that the classifier is surest about."""
    found = {}
    sure = classifier.probabilities(mnist.x_test[:2000])
    for digit in range(10):
        found[digit] = [mnist.x_test[i] for i in sure[:, digit].argsort()[-3:]]
    return found


@pytest.fixture
def write(clear):
    """Rows of digits, dark on white; digits ``scale`` times as large as MNIST's, ``gap`` cells apart."""

    def draw(*rows, scale=3, gap=4, spaces=30):
        lines = []
        for row in rows:
            drawn = []
            for place, character in enumerate(row):
                if character == " ":
                    drawn.append(np.zeros((28, spaces), np.uint8))
                    continue
                image = clear[int(character)][place % 3]
                columns = np.flatnonzero(image.max(0) > 60)
                drawn += [image[:, columns[0] : columns[-1] + 1], np.zeros((28, gap), np.uint8)]
            lines.append(np.concatenate(drawn, axis=1))
        width = max(line.shape[1] for line in lines)
        ink = np.concatenate([np.pad(line, ((4, 4), (0, width - line.shape[1]))) for line in lines])
        large = Image.fromarray(255 - np.pad(ink, 16))
        return np.asarray(large.resize((large.width * scale, large.height * scale), Image.Resampling.BICUBIC))

    return draw


@pytest.mark.parametrize("text", ["7", "42", "90210", "314159265358"])
def test_one_row(classifier, write, text):
    assert read_digits(classifier, write(text)).text == text


def test_rows_and_wide_gaps(classifier, write):
    number = classifier.read_digits(write("4207", "31 85"))
    assert number.rows == ("4207", "31 85")
    assert number.text == "4207\n31 85"
    assert [digit.row for digit in number.digits] == [0] * 4 + [1] * 4


def test_negative_and_transparent(classifier, write):
    page = write("2046")
    see_through = np.zeros((*page.shape, 4), np.uint8)
    see_through[..., 3] = 255 - page
    assert read_digits(classifier, 255 - page).text == read_digits(classifier, see_through).text == "2046"


def test_boxes_are_where_the_digits_are(classifier, write):
    page = write("358")
    number = read_digits(classifier, page)
    assert (number.width, number.height) == (page.shape[1], page.shape[0])
    for digit in number.digits:
        box = digit.box
        inside = page[box.y : box.y + box.height, box.x : box.x + box.width]
        assert (inside < 128).any(1).mean() > 0.9
        assert (inside < 128).any(0).mean() > 0.8  # the net leaves up to five columns free here
    left = [digit.box.x for digit in number.digits]
    assert left == sorted(left)
    covered = sum(digit.box.width * digit.box.height for digit in number.digits)
    assert covered < page.size / 2


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_boxes_are_upright_pixels(classifier, write, orientation):
    page = write("4827")
    tag = Image.Exif()
    tag[0x112] = orientation
    stream = io.BytesIO()
    turned = np.ascontiguousarray(np.rot90(page, {1: 0, 3: 2, 6: 1, 8: -1}[orientation]))
    Image.fromarray(turned).save(stream, "PNG", exif=tag)
    found, expected = read_digits(classifier, stream.getvalue()), read_digits(classifier, page)
    assert found.text == "4827"
    assert (found.width, found.height) == (page.shape[1], page.shape[0])
    assert [digit.box for digit in found.digits] == [digit.box for digit in expected.digits]


def test_a_picture_decoded_smaller_has_boxes_in_its_own_pixels(classifier, write):
    page = Image.fromarray(write("3172")).resize((5000, 3400))
    stream = io.BytesIO()
    page.save(stream, "PNG", compress_level=1)
    pixels, size = decode_sized(stream.getvalue())
    assert pixels.shape[1] < 5000
    assert size == (5000, 3400)
    number = read_digits(classifier, stream.getvalue())
    assert number.digits[-1].box.x > 2500
    assert np.array_equal(pixels, decode(stream.getvalue()))


def test_dashes_and_dots_are_gaps(classifier, write):
    page = write("19 84", spaces=14).copy()
    middle = page.shape[0] // 2
    inked = np.flatnonzero((page < 128).any(0))
    widest = np.diff(inked).argmax()  # the gap between 9 and 8
    start, stop = inked[widest] + 8, inked[widest + 1] - 8
    page[middle : middle + 6, start:stop] = 0
    assert read_digits(classifier, page).text == "19 84"


def test_touching_digits_are_cut(classifier, clear):
    """Two rings of ink that share a stroke's edge: one component, two digits."""
    one, other = clear[0][0], clear[3][0]
    one = one[:, np.flatnonzero(one.max(0) > 100)]
    other = other[:, np.flatnonzero(other.max(0) > 100)]
    both = np.concatenate([one, other], axis=1)
    large = Image.fromarray(255 - np.pad(both, 14))
    page = np.asarray(large.resize((large.width * 4, large.height * 4), Image.Resampling.BICUBIC))
    assert read_digits(classifier, page).text == "03"


def test_nothing_there(classifier):
    with pytest.raises(NoDigitError, match="no digit found"):
        read_digits(classifier, np.full((200, 300), 240, np.uint8))
    lines = np.full((200, 300), 255, np.uint8)
    lines[60:64, 40:260] = lines[100:104, 40:260] = 0
    with pytest.raises(NoDigitError, match="no digit found"):
        read_digits(classifier, lines)


@pytest.mark.parametrize("shape", [(1, 1), (1, 10_000), (10_000, 1), (2, 2, 4)])
def test_odd_sizes(classifier, shape):
    noise = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    with pytest.raises(NoDigitError):
        read_digits(classifier, np.full(shape, 9, np.uint8))
    try:
        found = read_digits(classifier, noise)
    except NoDigitError as error:
        assert str(error).startswith("picture: no digit found; ")  # noqa: PT017 - noise may also be read as something
        return
    assert (found.height, found.width) == noise.shape[:2]
    assert found.text.replace("\n", "").replace(" ", "").isdigit()
    for digit in found.digits:
        assert 0 <= digit.box.x < digit.box.x + digit.box.width <= found.width
        assert 0 <= digit.box.y < digit.box.y + digit.box.height <= found.height


@pytest.fixture
def file(tmp_path, write):
    path = tmp_path / "number.png"
    Image.fromarray(write("4207", "31")).save(path)
    return path


def test_command(cli, asset, file):
    ran = cli("predict", "--number", file, "--model", asset)
    assert (ran.code, ran.err) == (0, "")
    assert [line.split("  ")[:2] for line in ran.out.splitlines()] == [[str(file), "4207"], [str(file), "31"]]


def test_json(cli, asset, file):
    ran = cli("predict", "--number", "--json", file, "--model", asset)
    (found,) = json.loads(ran.out)
    assert found["text"] == "4207\n31"
    assert found["rows"] == ["4207", "31"]
    assert [digit["label"] for digit in found["digits"]] == list("420731")
    assert all(0 < digit["confidence"] <= 1 for digit in found["digits"])
    assert found["confidence"] == pytest.approx(np.prod([digit["confidence"] for digit in found["digits"]]))
    assert np.prod(found["row_confidences"]) == pytest.approx(found["confidence"])
    assert (found["unclear"], found["candidates"][0]["label"]) == (False, "4207\n31")
    for digit in found["digits"]:
        box = digit["box"]
        assert 0 <= box["x"] < box["x"] + box["width"] <= found["width"]
        assert 0 <= box["y"] < box["y"] + box["height"] <= found["height"]


def test_show_draws_the_boxes(cli, asset, file):
    ran = cli("predict", "--number", "--show", file, "--model", asset)
    assert ran.code == 0
    assert ran.err.strip() == str(shown_path(file))
    with Image.open(shown_path(file)) as shown:
        colors = np.asarray(shown.convert("RGB")).reshape(-1, 3)
    assert (colors == (30, 110, 200)).all(1).sum() > 500


def test_show_writes_what_was_read_beside_the_picture(cli, asset, file, tmp_path):
    """The lower half of the picture is the page as it was read: reading it gives the same number."""
    folder = tmp_path / "shown" / "here"
    ran = cli("predict", "--number", "--show-dir", folder, file, "--model", asset)
    assert ran.err.strip() == str(folder / "number.shown.png")
    assert not shown_path(file).exists()
    with Image.open(folder / "number.shown.png") as shown, Image.open(file) as picture:
        assert shown.height > 2 * picture.height
        lower = np.asarray(shown.convert("L"))[shown.height // 2 :]
    assert (lower < 60).sum() > 500


def test_show_in_a_folder_needs_names_that_differ(fails, file, tmp_path):
    (tmp_path / "more").mkdir()
    other = tmp_path / "more" / "number.jpg"
    Image.open(file).save(other)
    told = fails("predict", "--number", "--show-dir", tmp_path / "shown", file, other)
    assert "another picture has this name too" in told


def test_too_unsure_is_an_error(fails, asset, file):
    told = fails("predict", "--number", "--min-confidence", "1.0", file, "--model", asset)
    assert ": unclear, 4207 / 31 (" in told
    assert "; asked for 100.0 %" in told


def test_one_that_cannot_be_read_does_not_stop_the_others(cli, asset, file, tmp_path):
    Image.new("L", (90, 90), 255).save(tmp_path / "blank.png")
    ran = cli("predict", "--number", "--json", tmp_path / "blank.png", file, "--model", asset)
    blank, good = json.loads(ran.out)
    assert ran.code == 1
    assert "no digit found" in blank["error"]
    assert good["text"] == "4207\n31"


def test_earlier_names_warn_and_work(classifier, write):
    page = write("42")
    with pytest.warns(DeprecationWarning, match="read_number is now called read_digits"):
        assert numbers.read_number(classifier, page).text == "42"
    with pytest.warns(DeprecationWarning, match="Number is now called DigitString"):
        assert numbers.Number is DigitString
    with pytest.warns(DeprecationWarning, match=r"Classifier\.read_number is now called read_digits"):
        assert classifier.read_number(page).text == "42"


def test_a_name_that_never_was(classifier):
    with pytest.raises(AttributeError, match="no attribute 'read_numbers'"):
        numbers.read_numbers(classifier)


def test_any_reader_of_single_digits_will_do(classifier, write):
    """The reader of rows knows only ``predict``."""

    class Counting:
        images = 0

        def predict(self, images):
            self.images += len(images)
            return classifier.predict(images)

    reader = Counting()
    assert read_digits(reader, write("90210")).text == "90210"
    assert reader.images >= 5


def test_noise_is_refused_at_once(classifier):
    """It took minutes: marks were compared in pairs, thousands of them."""
    noise = np.random.default_rng(0).integers(0, 256, (400, 400), np.uint8)
    with pytest.raises(PictureError, match=r"separate marks, more than the limit of 1000; .* cut out the number"):
        read_digits(classifier, noise, use_net=False)
    with pytest.raises(NoDigitError, match="nothing on it looks like one"):
        read_digits(classifier, noise)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_page_is_read_and_boxed_where_it_lies(classifier, write, turns):
    page = write("47252", "93745")
    upright, lying = read_digits(classifier, page), read_digits(classifier, np.rot90(page, turns))
    assert lying.text == upright.text == "47252\n93745"
    assert (lying.width, lying.height) == ((page.shape[1], page.shape[0]) if turns == 2 else page.shape)
    for one, other in zip(upright.digits, lying.digits, strict=True):
        drawn = np.zeros(page.shape, bool)
        drawn[one.box.y : one.box.y + one.box.height, one.box.x : one.box.x + one.box.width] = True
        rows, columns = np.nonzero(np.rot90(drawn, turns))
        assert abs(rows.mean() - other.box.y - other.box.height / 2) < 8
        assert abs(columns.mean() - other.box.x - other.box.width / 2) < 8


def test_more_digits_than_the_net_gives_back_are_an_error(classifier, write, monkeypatch):
    monkeypatch.setattr(looks, "MOST_PEAKS", 3)
    with pytest.raises(PictureError, match="more than 3 digits; cut out a part"):
        read_digits(classifier, write("47252"))


def test_words_are_no_digits(classifier):
    page = Image.new("L", (420, 160), 240)
    ImageDraw.Draw(page).text((20, 30), "Hello world", fill=20, font=ImageFont.load_default(64))
    with pytest.raises(NoDigitError):
        read_digits(classifier, page)


def test_other_labels_are_read_by_their_own_classifier(classifier, write):
    class Renamed:
        labels = tuple("abcdefghij")

        def predict(self, images):
            return [replace(found, label=self.labels[found.digit]) for found in classifier.predict(images)]

    assert read_digits(Renamed(), write("472")).text == "ehc"


def test_probabilities_leave_room_for_no_digit(classifier, write):
    for digit in read_digits(classifier, write("4071")).digits:
        assert digit.probabilities.argmax() == digit.digit
        assert digit.probabilities.max() == np.float32(digit.confidence)
        assert digit.probabilities.sum() <= 1 + 1e-6


def test_the_limit_of_pixels_holds_for_numbers(classifier, write):
    with pytest.raises(PictureError, match="limit of 1000"):
        read_digits(classifier, write("42"), max_pixels=1000)
