"""The file of ``export --picture --number`` beside the reader: ``python benchmarks/number_file.py [FOLDER]``.

How often bare onnxruntime gives the same string, how often the file is in doubt, and what both take: on the pictures of
a folder with ``labels.csv``, on ``--count`` composed pages of each kind, and on a photo of 12 megapixels.
"""

from __future__ import annotations

import argparse
import csv
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
from read_numbers import KINDS, SEED, compose

from mnistkit.core.errors import PictureError
from mnistkit.digits.classifier import Classifier, default_model
from mnistkit.digits.data import load_data
from mnistkit.digits.number_graph.examples import page
from mnistkit.digits.number_model import export_number_model
from mnistkit.digits.numbers import read_decoded
from mnistkit.digits.pictures import decode

if TYPE_CHECKING:
    from collections.abc import Iterator


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="pictures with labels.csv")
    parser.add_argument("--count", type=int, default=20, help="composed pages of each kind (default: %(default)s)")
    parser.add_argument("--model", type=Path, default=default_model(), help="a classifier (default: as predict)")
    options = parser.parse_args()
    reader = Classifier(options.model, device="cpu", threads=1)
    with tempfile.TemporaryDirectory() as folder:
        file = export_number_model(options.model, Path(folder) / "number.onnx")
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1
        begin = time.process_time()
        session = onnxruntime.InferenceSession(str(file), settings, providers=["CPUExecutionProvider"])
        seconds = time.process_time() - begin
        print(f"{file.stat().st_size / 1e6:.2f} MB, loaded in {seconds:.2f} s of CPU")
    if options.folder:
        compare(session, reader, "shared pictures", list(of_folder(options.folder)))
    data = load_data()
    for kind, arguments in KINDS.items():
        generators = [np.random.default_rng([SEED, n, *kind.encode()]) for n in range(options.count)]
        pages = [decode(compose(data.x_test, data.y_test, one, **arguments)[1]) for one in generators]
        compare(session, reader, kind, pages)
    photo = np.full((3000, 4000, 3), 225, np.uint8)
    number = page([[0, 1, 2, 3, 4], [5, 6, 7]], scale=12)
    photo[700 : 700 + number.shape[0], 900 : 900 + number.shape[1]] = np.minimum(225, number)[..., None]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.process_time()
    session.run(None, {"picture": photo})
    seconds = time.process_time() - begin
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"12 megapixels: {seconds:.2f} s of CPU, {grown:.0f} MB more at the peak than before")
    return 0


def of_folder(folder: Path) -> Iterator[np.ndarray]:
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            yield decode(folder / row["path"])


def compare(session: onnxruntime.InferenceSession, reader: Classifier, what: str, pictures: list[np.ndarray]) -> None:
    """Print how often both say the same, and where they do not, whether the file is in doubt."""
    same = doubts = silent = 0
    spent = [0.0, 0.0]
    for picture in pictures:
        begin = time.process_time()
        text, doubt = session.run(["text", "in_doubt"], {"picture": np.ascontiguousarray(picture)})
        spent[0] += time.process_time() - begin
        begin = time.process_time()
        try:
            expected = read_decoded(reader, picture, (picture.shape[1], picture.shape[0])).text
        except PictureError:
            expected = ""
        spent[1] += time.process_time() - begin
        is_same = bytes(text).decode() == expected
        same, doubts, silent = same + is_same, doubts + bool(doubt), silent + (not is_same and not doubt)
    print(
        f"{what:<46}{same} of {len(pictures)} the same, {doubts} in doubt, {silent} other without doubt; "
        f"{spent[0] / len(pictures):.3f} s of CPU each, the reader {spent[1] / len(pictures):.3f} s",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
