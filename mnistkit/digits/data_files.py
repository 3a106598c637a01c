"""Other forms in which people have sets of 28x28 images: CSV, ``.npy`` arrays, and folders of pictures by class.

Where a set is not divided, every seventh image is held out for the test, as in MNIST itself (60,000 and 10,000).
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.errors import DataError, one_line
from mnistkit.digits.contract import CLASSES, SIDE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    Pair = tuple[NDArray[Any], NDArray[Any]]

HELD_OUT = 7
_PIXELS = SIDE * SIDE
_MAX_NUMBERS = 2 * 1024**3 // 8  # what the CSV of a large set holds
_NPY_NAMES = {
    "x_train": r"(x.?train|train.?(x|images?|data))",
    "y_train": r"(y.?train|train.?(y|labels?|targets?))",
    "x_test": r"(x.?test|test.?(x|images?|data))",
    "y_test": r"(y.?test|test.?(y|labels?|targets?))",
}
PICTURE_ENDINGS = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def from_csv(path: Path) -> dict[str, NDArray[Any]]:
    """One CSV: the label and 784 pixels in each line, with or without a line of names; the held-out images from it.

    Raises:
        DataError: The numbers are not that.
    """
    return _divided(_read_csv(path))


def from_csv_folder(files: Iterable[Path], folder: Path) -> dict[str, NDArray[Any]]:
    """A folder with one CSV of training images and, where it has labels too, one of test images.

    Raises:
        DataError: No CSV is named for training, or its numbers are not images.
    """
    tables = [file for file in files if file.suffix.lower() == ".csv"]
    train = [file for file in tables if "train" in file.name.lower()] or (tables if len(tables) == 1 else [])
    if len(train) != 1:
        raise DataError(f"{folder}: expected one CSV with 'train' in its name, found {len(train)}; pass the CSV itself")
    test = [file for file in tables if "test" in file.name.lower() and file != train[0]]
    if len(test) == 1 and _columns(test[0]) == _PIXELS + 1:  # a competition's test images come without labels
        (x_train, y_train), (x_test, y_test) = _read_csv(train[0]), _read_csv(test[0])
        return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
    return _divided(_read_csv(train[0]))


def from_npy_folder(files: Iterable[Path], folder: Path) -> dict[str, NDArray[Any]] | None:
    """A folder of ``.npy`` arrays, named like ``x_train.npy`` or ``train-labels.npy``; None where it has none.

    Raises:
        DataError: An array is missing or damaged.
    """
    arrays = [file for file in files if file.suffix.lower() == ".npy"]
    if not arrays:
        return None
    found: dict[str, NDArray[Any]] = {}
    for key, pattern in _NPY_NAMES.items():
        named = [file for file in arrays if re.search(pattern, file.stem.lower())]
        if len(named) != 1:
            raise DataError(f"{folder}: expected one .npy array like {key}.npy, found {len(named)}")
        try:
            found[key] = np.load(named[0], allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise DataError(
                f"{named[0]}: the .npy is damaged ({one_line(error, limit=120)}); fetch it again"
            ) from error
    return found


def from_picture_folders(folder: Path) -> dict[str, NDArray[Any]] | None:
    """Folders ``0`` to ``9`` of picture files, at the top or in ``train`` and ``test``; None where there are none.

    Pictures of 28x28 are taken as they are, turned where the margins of most are bright; others are read as
    `read_picture` does.

    Raises:
        DataError: A class has no pictures.
        PictureError: One of them cannot be read.
    """
    parts = {name: folder / name for name in ("train", "training", "test", "testing", "val", "valid")}
    train = next((parts[name] for name in ("train", "training") if _is_by_class(parts[name])), None)
    if train is None:
        return _divided(_read_pictures(folder)) if _is_by_class(folder) else None
    test = next((parts[n] for n in ("test", "testing", "val", "valid") if _is_by_class(parts[n])), None)
    if test is None:
        return _divided(_read_pictures(train))
    (x_train, y_train), (x_test, y_test) = _read_pictures(train), _read_pictures(test)
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


def are_transposed(x: NDArray[np.uint8], y: NDArray[np.uint8], mnist: Pair) -> bool:
    """Tell whether digits have rows and columns exchanged, as EMNIST stores them, whatever their file is called.

    Args:
        x: uint8 ``[n, 28, 28]``.
        y: their labels.
        mnist: images and labels of MNIST to compare with.
    """
    straight = crossed = 0.0
    theirs, ours = _means(x, y), _means(*mnist)
    known = [label for label in ours if label in theirs]
    for label in known:
        straight += _correlation(theirs[label], ours[label])
        crossed += _correlation(theirs[label].T, ours[label])
    # digits as people write them agree with MNIST's to 0.7 and more, and half as well when they lie on their side
    return bool(known) and crossed > 0.6 * len(known) and crossed - straight > 0.15 * len(known)


def _means(x: NDArray[np.uint8], y: NDArray[np.uint8]) -> dict[int, NDArray[np.float64]]:
    few = slice(0, 3000)
    return {int(label): x[few][y[few] == label].mean(axis=0, dtype=np.float64) for label in np.unique(y[few])}


def _correlation(one: NDArray[np.float64], two: NDArray[np.float64]) -> float:
    if not one.any() or not two.any():
        return 0.0
    return float(np.corrcoef(one.ravel(), two.ravel())[0, 1])


def _divided(pair: Pair) -> dict[str, NDArray[Any]]:
    x, y = pair
    held_out = np.arange(len(x)) % HELD_OUT == HELD_OUT - 1
    return {"x_train": x[~held_out], "y_train": y[~held_out], "x_test": x[held_out], "y_test": y[held_out]}


def _first_line(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as stream:
            return stream.readline(64 * 1024)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def _columns(path: Path) -> int:
    return _first_line(path).count(",") + 1


def _read_csv(path: Path) -> Pair:
    first = _first_line(path)
    columns = first.count(",") + 1
    if columns != _PIXELS + 1:
        raise DataError(f"{path}: {columns} columns, expected 785: the label, then 784 pixels, separated by commas")
    names = [name.strip().strip('"').lower() for name in first.split(",")]
    has_names = not all(re.fullmatch(r"\d+(\.0*)?", name) for name in names)
    if path.stat().st_size > 2 * _MAX_NUMBERS:
        raise DataError(f"{path}: too large; not a set of 28x28 images")
    try:
        table = np.loadtxt(path, delimiter=",", skiprows=int(has_names), ndmin=2, encoding="utf-8-sig", comments=None)
    except ValueError as error:
        raise DataError(f"{path}: is not a table of numbers ({one_line(error, limit=120)})") from error
    at = next((names.index(name) for name in ("label", "class", "target", "y") if name in names), 0)
    return np.delete(table, at, axis=1), table[:, at]


def _is_by_class(folder: Path) -> bool:
    return all((folder / str(label)).is_dir() for label in range(CLASSES))


def _read_pictures(folder: Path) -> Pair:
    from mnistkit.digits.pictures import decode, normalize

    images: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    is_small: list[bool] = []
    for label in range(CLASSES):
        files = sorted(file for file in (folder / str(label)).iterdir() if file.suffix.lower() in PICTURE_ENDINGS)
        if not files:
            raise DataError(f"{folder / str(label)}: no pictures of class {label}")
        for file in files:
            picture = decode(file)
            small = picture.shape[:2] == (SIDE, SIDE) and picture.shape[2] in {1, 3}
            seen = picture.mean(axis=2) if small else 255 * normalize(picture, name=str(file))
            images.append(np.asarray(np.rint(seen), np.uint8))
            labels.append(label)
            is_small.append(small)
    x, small_ones = np.stack(images), np.array(is_small)
    if small_ones.any():
        margins = np.concatenate([x[small_ones][:, 0], x[small_ones][:, -1]], axis=1)
        if np.median(margins) > 127:  # noqa: PLR2004 - half of white
            x[small_ones] = 255 - x[small_ones]
    assert math.prod(x.shape[1:]) == _PIXELS
    return x, np.array(labels, np.uint8)
