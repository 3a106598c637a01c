"""MNIST inside the package, and its relatives from disk."""

import gzip
import io
import json
import pickle  # noqa: TID251  # to make the file that must be refused
import struct
import zipfile

import numpy as np
import pytest

from mnistkit.core.errors import DataError
from mnistkit.digits import data as data_module
from mnistkit.digits.data import DIGITS, load_data, parse_labels

KEYS = ("x_train", "y_train", "x_test", "y_test")
MNIST_NAMES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}


@pytest.fixture(scope="module")
def arrays(mnist):
    return {
        "x_train": mnist.x_train[:30],
        "y_train": mnist.y_train[:30],
        "x_test": mnist.x_test[:20],
        "y_test": mnist.y_test[:20],
    }


def save(path, arrays):
    np.savez_compressed(path, **arrays)
    return path


def idx(array):
    return bytes([0, 0, 0x08, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def save_idx(folder, arrays, *, names=None, pack=idx):
    folder.mkdir(exist_ok=True)
    for key, name in (names or MNIST_NAMES).items():
        (folder / name).write_bytes(pack(arrays[key]))
    return folder


def assert_same(loaded, arrays):
    for key in KEYS:
        got = getattr(loaded, key)
        assert got.dtype == np.uint8
        np.testing.assert_array_equal(got, arrays[key])


# --- the embedded set -----------------------------------------------------------------------------------------------


def test_the_embedded_set_is_the_original(mnist):
    assert mnist.x_train.shape == (60000, 28, 28)
    assert mnist.x_test.shape == (10000, 28, 28)
    assert mnist.x_train.dtype == mnist.y_test.dtype == np.uint8
    assert mnist.y_train[:5].tolist() == [5, 0, 4, 1, 9]
    assert np.bincount(mnist.y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert mnist.labels == DIGITS
    assert mnist.name == "mnist"


def test_an_embedded_set_of_another_digest_is_refused(monkeypatch):
    monkeypatch.setattr(data_module, "MNIST_SHA256", "0" * 64)
    with pytest.raises(DataError, match=r"mnist\.npz is damaged; reinstall mnistkit"):
        load_data()


def test_its_licence_lies_beside_it(asset):
    text = asset.with_name("LICENSE.mnist.txt").read_text(encoding="utf-8")
    assert "CC BY-SA 3.0" in text or "Attribution-ShareAlike 3.0" in text


# --- .npz -----------------------------------------------------------------------------------------------------------


def test_npz(tmp_path, arrays):
    loaded = load_data(save(tmp_path / "mine.npz", arrays))
    assert_same(loaded, arrays)
    assert loaded.name == "mine.npz"


def test_npz_under_any_name(tmp_path, arrays):
    assert_same(load_data(save(tmp_path / "mine.npz", arrays).rename(tmp_path / "mine.dat")), arrays)


@pytest.mark.parametrize(
    "change",
    [
        lambda array: array.astype(np.int64),
        lambda array: array.astype(np.float32),
        lambda array: array.astype(">u2"),
        lambda array: array.reshape(len(array), -1) if array.ndim == 3 else array,
        lambda array: array[..., None] if array.ndim == 3 else array,
    ],
    ids=["int64", "float32", "big-endian", "rows of 784", "channel axis"],
)
def test_npz_variants(tmp_path, arrays, change):
    path = save(tmp_path / "mine.npz", {key: change(array) for key, array in arrays.items()})
    assert_same(load_data(path), arrays)


def test_the_digest_does_not_depend_on_the_container(tmp_path, arrays):
    packed = load_data(save(tmp_path / "a.npz", arrays))
    folder = load_data(save_idx(tmp_path / "idx", arrays))
    assert packed.sha256 == folder.sha256
    other = {**arrays, "x_test": arrays["x_test"] ^ 1}
    assert load_data(save(tmp_path / "b.npz", other)).sha256 != packed.sha256


def broken_npz(arrays):
    """What goes wrong with the arrays of an .npz, each with the words that say so."""
    images, labels = arrays["x_train"], arrays["y_train"]
    return {
        "missing array": ({k: v for k, v in arrays.items() if k != "y_test"}, "arrays y_test are missing"),
        "other names": ({"train": images}, r"arrays x_train, .* are missing \(it holds train\)"),
        "32x32": ({**arrays, "x_train": np.zeros((30, 32, 32), np.uint8)}, r"shape \[30, 32, 32\], expected \[n, 28"),
        "colour": ({**arrays, "x_train": np.zeros((30, 28, 28, 3), np.uint8)}, r"expected \[n, 28, 28\]"),
        "too few labels": ({**arrays, "y_train": labels[:-1]}, r"y_train has shape \[29\], expected \[30\]"),
        "one-hot labels": ({**arrays, "y_train": np.eye(10, dtype=np.uint8)[labels]}, r"expected \[30\]"),
        "class 10": ({**arrays, "y_train": labels + 10}, "mnistkit reads sets of ten classes"),
        "scaled to 1": ({**arrays, "x_train": images / 255}, "outside the whole numbers 0..255"),
        "negative": ({**arrays, "x_train": images.astype(int) - 1}, "outside the whole numbers 0..255"),
        "NaN": ({**arrays, "x_train": np.full((30, 28, 28), np.nan)}, "outside the whole numbers 0..255"),
        "text": ({**arrays, "y_train": labels.astype(str)}, "expected whole numbers 0..255"),
        "no images": ({**arrays, "x_test": np.zeros((0, 28, 28), np.uint8)}, "expected"),
    }


@pytest.mark.parametrize("case", list(broken_npz({key: np.zeros(1, np.uint8) for key in KEYS})))
def test_npz_with_wrong_arrays(tmp_path, arrays, case):
    content, words = broken_npz(arrays)[case]
    path = save(tmp_path / "mine.npz", content)
    with pytest.raises(DataError, match=words) as caught:
        load_data(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("keep", [10, 300, 2000, -30])
def test_truncated_npz(tmp_path, arrays, keep):
    path = save(tmp_path / "mnist.npz", arrays)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"mnist\.npz: the \.npz is damaged or truncated \(.*; fetch it again"):
        load_data(path)


def test_npz_with_a_flipped_byte(tmp_path, arrays):
    path = save(tmp_path / "mnist.npz", arrays)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 255
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match="damaged or truncated"):
        load_data(path)


def test_npz_that_holds_a_pickle_is_refused(tmp_path, arrays):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    path = tmp_path / "mnist.npz"
    np.savez(path, **{**arrays, "y_test": np.array([Bomb()], dtype=object)}, allow_pickle=True)
    with pytest.raises(DataError, match="damaged or truncated"):
        load_data(path)
    assert not (tmp_path / "executed").exists()


def test_npz_bomb_is_refused_before_it_unpacks(tmp_path, arrays, monkeypatch):
    monkeypatch.setattr(data_module, "_MAX_BYTES", 20_000)
    path = save(tmp_path / "mnist.npz", {**arrays, "x_train": np.zeros((30, 28, 28), np.uint8)})
    assert path.stat().st_size < 20_000
    with pytest.raises(DataError, match="unpacks to more than"):
        load_data(path)


WRONG_FILES = {
    "html": (b"\n<!DOCTYPE html><html><body>404</body></html>", "a web page"),
    "lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        r"Git LFS pointer \(run `git lfs pull`",
    ),
    "empty": (b"", "an empty file"),
    "npy": (b"\x93NUMPY\x01\0", r"a single \.npy array"),
    "one idx": (b"\0\0\x08\x01\0\0\0\x01\x05", "one IDX file; pass the folder that holds all four"),
    "gzipped idx": (gzip.compress(b"\0\0\x08\x01\0\0\0\x01\x05"), "gzip data; pass the folder that holds all four"),
    "pickle": (pickle.dumps({"x_train": 1}), "unknown kind"),
    "noise": (b"\x17" * 100, r"unknown kind; expected an \.npz"),
}


@pytest.mark.parametrize("case", WRONG_FILES)
def test_a_file_that_is_no_npz(tmp_path, case):
    content, words = WRONG_FILES[case]
    path = tmp_path / "mnist.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        load_data(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_zip_of_something_else(tmp_path):
    path = tmp_path / "mnist.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(DataError, match="are missing"):
        load_data(path)


def test_no_such_file(tmp_path):
    with pytest.raises(DataError, match="no such file or folder; pass an"):
        load_data(tmp_path / "nowhere.npz")


# --- IDX ------------------------------------------------------------------------------------------------------------

FOLDERS = {
    "plain": (MNIST_NAMES, idx),
    "gzip": ({key: f"{name}.gz" for key, name in MNIST_NAMES.items()}, lambda a: gzip.compress(idx(a))),
    "gzip without the suffix": (MNIST_NAMES, lambda a: gzip.compress(idx(a))),
    "suffix without gzip": ({key: f"{name}.gz" for key, name in MNIST_NAMES.items()}, idx),
    "dots": ({key: name.replace("-idx", ".idx") for key, name in MNIST_NAMES.items()}, idx),
    "capitals": ({key: name.upper() for key, name in MNIST_NAMES.items()}, idx),
    "test for t10k": ({key: name.replace("t10k", "test") for key, name in MNIST_NAMES.items()}, idx),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_idx_folder(tmp_path, arrays, case):
    names, pack = FOLDERS[case]
    loaded = load_data(save_idx(tmp_path / "sets", arrays, names=names, pack=pack))
    assert_same(loaded, arrays)
    assert loaded.name == "sets"


def emnist_names(part, *, suffix=""):
    return {
        "x_train": f"emnist-{part}-train-images-idx3-ubyte{suffix}",
        "y_train": f"emnist-{part}-train-labels-idx1-ubyte{suffix}",
        "x_test": f"emnist-{part}-test-images-idx3-ubyte{suffix}",
        "y_test": f"emnist-{part}-test-labels-idx1-ubyte{suffix}",
    }


def test_emnist_stores_columns_first_and_holds_other_sets_too(tmp_path, arrays):
    turned = {key: array.transpose(0, 2, 1) if array.ndim == 3 else array for key, array in arrays.items()}
    folder = save_idx(tmp_path / "emnist", turned, names=emnist_names("digits"))
    save_idx(folder, turned, names=emnist_names("digits", suffix=".gz"), pack=lambda a: gzip.compress(idx(a)))
    letters = {key: np.zeros_like(array) for key, array in arrays.items()}
    save_idx(folder, letters, names=emnist_names("byclass"))
    save_idx(folder, letters, names=emnist_names("letters"))
    assert_same(load_data(folder), arrays)


def test_folder_with_the_npz_inside(tmp_path, arrays):
    save(tmp_path / "mnist.npz", arrays)
    assert_same(load_data(tmp_path), arrays)


def test_folder_without_a_data_set(tmp_path):
    with pytest.raises(DataError, match=r"no IDX file with the train images \(like train-images-idx3-ubyte"):
        load_data(tmp_path)


BROKEN_IDX = {
    "one byte short": (lambda a: idx(a)[:-1], "the header says"),
    "one byte long": (lambda a: idx(a) + b"\0", "the header says"),
    "header alone": (lambda a: idx(a)[:6], "header is truncated"),
    "html": (lambda _: b"<html>", "not an IDX file but a web page"),
    "lfs": (lambda _: b"version https://git-lfs.github.com/spec/v1", "not an IDX file but a Git LFS pointer"),
    "empty": (lambda _: b"", "not an IDX file but an empty file"),
    "floats": (lambda a: b"\0\0\x0d" + idx(a)[3:], "IDX type 0x0d"),
    "labels for images": (lambda a: idx(a.reshape(-1)), "with 1 axes, expected 0x08 with 3"),
    "gzip cut off": (lambda a: gzip.compress(idx(a))[:-9], "gzip data is damaged or truncated"),
    "gzip with noise": (lambda a: gzip.compress(idx(a))[:40] + b"\xff" * 40, "gzip data is damaged or truncated"),
}


@pytest.mark.parametrize("case", BROKEN_IDX)
def test_broken_idx(tmp_path, arrays, case):
    pack, words = BROKEN_IDX[case]
    folder = save_idx(tmp_path / "sets", arrays)
    path = folder / MNIST_NAMES["x_train"]
    path.write_bytes(pack(arrays["x_train"]))
    with pytest.raises(DataError, match=words) as caught:
        load_data(folder)
    assert str(path) in str(caught.value)


def test_gzip_bomb(tmp_path, arrays, monkeypatch):
    folder = save_idx(tmp_path / "sets", arrays, pack=lambda a: gzip.compress(idx(a)))
    monkeypatch.setattr(data_module, "_MAX_BYTES", 20_000)
    with pytest.raises(DataError, match="unpacks to more than"):
        load_data(folder)


# --- labels ---------------------------------------------------------------------------------------------------------

CLOTHES = ("shirt", "trouser", "pullover", "dress", "coat", "sandal", "top", "sneaker", "bag", "boot")


def test_labels_are_kept(tmp_path, arrays):
    assert load_data(save(tmp_path / "fashion.npz", arrays), labels=CLOTHES).labels == CLOTHES


@pytest.mark.parametrize("text", [", ".join(CLOTHES), ",".join(CLOTHES)], ids=["spaces", "plain"])
def test_labels_from_text(text):
    assert parse_labels(text) == CLOTHES


@pytest.mark.parametrize(
    "content",
    ["\n".join(CLOTHES), "\n\n".join(CLOTHES) + "\n", json.dumps(CLOTHES)],
    ids=["lines", "blank lines", "json"],
)
def test_labels_from_a_file(tmp_path, content):
    path = tmp_path / "labels"
    path.write_text(content)
    assert parse_labels(str(path)) == CLOTHES


WRONG_LABELS = {
    "nine": (",".join(CLOTHES[:9]), "expected 10 different names, got 9"),
    "twice": (",".join((*CLOTHES[:9], "shirt")), "expected 10 different names"),
    "empty": (",".join((*CLOTHES[:9], "")), "expected 10 different names"),
    "no file": ("nowhere.txt", r"nowhere\.txt: cannot be read \(No such file"),
}


@pytest.mark.parametrize("case", WRONG_LABELS)
def test_wrong_labels(case):
    text, words = WRONG_LABELS[case]
    with pytest.raises(DataError, match=words):
        parse_labels(text)


@pytest.mark.parametrize("content", ["[1, 2", "[1, 2, 3]", '{"a": 1}'])
def test_wrong_labels_in_a_file(tmp_path, content):
    path = tmp_path / "labels.json"
    path.write_text(content)
    with pytest.raises(DataError):
        parse_labels(str(path))


def test_the_dataset_cannot_be_changed(mnist):
    with pytest.raises(AttributeError):
        mnist.name = "other"


def test_nothing_is_fetched(tmp_path, arrays, monkeypatch):
    """``--data`` reads the disk alone: with sockets closed it works all the same."""

    def refuse(*_, **__):
        raise AssertionError("the network was touched")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    assert_same(load_data(save(tmp_path / "mine.npz", arrays)), arrays)
    with pytest.raises(DataError):
        load_data(tmp_path / "https:" / "example.org" / "mnist.npz")


def test_npz_from_memory_matches_the_format_that_keras_publishes(mnist):
    """The embedded file itself can be passed on as ``--data``."""
    stream = io.BytesIO()
    np.savez(stream, **{key: getattr(mnist, key)[:5] for key in KEYS})
    with np.load(io.BytesIO(stream.getvalue()), allow_pickle=False) as archive:
        assert set(archive.files) == set(KEYS)


def test_it_unpacks_as_keras_data_sets_do(mnist):
    (x_train, y_train), (x_test, y_test) = mnist
    assert x_train is mnist.x_train
    assert y_train is mnist.y_train
    assert x_test is mnist.x_test
    assert y_test is mnist.y_test


def test_what_it_looks_like(mnist):
    assert repr(mnist) == "Dataset('mnist', 60000 training and 10000 test images)"


# --- other forms ----------------------------------------------------------------------------------------------------


def save_csv(path, x, y, *, names=True):
    rows = np.concatenate([y[:, None], x.reshape(len(x), -1)], axis=1)
    header = ",".join(["label", *(f"pixel{i}" for i in range(784))]) if names else ""
    np.savetxt(path, rows, fmt="%d", delimiter=",", header=header, comments="")
    return path


def held_out(x):
    every_seventh = np.arange(len(x)) % 7 == 6
    return x[~every_seventh], x[every_seventh]


@pytest.mark.parametrize("names", [True, False], ids=["with names", "without"])
def test_one_csv_is_divided(tmp_path, arrays, names):
    loaded = load_data(save_csv(tmp_path / "mnist.csv", arrays["x_train"], arrays["y_train"], names=names))
    for got, wanted in zip((loaded.x_train, loaded.x_test), held_out(arrays["x_train"]), strict=True):
        np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(loaded.y_test, held_out(arrays["y_train"])[1])


def test_a_folder_of_csvs(tmp_path, arrays):
    save_csv(tmp_path / "mnist_train.csv", arrays["x_train"], arrays["y_train"])
    save_csv(tmp_path / "mnist_test.csv", arrays["x_test"], arrays["y_test"], names=False)
    assert_same(load_data(tmp_path), arrays)
    # a competition's test images have no labels
    (tmp_path / "mnist_test.csv").write_text(",".join(["0"] * 784))
    assert len(load_data(tmp_path).x_test) == len(arrays["x_train"]) // 7


def test_a_csv_that_is_something_else(tmp_path):
    for text, words in (
        ("a,b\n1,2\n", "2 columns, expected 785"),
        (",".join(["x"] * 785) + "\n" + ",".join(["y"] * 785), "is not a table of numbers"),
        (",".join(["900"] * 785), "values outside the whole numbers 0..255"),
    ):
        (tmp_path / "data.csv").write_text(text)
        with pytest.raises(DataError, match=words):
            load_data(tmp_path / "data.csv")


@pytest.mark.parametrize("names", ["{}", "mnist_{}"])
def test_npy_arrays(tmp_path, arrays, names):
    for key, array in arrays.items():
        np.save(tmp_path / (names.format(key) + ".npy"), array.astype("int64"))
    assert_same(load_data(tmp_path), arrays)
    next(tmp_path.glob("*y_test.npy")).unlink()
    with pytest.raises(DataError, match=r"expected one .npy array like y_test.npy, found 0"):
        load_data(tmp_path)


def save_pictures(folder, x, y, *, invert=False):
    image_module = pytest.importorskip("PIL.Image")
    for i, (image, label) in enumerate(zip(x, y, strict=True)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        picture = 255 - image if invert else image
        image_module.fromarray(picture).save(folder / str(label) / f"{i:04}.png")


@pytest.mark.parametrize("invert", [False, True], ids=["bright ink", "dark ink"])
def test_folders_of_pictures_by_class(tmp_path, mnist, invert):
    save_pictures(tmp_path / "train", mnist.x_train[:80], mnist.y_train[:80], invert=invert)
    save_pictures(tmp_path / "test", mnist.x_test[:100], mnist.y_test[:100], invert=invert)
    loaded = load_data(tmp_path)
    for got, images, labels in (
        (loaded.x_train, mnist.x_train[:80], mnist.y_train[:80]),
        (loaded.x_test, mnist.x_test[:100], mnist.y_test[:100]),
    ):
        np.testing.assert_array_equal(got, images[np.argsort(labels, kind="stable")])
    assert sorted(set(loaded.y_train)) == list(range(10))
    divided = load_data(tmp_path / "train")
    assert (len(divided.x_train), len(divided.x_test)) == (69, 11)


def test_digits_that_lie_on_their_side_are_turned(tmp_path, mnist):
    """EMNIST under another name."""
    upright = {key: getattr(mnist, key)[:600] for key in KEYS}
    lying = {k: v.transpose(0, 2, 1).copy() if k.startswith("x") else v for k, v in upright.items()}
    assert_same(load_data(save(tmp_path / "digits.npz", lying)), upright)
    assert_same(load_data(save(tmp_path / "upright.npz", upright)), upright)
    noise = {k: np.random.default_rng(0).permutation(v.ravel()).reshape(v.shape) for k, v in upright.items()}
    assert_same(load_data(save(tmp_path / "noise.npz", noise)), noise)
