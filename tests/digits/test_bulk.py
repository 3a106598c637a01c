"""Many pictures into one table: the same rows as one by one, whatever interrupts."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from mnistkit import Classifier, read_picture
from mnistkit.core.errors import DataError, InputError, MissingExtraError, OutputError
from mnistkit.digits import bulk
from mnistkit.digits.bulk import read_in_bulk, sources
from mnistkit.digits.bulk.sources import find_source
from mnistkit.digits.bulk.table import Part

ROWS = 40


@pytest.fixture
def images(mnist):
    return mnist.x_test[:ROWS]


@pytest.fixture
def folder(tmp_path, mnist):
    """Seven pictures in two folders, one of them no picture, and files that are none of ours."""
    place = tmp_path / "scans"
    for number, image in enumerate(mnist.x_test[:6]):
        inside = place / ("a" if number % 2 else "b")
        inside.mkdir(parents=True, exist_ok=True)
        Image.fromarray(255 - np.kron(image, np.ones((4, 4), np.uint8))).save(inside / f"{number}.png")
    (place / "a" / "torn.PNG").write_bytes(b"\x89PNG\r\n\x1a\n")
    (place / "a" / "1.shown.png").write_bytes(b"written by --show")
    (place / "notes.txt").write_text("nothing to read")
    return place


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(sources.ImageRows, "at_once", 8)
    monkeypatch.setattr(sources.PictureFiles, "at_once", 2)


def table(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def expected(images):
    return [(str(place), one.label, round(one.confidence, 6)) for place, one in enumerate(Classifier().predict(images))]


def rows_of(path):
    return [(row["source"], row["label"], float(row["confidence"])) for row in table(path)]


def assert_as_one_by_one(found, images):
    wanted = expected(images)
    assert [row[:2] for row in found] == [row[:2] for row in wanted]
    np.testing.assert_allclose([row[2] for row in found], [row[2] for row in wanted], atol=2e-6)


# -- what is read -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_chunks")
def test_a_folder_is_read_in_order_and_a_bad_picture_is_told(folder, tmp_path):
    report = read_in_bulk([folder], tmp_path / "answers.csv")
    names = [
        f"{folder}/{name}" for name in ("a/1.png", "a/3.png", "a/5.png", "a/torn.PNG", "b/0.png", "b/2.png", "b/4.png")
    ]
    found = table(tmp_path / "answers.csv")
    assert [row["source"] for row in found] == names
    classifier = Classifier()
    for row in found:
        if "torn" in row["source"]:
            assert (row["label"], row["confidence"]) == ("", "")
            assert "torn.PNG: " in row["error"]
        else:
            assert row["label"] == classifier.predict(read_picture(row["source"]))[0].label
            assert row["error"] == ""
    assert (report.count, report.failed, report.before) == (7, 1, 0)
    assert report.errors == (found[3]["error"],)
    assert not (tmp_path / "answers.csv.part").exists()


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("pattern", ["scans/**/*.png", "scans/b/[024].png"])
def test_patterns(tmp_path, monkeypatch, pattern):
    monkeypatch.chdir(tmp_path)
    read_in_bulk([pattern], "answers.csv")
    found = [row["source"] for row in table(tmp_path / "answers.csv")]
    assert found == [f"scans/b/{n}.png" for n in (0, 2, 4)] if "b" in pattern else len(found) == 6


def test_a_file_that_is_named_twice_or_missing(folder, tmp_path):
    one = folder / "b" / "0.png"
    report = read_in_bulk([one, one, folder / "gone.png"], tmp_path / "answers.csv")
    assert (report.count, report.failed) == (2, 1)
    assert "no such file" in report.errors[0]


def save(images, path):
    if path.suffix == ".npy":
        np.save(path, images)
    elif path.name.startswith("packed"):
        np.savez_compressed(path, images=images, labels=np.zeros(len(images)))
    elif path.suffix == ".npz":
        np.savez(path, images)
    else:
        arrow = pytest.importorskip("pyarrow", reason="pyarrow is an extra")
        import pyarrow.parquet

        flat = arrow.array(images.ravel())
        columns = {"image": arrow.FixedSizeListArray.from_arrays(flat, 784), "label": arrow.array([0] * len(images))}
        pyarrow.parquet.write_table(arrow.table(columns), path, row_group_size=11)
    return path


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("name", ["plain.npz", "packed.npz", "images.npy", "images.parquet"])
def test_arrays_are_read_row_by_row(images, tmp_path, name):
    report = read_in_bulk([save(images, tmp_path / name)], tmp_path / "answers.csv")
    assert (report.count, report.failed) == (ROWS, 0)
    assert_as_one_by_one(rows_of(tmp_path / "answers.csv"), images)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_other_tables_have_the_same_rows(folder, tmp_path, ending):
    out = tmp_path / f"answers{ending}"
    read_in_bulk([folder], tmp_path / "answers.csv")
    read_in_bulk([folder], out)
    if ending == ".jsonl":
        found = [json.loads(line) for line in out.read_text().splitlines()]
    else:
        found = pytest.importorskip("pyarrow.parquet", reason="pyarrow is an extra").read_table(out).to_pylist()
    wanted = table(tmp_path / "answers.csv")
    assert [{key: "" if value is None else str(value) for key, value in row.items()} for row in found] == wanted
    assert isinstance(found[0]["confidence"], float)


def test_numbers_of_several_digits(mnist, tmp_path):
    page = np.full((60, 140), 255, np.uint8)
    for place, image in enumerate(mnist.x_test[:2]):
        page[16:44, 30 + 40 * place : 58 + 40 * place] = 255 - image
    Image.fromarray(page).save(tmp_path / "page.png")
    read_in_bulk([tmp_path / "page.png"], tmp_path / "answers.csv", number=True)
    assert table(tmp_path / "answers.csv")[0]["label"].replace(" ", "") == "72"
    with pytest.raises(InputError, match="--number reads pictures of any size"):
        read_in_bulk([save(mnist.x_test[:3], tmp_path / "a.npy")], tmp_path / "answers.csv", number=True)


def test_a_reason_names_its_row_once(tmp_path):
    """Also row 0, whose name is in any text with a zero."""
    with Part(str(tmp_path / "a.csv"), {}) as part:
        part.add([("0", None, None, "unclear, 7 (90.0 %)"), ("a.png", None, None, "a.png: is empty (0 bytes)")])
    assert part.errors == ["0: unclear, 7 (90.0 %)", "a.png: is empty (0 bytes)"]


def test_readings_that_are_not_sure_enough(images, tmp_path):
    path = save(images, tmp_path / "a.npy")
    report = read_in_bulk([path], tmp_path / "answers.csv", min_confidence=0.9999)
    doubtful = [row for row in table(tmp_path / "answers.csv") if row["error"]]
    assert 0 < len(doubtful) == report.failed < ROWS
    assert all(row["label"] == "" and row["error"].startswith("unclear, ") for row in doubtful)
    assert report.errors[0].startswith(f"{doubtful[0]['source']}: unclear, ")


# -- interrupted ------------------------------------------------------------------------------------------------------


class StopError(Exception):
    pass


def stop_after(rows):
    def progress(seen):
        if seen.done >= rows:
            raise StopError

    return progress


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("kind", ["images.npy", "plain.npz", "images.parquet", "folder"])
@pytest.mark.parametrize("torn", [b"", b'["16", "3", 0.99', b'["16", "3", 0.99, null]\n'])
def test_the_same_call_goes_on_where_an_interrupted_one_ended(images, folder, tmp_path, kind, torn):
    source = folder if kind == "folder" else save(images, tmp_path / kind)
    read_in_bulk([source], tmp_path / "whole.csv")
    with pytest.raises(StopError):
        read_in_bulk([source], tmp_path / "answers.csv", progress=stop_after(4))
    assert not (tmp_path / "answers.csv").exists()
    with (tmp_path / "answers.csv.part").open("ab") as stream:
        stream.write(torn)  # as a process leaves it that is killed
    report = read_in_bulk([source], tmp_path / "answers.csv")
    assert report.before == (4 if kind == "folder" else 8)
    assert (tmp_path / "answers.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert report.failed == (kind == "folder")


@pytest.mark.usefixtures("small_chunks")
def test_rows_of_another_job_are_not_gone_on_with(images, tmp_path):
    path = save(images, tmp_path / "a.npy")

    def interrupted():
        with pytest.raises(StopError):
            read_in_bulk([path], tmp_path / "answers.csv", progress=stop_after(16))

    interrupted()
    assert read_in_bulk([path], tmp_path / "answers.csv", min_confidence=0.1).before == 0
    interrupted()
    save(images[::-1], path)
    os.utime(path, ns=(1, 1))
    assert read_in_bulk([path], tmp_path / "answers.csv").before == 0
    assert_as_one_by_one(rows_of(tmp_path / "answers.csv"), images[::-1])


def test_killed_and_run_again(tmp_path, mnist):
    """A real process, killed while it reads."""
    path, out = tmp_path / "a.npy", tmp_path / "answers.csv"
    np.save(path, np.tile(mnist.x_test[:5000], (5, 1, 1)))
    command = [sys.executable, "-m", "mnistkit", "predict", str(path), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    part = tmp_path / "answers.csv.part"
    while not part.exists() or part.stat().st_size < 100_000:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert re.fullmatch(r"wrote .*: 25,000 read, 0 not, [\d,]+ of them by an earlier run \([\d,]+/s\)\n", done.stdout)
    again = tmp_path / "again.csv"
    read_in_bulk([path], again)
    assert again.read_bytes() == out.read_bytes()


@pytest.mark.usefixtures("small_chunks")
def test_two_processes_do_not_write_one_table(images, tmp_path):
    path = save(images, tmp_path / "a.npy")

    def second(_):
        with pytest.raises(OutputError, match="another process writes this table"):
            read_in_bulk([path], tmp_path / "answers.csv")

    read_in_bulk([path], tmp_path / "answers.csv", progress=second)
    assert_as_one_by_one(rows_of(tmp_path / "answers.csv"), images)


@pytest.mark.usefixtures("small_chunks")
def test_an_older_table_stays_until_the_new_one_is_whole(images, tmp_path):
    (tmp_path / "answers.csv").write_text("older")
    with pytest.raises(StopError):
        read_in_bulk([save(images, tmp_path / "a.npy")], tmp_path / "answers.csv", progress=stop_after(8))
    assert (tmp_path / "answers.csv").read_text() == "older"


# -- bad input --------------------------------------------------------------------------------------------------------


def test_what_is_refused_before_anything_is_read(images, folder, tmp_path):
    array = save(images, tmp_path / "a.npy")
    np.savez(tmp_path / "two.npz", left=images, right=images)
    np.savez(tmp_path / "flat.npz", labels=np.zeros(3))
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    np.save(tmp_path / "columns.npy", np.asfortranarray(images))
    (tmp_path / "torn.npz").write_bytes((tmp_path / "two.npz").read_bytes()[:500])
    with (tmp_path / "vast.npy").open("wb") as stream:
        header = {"descr": "|u1", "fortran_order": False, "shape": (2, 10**12)}
        np.lib.format.write_array_header_1_0(stream, header)
    (tmp_path / "empty").mkdir()
    cases = {
        "name pictures, a folder": ([], {}),
        "is read alone": ([array, folder], {}),
        "no pictures in this folder": ([tmp_path / "empty"], {}),
        "no file has such a name": ([tmp_path / "*.webp"], {}),
        "--array x needs an .npz": ([folder], {"array": "x"}),
        "has left, right; say with --array": ([tmp_path / "two.npz"], {}),
        "has no 'up', it has left, right": ([tmp_path / "two.npz"], {"array": "up"}),
    }
    for words, (names, options) in cases.items():
        with pytest.raises(InputError, match=words):
            read_in_bulk(names, tmp_path / "answers.csv", **options)
    for words, name in (
        (r"shape \(n, 28, 28\) or \(n, 784\), got \(3,\)", "flat.npz"),
        (r"\(n, 784\), got \(2, 1000000000000\)", "vast.npy"),
        ("Python objects", "objects.npy"),
        ("by columns; save np.ascontiguousarray", "columns.npy"),
        ("is no array file", "torn.npz"),
    ):
        with pytest.raises(DataError, match=words) as caught:
            read_in_bulk([tmp_path / name], tmp_path / "answers.csv")
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"the table is .csv, .jsonl or .parquet"):
        read_in_bulk([array], tmp_path / "answers.txt")
    save(images.astype("float32"), tmp_path / "gray.npy")
    with pytest.raises(InputError, match="rows 0 to 39: floats must lie"):
        read_in_bulk([tmp_path / "gray.npy"], tmp_path / "answers.csv")
    assert sorted(path.name for path in tmp_path.glob("answers*")) == []
    assert find_source([tmp_path / "two.npz"], array="left").count == ROWS


@pytest.mark.usefixtures("small_chunks")
def test_rows_that_are_no_images_are_told_by_their_place(images, tmp_path):
    floats = images.astype("float32") / 255
    floats[20] = 7
    with pytest.raises(InputError, match=r"a.npy: rows 16 to 23: floats must lie in \[0, 1\]"):
        read_in_bulk([save(floats, tmp_path / "a.npy")], tmp_path / "answers.csv")
    assert not (tmp_path / "answers.csv").exists()


@pytest.mark.usefixtures("small_chunks")
def test_an_array_that_ends_too_early(images, tmp_path):
    path = save(images, tmp_path / "a.npy")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"is damaged \(it ends too early\); get the file again"):
        read_in_bulk([path], tmp_path / "answers.csv")


def test_parquet_without_its_package(images, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r'run `pip install "\.\[parquet\]"`'):
        read_in_bulk([save(images, tmp_path / "a.npy")], tmp_path / "answers.parquet")


def test_names_that_are_no_text(folder, tmp_path):
    """Bytes that are no UTF-8, a comma and a line feed in names: the table keeps them apart."""
    odd = [os.fsencode(folder / "b") + b"/\xff.png", os.fsencode(folder / "b") + b"/a,b\nc.png"]
    for name in odd:
        shutil.copy(os.fsencode(folder / "b" / "0.png"), name)
    names = [os.fsdecode(name) for name in odd]
    read_in_bulk(names, tmp_path / "answers.csv")
    with (tmp_path / "answers.csv").open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
        assert [row["source"] for row in csv.DictReader(stream)] == names


def test_an_array_file_whose_name_is_no_text(images, tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.npy")
    np.save(path, images)
    assert read_in_bulk([path], tmp_path / "answers.csv").count == ROWS


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_command(cli, folder, tmp_path):
    done = cli("predict", folder, "--out", tmp_path / "answers.csv")
    assert done.code == 1
    assert re.fullmatch(rf"wrote {re.escape(str(tmp_path))}/answers.csv: 6 read, 1 not \([\d,]+/s\)\n", done.out)
    assert done.err.startswith(f"mnistkit: {folder}/a/torn.PNG: ")
    quiet = cli("predict", "--quiet", folder / "b", "--out", tmp_path / "answers.jsonl")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["FOLDER"], "a folder or an array is read into a table; add --out answers.csv"),
        (["FOLDER", "--out", "a.csv", "--json"], "--json does not go with --out"),
        (["FOLDER", "--out", "a.csv", "--show"], "--show does not go with --out"),
        (["FOLDER", "--array", "x"], "--array goes with --out"),
    ],
)
def test_flags_that_do_not_go_together(cli, folder, arguments, words):
    done = cli("predict", *(folder if one == "FOLDER" else one for one in arguments))
    assert done.code == 1
    assert words in done.err
    assert done.err.count("\n") == 1


def test_the_line_of_progress():
    from mnistkit.cli.predict_bulk import ProgressLine

    line = ProgressLine(shown=False)
    assert line.rate() == ""
    line.update(bulk.Progress(done=50, before=10, count=100, failed=1))
    line.end()
    assert re.fullmatch(r" \([\d,]+/s\)", line.rate())


def test_a_terminal_is_told_how_far_it_is(capsys):
    from mnistkit.cli.predict_bulk import ProgressLine

    line = ProgressLine(shown=True)
    line.update(bulk.Progress(done=50_000, before=10, count=100_000, failed=1))
    line.end()
    assert re.search(r"50,000 of 100,000 read, 1 not; [\d,]+/s, \d+:\d+:\d+ left", capsys.readouterr().err)
