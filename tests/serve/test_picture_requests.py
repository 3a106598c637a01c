import numpy as np
import pytest
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
    for path in ("/page.css", "/page.js", "/pad.js"):
        part = server.get(path)
        assert part.status == 200
        assert b"http://" not in part.body
        assert b"https://" not in part.body
    assert b"<style" not in page.body
    assert b" style=" not in page.body
