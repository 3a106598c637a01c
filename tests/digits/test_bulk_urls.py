"""Sources and tables at URLs, in one process. ``file://`` is pyarrow's, ``local://`` is fsspec's."""

import os
import re
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from mnistkit.core.errors import DataError, InputError, MissingExtraError, OutputError
from mnistkit.digits.bulk import places, read_in_bulk
from mnistkit.digits.bulk.sources import _as_expression, find_source

pytest.importorskip("pyarrow", reason="pyarrow is an extra")


@pytest.fixture
def folder(tmp_path, mnist):
    place = tmp_path / "scans"
    for number, image in enumerate(mnist.x_test[:4]):
        (place / "a").mkdir(parents=True, exist_ok=True)
        Image.fromarray(255 - np.kron(image, np.ones((4, 4), np.uint8))).save(place / "a" / f"{number} #.png")
    return place


def body(path):
    return path.read_text().replace("file://", "")


@pytest.mark.parametrize("pattern", ["", "/a", "/**/*.png", "/a/[0-9] #.png"])
def test_a_folder_at_a_url_has_the_rows_of_the_folder(folder, tmp_path, monkeypatch, pattern):
    monkeypatch.chdir(tmp_path)
    read_in_bulk([f"file://{folder}{pattern}"], "url.csv")
    read_in_bulk([f"{folder}{pattern}"], "path.csv")
    assert body(tmp_path / "url.csv") == body(tmp_path / "path.csv")
    assert (tmp_path / "url.csv").read_text().count("file://") == 4


@pytest.mark.parametrize("name", ["a.npz", "a.npy", "a.parquet"])
def test_arrays_at_urls(tmp_path, monkeypatch, mnist, name):
    import pyarrow as pa
    import pyarrow.parquet

    monkeypatch.chdir(tmp_path)
    images = mnist.x_test[:50]
    np.savez("a.npz", images)
    np.save("a.npy", images)
    pa.parquet.write_table(pa.table({"image": list(images.reshape(50, -1))}), "a.parquet")
    report = read_in_bulk([f"file://{tmp_path}/{name}"], f"file://{tmp_path}/out.csv")
    assert report.path == f"file://{tmp_path}/out.csv"
    read_in_bulk([name], "path.csv")
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "path.csv").read_bytes()
    assert not list(tmp_path.glob("*.part")) + list(tmp_path.glob(".out*"))


def test_a_picture_at_a_url_that_cannot_be_read(folder, tmp_path):
    (folder / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    names = [f"file://{folder}/torn.png", f"file://{folder}/gone.png"]
    report = read_in_bulk(names, tmp_path / "a.csv")
    assert report.failed == 2
    assert re.match(rf"file://{folder}/torn.png: is ", report.errors[0])
    assert report.errors[1] == f"file://{folder}/gone.png: no such file; check the URL"


def test_what_is_refused(folder, tmp_path, mnist):
    np.save(tmp_path / "flat.npy", np.zeros(3))
    (tmp_path / "empty").mkdir()
    for words, names in {
        "no such file or folder can be reached": ["nosuch://bucket/a.png"],
        "no pictures in this folder": [f"file://{tmp_path}/empty"],
        "no picture has such a name": [f"file://{folder}/**/*.webp"],
        "an array file is read alone": [f"file://{tmp_path}/flat.npy", "a.png"],
    }.items():
        with pytest.raises(InputError, match=words) as caught:
            read_in_bulk(names, tmp_path / "a.csv")
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"file://.*flat.npy: expected images of shape"):
        read_in_bulk([f"file://{tmp_path}/flat.npy"], tmp_path / "a.csv")
    np.save(tmp_path / "a.npy", mnist.x_test[:3])
    with pytest.raises(OutputError, match=r"cannot write file:///proc/none/a.csv: .*choose another place"):
        read_in_bulk([tmp_path / "a.npy"], "file:///proc/none/a.csv")
    with pytest.raises(InputError, match=r"the table is \.csv"):
        read_in_bulk([tmp_path / "a.npy"], "s3://bucket/a.txt?region=x.csv")
    assert not list(tmp_path.glob("a.csv*"))


def test_a_name_that_is_no_text(folder, tmp_path):
    shutil.copy(folder / "a" / "0 #.png", os.fsdecode(os.fsencode(folder) + b"/\xff.png"))
    with pytest.raises(InputError, match=r"cannot be reached .*can't decode byte"):
        read_in_bulk([f"file://{folder}"], tmp_path / "a.csv")


def test_an_upload_that_fails_leaves_nothing(tmp_path, monkeypatch, mnist):
    np.save(tmp_path / "a.npy", mnist.x_test[:3])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out.csv").write_text("older")
    find = places.find

    class Broken:
        def __init__(self, system):
            self._system = system

        def __getattr__(self, name):
            return getattr(self._system, name)

        def move(self, *_):
            raise OSError("the network went away")

    def broken(url):
        place = find(url)
        return places.Place(place.shown, Broken(place.system), place.path)

    monkeypatch.setattr(places, "find", broken)
    with pytest.raises(OutputError, match="the network went away"):
        read_in_bulk(["a.npy"], f"file://{tmp_path}/out.csv")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.npy", "out.csv", "out.csv.part"]
    assert (tmp_path / "out.csv").read_text() == "older"
    monkeypatch.setattr(places, "find", find)
    assert read_in_bulk(["a.npy"], f"file://{tmp_path}/out.csv").before == 3


def test_passwords_are_not_shown():
    assert places.show("s3://key:secret@bucket/a?token=x") == "s3://bucket/a"
    assert places.show("abfs://container@account/a") == "abfs://container@account/a"
    assert not places.is_url(r"C://scans/a.png")
    with pytest.raises(InputError) as caught:
        find_source(["nosuch://key:secret@bucket/a.png?token=x"])
    assert "secret" not in str(caught.value)
    assert "token" not in str(caught.value)


def test_patterns():
    names = ["s3://b/a/1.png", "s3://b/a/c/2.png", "s3://b/3.png", "s3://b/a/x.png"]
    for pattern, found in {
        "s3://b/**/*.png": [0, 1, 2, 3],
        "s3://b/*.png": [2],
        "s3://b/a/[0-9].png": [0],
        "s3://b/a/[!0-9].png": [3],
        "s3://b/a/**": [0, 1, 3],
    }.items():
        wanted = re.compile(_as_expression(pattern))
        assert [place for place, name in enumerate(names) if wanted.fullmatch(name)] == found


def test_without_pyarrow(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    places.find.cache_clear()
    with pytest.raises(MissingExtraError, match=r"URLs need pyarrow; run `pip install \"\.\[parquet\]\"`"):
        find_source(["s3://bucket/a.png"])


def test_a_parquet_file_whose_images_differ_in_size(tmp_path):
    """783 and 785 numbers would make two wrong images."""
    import pyarrow as pa
    import pyarrow.parquet

    for rows, words in (([[0] * 783, [0] * 785], "different sizes"), ([[0] * 784, None], "a row has no image")):
        pa.parquet.write_table(pa.table({"image": rows}), tmp_path / "a.parquet")
        with pytest.raises(DataError, match=words):
            read_in_bulk([tmp_path / "a.parquet"], tmp_path / "a.csv")


def test_the_command_says_how_a_url_is_read(fails):
    assert "what lies at a URL is read into a table; add --out" in fails("predict", "s3://bucket/a.png")
