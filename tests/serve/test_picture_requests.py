import io

import numpy as np
import pytest
from PIL import Image
from served import multipart


@pytest.mark.parametrize("digit", range(10))
def test_every_digit_as_a_file(server, png, digit):
    reply = server.post("/predict", png(digit), {"Content-Type": "image/png"})
    assert reply.status == 200, reply.body
    (found,) = reply.json["predictions"]
    assert found["digit"] == digit
    assert found["label"] == str(digit)
    assert found["confidence"] == pytest.approx(max(found["probabilities"]), abs=1e-6)
    assert sum(found["probabilities"]) == pytest.approx(1, abs=1e-5)
    assert "seen" not in found


def test_several_at_once_keep_their_order_and_names(server, png):
    body, headers = multipart(*((f"{digit}.png", png(digit)) for digit in (4, 2, 9)))
    found = server.post("/predict", body, headers).json["predictions"]
    assert [entry["digit"] for entry in found] == [4, 2, 9]
    assert [entry["name"] for entry in found] == ["4.png", "2.png", "9.png"]


def test_explain_shows_what_the_model_saw(server, png):
    from mnistkit import read_picture

    found = server.post("/predict?explain=1", png(5)).json["predictions"][0]
    assert np.allclose(found["seen"], read_picture(png(5)), atol=1e-4)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_the_content_counts_and_not_the_declared_type(server, png, kind):
    reply = server.post("/predict", png(7, kind), {"Content-Type": "image/x-anything"})
    assert reply.json["predictions"][0]["digit"] == 7


def test_the_page_and_its_policy(server):
    page = server.get("/")
    assert page.status == 200
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    docs = server.get("/docs")
    assert docs.headers["content-type"].startswith("text/html")
    assert docs.headers["content-security-policy"] == policy
    for path in ("/page.css", "/page.js", "/pad.js", "/answer.js", "/input.js", "/docs", "/docs.css", "/docs.js"):
        part = server.get(path)
        assert part.status == 200
        assert b"http://" not in part.body
        assert b"https://" not in part.body
    assert b"<style" not in page.body
    assert b" style=" not in page.body


def row_of(digits, *numbers):
    """A picture file with these digits in a row, black on white."""
    row = np.concatenate(
        [np.pad(255 - digits[number], ((12, 12), (1, 1)), constant_values=255) for number in numbers], 1
    )
    stream = io.BytesIO()
    Image.fromarray(row).resize((row.shape[1] * 4, row.shape[0] * 4)).save(stream, "PNG")
    return stream.getvalue()


def test_several_digits_on_one_picture(server, digits):
    found = server.post("/predict?number=1", row_of(digits, 4, 0, 7)).json["predictions"][0]
    assert found["text"] == "407"
    assert found["rows"] == ["407"]
    assert [digit["digit"] for digit in found["digits"]] == [4, 0, 7]
    boxes = [digit["box"] for digit in found["digits"]]
    assert [box["x"] for box in boxes] == sorted(box["x"] for box in boxes)
    assert (found["width"], found["height"]) == (360, 208)
    body, headers = multipart(("a.png", row_of(digits, 5, 2)), ("b.png", row_of(digits, 3)))
    both = server.post("/predict?number=true&model=mnist", body, headers).json["predictions"]
    assert [(entry["name"], entry["text"]) for entry in both] == [("a.png", "52"), ("b.png", "3")]


def test_what_number_refuses(server, digits):
    picture = row_of(digits, 1)
    assert "expected 0 or 1, got 'x'" in server.post("/predict?number=x", picture).error
    assert "expected explain or number, got both" in server.post("/predict?number=1&explain=1", picture).error
    blank = io.BytesIO()
    Image.new("L", (300, 300), 255).save(blank, "PNG")
    assert server.post("/predict?number=1", blank.getvalue()).status == 422
    noise = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 400), np.uint8)).save(noise, "PNG")
    reply = server.post("/predict?number=1", noise.getvalue())
    assert reply.status == 422
    assert "no digit" in reply.error
    assert server.post("/predict?number=1", b"no picture").status == 400


def test_several_digits_that_nobody_asked_for_are_no_single_one(server, digits, png):
    body, headers = multipart(("row.png", row_of(digits, 4, 0, 7)), ("one.png", png(3)))
    row, one = server.post("/predict?explain=1", body, headers).json["predictions"]
    assert (row["digit"], row["label"], row["probabilities"]) == (None, None, None)
    assert row["number"]["text"] == "407"
    assert row["confidence"] == row["number"]["confidence"]
    assert np.shape(row["seen"]) == (28, 28)
    assert (one["digit"], one["number"], one["unclear"]) == (3, None, False)
    assert one["candidates"][0] == {"label": "3", "confidence": pytest.approx(one["confidence"], abs=1e-5)}


def test_an_unclear_answer_has_candidates_and_no_digit(server, digits, png):
    found = server.post("/predict?min_confidence=1", png(3)).json["predictions"][0]
    assert (found["digit"], found["label"], found["unclear"]) == (None, None, True)
    assert found["candidates"][0]["label"] == "3"
    assert not server.post("/predict?min_confidence=0.2", png(3)).json["predictions"][0]["unclear"]
    number = server.post("/predict?min_confidence=1&number=1", row_of(digits, 4, 0, 7)).json["predictions"][0]
    assert (number["unclear"], number["candidates"][0]["label"]) == (True, "407")


@pytest.mark.parametrize("value", ["2", "-0.1", "nan", "half", ""])
def test_min_confidence_is_a_share(server, png, value):
    reply = server.post(f"/predict?min_confidence={value}", png(3))
    assert reply.status == 400
    assert reply.error.startswith("query min_confidence: expected a number from 0 to 1, got")


def test_signs_are_kept_when_asked_for(server, digits):
    page = Image.open(io.BytesIO(row_of(digits, 4, 0, 7)))
    page.paste(255, (120, 0, 150, 208))
    wide = Image.new("L", (page.width + 160, page.height), 255)
    wide.paste(page.crop((0, 0, 120, 208)), (0, 0))
    wide.paste(page.crop((120, 0, 360, 208)), (280, 0))
    wide.paste(0, (165, 100, 225, 112))  # a dash after the first digit
    stream = io.BytesIO()
    wide.save(stream, "PNG")
    found = server.post("/predict?signs=1", stream.getvalue()).json["predictions"][0]
    assert (found["text"], [sign["text"] for sign in found["signs"]]) == ("4-07", ["-"])
    assert server.post("/predict?number=1", stream.getvalue()).json["predictions"][0]["signs"] == []
    assert "expected explain or signs, got both" in server.post("/predict?signs=1&explain=1", stream.getvalue()).error
