"""What `predict --show` writes and prints, and the answers that are no digit."""

import json

import numpy as np
import pytest
from PIL import Image

from mnistkit.cli import main
from mnistkit.core.errors import OutputError
from mnistkit.digits.pictures import read_picture
from mnistkit.digits.readings import read_files
from mnistkit.digits.show import as_characters, save, shown_path


@pytest.fixture
def picture(tmp_path, mnist):
    path = tmp_path / "seven.png"
    Image.fromarray(255 - np.kron(mnist.x_test[0], np.ones((5, 5), np.uint8))).save(path)
    return path


def test_png_holds_picture_and_seen(picture, classifier):
    image28 = read_picture(picture)
    target = save(picture, image28, classifier.predict(image28)[0])
    assert target == shown_path(picture)
    with Image.open(target) as image:
        shown = np.asarray(image.convert("L"))
    panel = shown[16:296, 312:592].reshape(28, 10, 28, 10).mean((1, 3)) / 255
    assert np.abs(panel - image28).max() < 0.01
    assert not picture.with_suffix(".png.tmp").exists()


def test_characters():
    image28 = np.zeros((28, 28), np.float32)
    image28[3, 4] = 1
    lines = as_characters(image28).split("\n")
    assert len(lines) == 28
    assert lines[3] == " " * 8 + "@@"
    assert not "".join(lines[4:])


def test_show_needs_a_place_to_write(picture, classifier):
    image28 = read_picture(picture)
    shown_path(picture).mkdir()
    with pytest.raises(OutputError):
        save(picture, image28, classifier.predict(image28)[0])


def test_command_shows(picture, capsys):
    assert main(["predict", "--show", str(picture)]) == 0
    out = capsys.readouterr()
    assert shown_path(picture).is_file()
    assert "  7  (" in out.out
    assert "@@" in out.err


def test_too_unsure_is_an_error(picture, capsys):
    assert main(["predict", "--min-confidence", "1.0", str(picture)]) == 1
    out = capsys.readouterr()
    assert not out.out
    assert ": unclear, 7 (" in out.err
    assert main(["predict", "--min-confidence", "0.3", str(picture)]) == 0


def test_min_confidence_in_json(picture, capsys):
    assert main(["predict", "--json", "--min-confidence", "1.0", str(picture)]) == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert found["unclear"]
    assert "unclear, 7 (" in found["error"]
    assert found["candidates"][0]["label"] == "7"


def test_nothing_drawn_is_an_error(tmp_path, capsys):
    Image.new("L", (40, 40), 255).save(tmp_path / "blank.png")
    assert main(["predict", str(tmp_path / "blank.png")]) == 1
    assert "no digit found" in capsys.readouterr().err


def test_the_earlier_name_of_a_readings_image_warns(picture, classifier):
    (reading,) = read_files(classifier, [picture])
    with pytest.warns(DeprecationWarning, match=r"Reading\.seen is now called image28"):
        assert reading.seen is reading.image28
