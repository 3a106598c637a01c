"""The page for arrays of ``mnistkit export --web``, and the example for browsers."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from browsing import PACKAGES, ROOT, SIZES, give, hosting, needs_browser, violations, watched
from PIL import Image

from mnistkit.publish import web_parts
from mnistkit.publish.web import web_folder

needs_browser()


@pytest.fixture(scope="module")
def numbers(browser, tmp_path_factory):
    """The page of a model with inputs of many types, opened from a disk."""
    import onnx
    from onnx import TensorProto as T
    from onnx import helper

    inputs = [
        ("x", T.FLOAT, ["n", 3]), ("half", T.FLOAT16, [2]), ("ids", T.INT64, ["n"]), ("on", T.BOOL, [2]),
        ("word", T.STRING, [1]), ("photo", T.FLOAT, ["n", 8, 6, 3]),
    ]  # fmt: skip
    outputs = [
        ("shares", T.FLOAT, ["n", 3]), ("half2", T.FLOAT16, [2]), ("same", T.INT64, ["n"]), ("off", T.BOOL, [2]),
        ("word2", T.STRING, [1]), ("mean", T.FLOAT, ["n", 3]),
    ]  # fmt: skip
    nodes = [
        helper.make_node("Softmax", ["x"], ["shares"]),
        helper.make_node("Add", ["half", "half"], ["half2"]),
        helper.make_node("Identity", ["ids"], ["same"]),
        helper.make_node("Not", ["on"], ["off"]),
        helper.make_node("Identity", ["word"], ["word2"]),
        helper.make_node("ReduceMean", ["photo"], ["mean"], axes=[1, 2], keepdims=0),
    ]
    values = [[helper.make_tensor_value_info(*one) for one in part] for part in (inputs, outputs)]
    model = helper.make_model(
        helper.make_graph(nodes, "g", *values), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    helper.set_model_props(model, {"mnistkit.labels": '["cat", "dog", "<b>bird</b>"]'})
    folder = tmp_path_factory.mktemp("numbers")
    onnx.save(model, folder / "many types.onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(web_parts, "PART", 1_000_000)  # several scripts, as for a large model
        web = web_folder(folder / "many types.onnx", folder / "site", ort=PACKAGES)
    assert len(list(web.path.glob("runtime*.js"))) > 2
    assert web.page == "numbers"
    context = browser.new_context(viewport=SIZES["desktop"], accept_downloads=True)
    page, _, problems = watched(context, (web.path / "index.html").as_uri())
    yield page
    context.close()
    assert problems == []


GIVEN = {
    "x": [[0, 0, 0], [2, 1, 0]],
    "half": [0.1, "Infinity"],
    "ids": ["9007199254740995", -3],
    "on": [True, False],
    "word": ["héllo <i>"],
    "photo": np.zeros((1, 8, 6, 3)).tolist(),
}


def saved(page):
    with page.expect_download() as waiting:
        page.locator("#save").click()
    return json.loads(Path(waiting.value.path()).read_text(encoding="utf-8"))


def test_any_model_takes_numbers_and_shows_its_answers(numbers):
    give(numbers, json.dumps(GIVEN).encode(), "inputs.json")
    numbers.get_by_text("Done").wait_for()
    answers = saved(numbers)
    np.testing.assert_allclose(answers["shares"], [[1 / 3] * 3, [0.66524, 0.24473, 0.09003]], atol=1e-5)
    assert answers["half2"] == [float(np.float16(0.1) * 2), "Infinity"]
    assert answers["same"] == GIVEN["ids"]
    assert (answers["off"], answers["word2"]) == ([False, True], GIVEN["word"])
    first = numbers.locator("ol.bars").nth(1).locator("li")
    assert first.all_inner_texts()[0].split() == ["cat", "66.5", "%"]
    assert numbers.locator("ol.bars b").count() == 0  # a label is text and no markup


def test_a_picture_for_any_model(numbers):
    give(numbers, json.dumps(GIVEN).encode(), "inputs.json")
    numbers.get_by_text("Done").wait_for()
    picture = io.BytesIO()
    Image.new("RGB", (60, 80), (255, 0, 51)).save(picture, "PNG")
    numbers.locator(".picture input").set_input_files(
        {"name": "red.png", "mimeType": "image/png", "buffer": picture.getvalue()}
    )
    numbers.get_by_placeholder("144 numbers from red.png, 6 × 8 pixels, 3 channels").wait_for()  # noqa: RUF001
    numbers.locator("#run").click()
    numbers.locator("body[data-state=settled]").wait_for()
    np.testing.assert_allclose(saved(numbers)["mean"], [[1, 0, 0.2]], atol=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x": [[1, 2], [3]]}, "x: its rows differ in length."),
        ({"x": [[1, 2]]}, "x: expected the shape [n, 3], got [1, 2]."),
        ({"x": [[1, 2, None]]}, "x: null is no float32."),
        ({"ids": [1.5]}, "ids: 1.5 is no int64."),
        ({"on": [2, 0]}, "on: 2 is no bool."),
        ({"word": None}, "word: expected the shape [1], got []."),
        ({"y": [1]}, "The model has no input y. It has x, half, ids, on, word, photo."),
    ],
)
def test_wrong_numbers_are_said(numbers, change, words):
    give(numbers, json.dumps(GIVEN | change).encode(), "inputs.json")
    numbers.get_by_text(words).wait_for()


def test_what_is_typed_wrong_is_said(numbers):
    give(numbers, b"[1,", "inputs.json")
    numbers.get_by_text("inputs.json is no JSON.").wait_for()
    give(numbers, json.dumps({"x": [[1, 2, 3]]}).encode(), "inputs.json")
    numbers.get_by_text("The file has no array for half, ids, on, word, photo.").wait_for()
    numbers.get_by_label("x", exact=True).fill("[[1, 2")
    numbers.locator("#run").click()
    numbers.get_by_text("x: this is no JSON").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_it_is_accessible(numbers, size, scheme):
    numbers.set_viewport_size(SIZES[size])
    numbers.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    give(numbers, json.dumps(GIVEN).encode(), "inputs.json")
    numbers.get_by_text("Done").wait_for()
    assert numbers.evaluate("document.documentElement.scrollWidth") <= SIZES[size]["width"]
    assert violations(numbers) == []


def test_the_browser_example(browser):
    with hosting(ROOT) as address:
        page = browser.new_page()
        page.goto(f"{address}examples/browser/")
        page.get_by_text("No picture yet.").wait_for(timeout=120_000)
        page.locator("#file").set_input_files(ROOT / "examples" / "digit.png")
        page.get_by_text("digit.png  7  (99.0 %)").wait_for()
        give(page, b"no picture", "letter.txt")
        page.get_by_text("letter.txt: ").wait_for()
        page.close()
