"""Python without mnistkit and Node.js give the reader's strings with the file that reads numbers."""

import json
import sys
from pathlib import Path

import pytest
from PIL import Image
from test_apps import EXAMPLES, NODE, needs_node, run

from mnistkit.digits.number_graph.examples import example_pages


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """PNG files: rows, two rows, a turned one, nothing, color, transparent, tiny, large; and a photo turned by EXIF."""
    folder = tmp_path_factory.mktemp("pages")
    paths = [str(folder / f"{number}.png") for number in range(len(example_pages()))]
    for path, page in zip(paths, example_pages(), strict=True):
        Image.fromarray(page.squeeze()).save(path)
    turned = Image.Exif()
    turned[0x112] = 6
    Image.fromarray(example_pages()[0].squeeze()).rotate(90, expand=True).save(folder / "turned.png", exif=turned)
    return [*paths, str(folder / "turned.png"), str(EXAMPLES / "digit.png")]


def readings(done, expected):
    """Hold a program's lines against the reader's strings."""
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["text"] for answer in answers] == expected
    assert [answer["in_doubt"] for answer in answers] == [False] * len(expected)


@pytest.fixture(scope="module")
def expected(pages, reader_text):
    return [reader_text(path) for path in pages]


def test_python(number_file, pages, expected):
    program = EXAMPLES / "python" / "number.py"
    readings(run(sys.executable, program, number_file, *pages), expected)
    assert "usage" in run(sys.executable, program, number_file, code=2).stderr
    with pytest.raises(AssertionError):  # the comparison can fail
        readings(run(sys.executable, program, number_file, pages[0]), expected[1:2])


@needs_node
def test_node(number_file, pages, expected, tmp_path):
    program = EXAMPLES / "node" / "number.mjs"
    readings(run(NODE, program, number_file, *pages), expected)
    Path(tmp_path / "bad.png").write_bytes(b"no picture")
    done = run(NODE, program, number_file, tmp_path / "bad.png", pages[0], code=1)
    assert done.stderr.startswith(f"{tmp_path / 'bad.png'}: ")
    readings(done, expected[:1])
    assert "usage" in run(NODE, program, number_file, code=2).stderr
