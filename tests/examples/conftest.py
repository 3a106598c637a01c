"""The pictures that every example reads, with the answers of `mnistkit.Classifier`."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnistkit import Classifier, load_data
from mnistkit.core.errors import NoDigitError

sys.path.insert(0, str(Path(__file__).parent))  # for the helper modules beside the tests
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """Many kinds of picture: small and large, dark and light, gray, color, transparent, with a palette, turned."""
    folder = tmp_path_factory.mktemp("pictures")
    made = {}
    for number, digit in enumerate(load_data().x_test[:70]):
        page = np.pad(np.kron(digit, np.ones((1 + number % 7,) * 2, np.uint8)), 3 * (number % 5))
        alpha = np.zeros((*page.shape, 4), np.uint8)
        alpha[..., 3] = page
        paper = Image.fromarray(255 - page)
        made |= {f"{number}-{kind}.png": image for kind, image in {
            "light": Image.fromarray(page),
            "paper": paper,
            "color": Image.merge("RGB", [paper, paper, Image.fromarray(255 - page // 2)]),
            "alpha": Image.fromarray(alpha),
            "palette": paper.quantize(16),
        }.items() if number % 5 == ["light", "paper", "color", "alpha", "palette"].index(kind)}  # fmt: skip
    turned = Image.Exif()
    turned[0x112] = 6
    made["turned.png"] = Image.fromarray(255 - np.rot90(np.kron(load_data().x_test[0], np.ones((5, 5), np.uint8))))
    for name, image in made.items():
        image.save(folder / name, exif=turned if name == "turned.png" else b"")
    return [str(EXAMPLES / "digit.png"), *(str(folder / name) for name in made)]


@pytest.fixture(scope="session")
def expected(pictures):
    classifier = Classifier()
    return [classifier.predict_picture(path) for path in pictures]


@pytest.fixture(scope="session")
def number_file(tmp_path_factory):
    """The file that reads numbers, with the packaged classifier."""
    from mnistkit.digits.number_model import export_number_model

    classifier = EXAMPLES.parent / "exports" / "mnist-cnn.onnx"
    return export_number_model(classifier, tmp_path_factory.mktemp("numbers") / "mnist-cnn-number.onnx")


@pytest.fixture(scope="session")
def reader_text():
    """The string of `Classifier.read_digits` for a picture file; empty where it finds none."""
    classifier = Classifier(EXAMPLES.parent / "exports" / "mnist-cnn.onnx")

    def read(source):
        try:
            return classifier.read_digits(source).text
        except NoDigitError:
            return ""

    return read


@pytest.fixture(scope="session")
def browser():
    from browsing import open_browser

    with open_browser() as browser:
        yield browser
