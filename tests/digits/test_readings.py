"""Pictures on the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

import mnistkit
from mnistkit.digits.readings import read_files


@pytest.fixture
def pictures(tmp_path, mnist, monkeypatch):
    """Files 0.png … 3.png with a seven, a two, a one and a zero, in the current folder."""
    monkeypatch.chdir(tmp_path)
    for place in range(4):
        Image.fromarray(255 - mnist.x_test[place]).resize((112, 112)).save(f"{place}.png")
    return tmp_path


def test_one_line_each(cli, asset, pictures):
    ran = cli("predict", "0.png", "1.png", "2.png", "3.png", "--model", asset)
    assert (ran.code, ran.err) == (0, "")
    lines = [line.split("  ") for line in ran.out.splitlines()]
    assert [(name, digit) for name, digit, _ in lines] == [
        ("0.png", "7"),
        ("1.png", "2"),
        ("2.png", "1"),
        ("3.png", "0"),
    ]
    assert all(share.startswith("(") and share.endswith(" %)") for _, _, share in lines)
    assert pictures


@pytest.mark.usefixtures("pictures")
def test_without_a_model_the_packaged_one_reads(cli):
    assert cli("predict", "0.png").out.startswith("0.png  7  (")


@pytest.mark.usefixtures("pictures")
def test_json(cli, asset):
    ran = cli("predict", "0.png", "--json", "--model", asset)
    (found,) = json.loads(ran.out)
    assert ran.err == ""
    assert (found["picture"], found["digit"], found["label"]) == ("0.png", 7, "7")
    assert found["confidence"] == max(found["probabilities"])
    assert sum(found["probabilities"]) == pytest.approx(1, abs=1e-5)


def test_a_bad_picture_does_not_stop_the_others(cli, asset, pictures):
    (pictures / "bad.png").write_bytes(b"no picture")
    ran = cli("predict", "0.png", "bad.png", "none.png", "1.png", "--model", asset)
    assert ran.code == 1
    assert [line.split("  ")[:2] for line in ran.out.splitlines()] == [["0.png", "7"], ["1.png", "2"]]
    lines = ran.err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("mnistkit: bad.png: is not a picture")
    assert lines[1].startswith("mnistkit: none.png: no such file")


def test_json_with_a_bad_picture(cli, asset, pictures):
    (pictures / "bad.png").write_bytes(b"no picture")
    ran = cli("predict", "bad.png", "0.png", "--json", "--model", asset)
    bad, good = json.loads(ran.out)
    assert ran.code == 1
    assert bad["picture"] == "bad.png"
    assert "not a picture" in bad["error"]
    assert good["digit"] == 7


def test_nothing_drawn(fails, pictures, asset):
    Image.fromarray(np.full((50, 50), 255, np.uint8)).save(pictures / "blank.png")
    assert "blank.png: no digit found" in fails("predict", "blank.png", "--model", asset)


@pytest.mark.usefixtures("pictures")
def test_a_model_that_is_none(fails, pictures):
    (pictures / "bad.onnx").write_bytes(b"nonsense")
    assert "bad.onnx: not a model that onnxruntime" in fails("predict", "0.png", "--model", "bad.onnx")
    assert "none.onnx: no such file" in fails("predict", "0.png", "--model", "none.onnx")


LINE = "mnistkit: read by exports/mnist.onnx, found in this folder (test accuracy 94.53 %)"


def test_which_model_reads_is_told_where_none_was_named(cli, asset, pictures):
    """A model trained in this folder is used before the packaged one, and may be weaker."""
    ran = cli("predict", "0.png", "1.png")
    accuracy = float(mnistkit.Classifier(asset).metadata["test_accuracy"])
    assert ran.err == f"mnistkit: read by the model inside the package (test accuracy {100 * accuracy:.2f} %)\n"
    (pictures / "exports").mkdir()
    content = asset.read_bytes()
    told = f"{accuracy:.4f}".encode()
    assert told in content
    (pictures / "exports" / "mnist.onnx").write_bytes(content.replace(told, b"0.9453"))
    assert cli("predict", "0.png").err.replace("\\", "/") == LINE + "\n"
    assert cli("predict", "0.png", "--quiet").err == ""
    assert cli("predict", "0.png", "--model", asset).err == ""
    ran = cli("predict", "0.png", "--json")
    assert ran.err == ""
    assert json.loads(ran.out)[0]["model"] == {"file": str(Path("exports", "mnist.onnx")), "test_accuracy": 0.9453}


@pytest.mark.usefixtures("pictures")
def test_what_show_wrote_is_not_read_as_a_picture(cli, asset):
    assert cli("predict", "--show", "0.png", "--model", asset).code == 0
    ran = cli("predict", "0.png", "0.shown.png", "1.png", "--model", asset)
    assert [line.split("  ")[0] for line in ran.out.splitlines()] == ["0.png", "1.png"]
    assert ran.err == "mnistkit: 0.shown.png: skipped, it was written by --show\n"
    assert "skipped" not in cli("predict", "0.shown.png", "--model", asset).err


@pytest.fixture
def row(pictures, mnist):
    """The text of row.png, five digits."""
    row = np.concatenate([255 - mnist.x_test[place] for place in range(20, 25)], axis=1)
    Image.fromarray(row).resize((560, 112)).save(pictures / "row.png")
    return "".join(map(str, mnist.y_test[20:25]))


def test_several_digits_without_number_are_read_and_told_of(cli, asset, row):
    ran = cli("predict", "row.png", "--model", asset)
    assert ran.err == "mnistkit: row.png: has 5 digits, read as with --number\n"
    assert ran.out.startswith(f"row.png  {row}  (")
    asked = cli("predict", "row.png", "--model", asset, "--number")
    assert (asked.err, asked.out) == ("", ran.out)
    alone = cli("predict", "0.png", "--model", asset)
    assert (alone.err, alone.out[:10]) == ("", "0.png  7  ")


def test_several_digits_in_json_are_no_single_one(cli, asset, row):
    ran = cli("predict", "row.png", "0.png", "--json", "--model", asset)
    several, one = json.loads(ran.out)
    assert ran.err == ""
    assert (several["digit"], several["label"], several["probabilities"]) == (None, None, None)
    assert several["number"]["text"] == row
    assert several["confidence"] == several["number"]["confidence"]
    assert (one["digit"], one["number"], one["unclear"]) == (7, None, False)
    unclear, also = json.loads(cli("predict", "row.png", "0.png", "--json", "--min-confidence", "1").out)
    assert [reading["unclear"] for reading in (unclear, also)] == [True, True]
    assert unclear["candidates"][0]["label"] == row
    assert "digit" not in unclear


def test_show_of_several_digits_draws_boxes(cli, asset, row):
    assert cli("predict", "row.png", "--show", "--quiet", "--model", asset).code == 0
    with Image.open("row.shown.png") as shown:
        assert shown.width > 560
    assert row


def test_words_and_photos_are_no_digit(fails, asset, pictures):
    page = Image.new("L", (420, 140), 255)
    ImageDraw.Draw(page).text((20, 20), "Hey Max", fill=0, font=ImageFont.load_default(80))
    page.save(pictures / "word.png")
    grain = np.random.default_rng(0).normal(0, 1, (12, 16, 3)).cumsum(0).cumsum(1)
    photo = np.rint(255 * (grain - grain.min()) / np.ptp(grain)).astype(np.uint8)
    Image.fromarray(photo).resize((640, 480), Image.Resampling.BICUBIC).save(pictures / "photo.png")
    for name in ("word.png", "photo.png"):
        assert f"{name}: no digit found" in fails("predict", name, "--model", asset)
        assert f"{name}: no digit found" in fails("predict", "--number", name, "--model", asset)


@pytest.mark.parametrize("value", ["1.5", "-0.1", "nan", "sure"])
@pytest.mark.usefixtures("pictures")
def test_min_confidence_is_a_share(cli, value):
    ran = cli("predict", "0.png", f"--min-confidence={value}")
    assert ran.code == 2
    assert f"argument --min-confidence: invalid share value: '{value}'" in ran.err


@pytest.mark.usefixtures("pictures")
def test_as_a_function(classifier):
    readings = list(read_files(classifier, ["0.png", "none.png"]))
    assert readings[0].prediction.digit == 7
    assert readings[0].error is None
    assert readings[1].prediction is None
    assert "no such file" in str(readings[1].error)
