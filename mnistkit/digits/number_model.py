"""A classifier and the whole reader as one file: picture in, all its digits out, with no code around it.

picture uint8 [height, width, channels]  ->  the outputs, digits in reading order:

text            uint8 [characters]      ASCII: a space where a gap is wide, a line feed between rows; empty: no digit
digits          int64 [digits]
confidences     float32 [digits]        probability that it is this digit
probabilities   float32 [digits, 10]    the rest to 1 is for none of the ten
boxes           float32 [digits, 4]     left, top, width, height in the picture's pixels
rows            int64 [digits]          its row, from 0
after_gap       bool [digits]           whether a wide gap or a separator stands before it in its row
confidence      float32 []              probability that the whole text is right; 0 where there is no digit
in_doubt        bool []                 mnistkit's reader looks further here and may say something else
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mnistkit.core import contract, golden
from mnistkit.core.errors import ModelFileError, ParityError, PictureError
from mnistkit.core.files import check_writable, replacing
from mnistkit.core.runtime import Runtime
from mnistkit.digits.contract import DIGITS
from mnistkit.digits.number_graph.examples import example_pages
from mnistkit.digits.picture_model import PREPROCESSING, load_classifier
from mnistkit.digits.scaling import UNIT, read_scaling

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import onnx
    from numpy.typing import NDArray

    from mnistkit.digits.classifier import Classifier
    from mnistkit.digits.digit_string import DigitString

OPSET: Final = 18
"""The first with a Resize that sees all pixels of a large picture."""
_ASSETS: Final = Path(__file__).parent / "assets"
_GOLDEN: Final = 4  # of the example pages; all of them are verified
_GOLDEN_ATOL: Final = 3e-4  # a digit more or less sure: the net's rounding goes through several steps
_TOLERANCE: Final = 0.01  # of a confidence, between the file and the reader: their resampling rounds differently
_NEAR: Final = 2.0  # pixels of a box that are the same, or as many hundredths of the picture
_PIXEL_TYPES: Final = {"uint8": 2, "int64": 7, "float32": 1, "bool": 9}  # TensorProto.DataType


def export_number_model(classifier: str | os.PathLike[str], path: str | os.PathLike[str]) -> Path:
    """Write the file beside a verified classifier, hold it against the reader, and only then put it in its place.

    Args:
        classifier: An exported ``.onnx`` digit classifier.
        path: Where the file goes.

    Raises:
        ModelFileError: The classifier cannot be read or is no digit classifier of opset 17 with a free batch axis and
            the labels 0 to 9.
        ParityError: The file reads the example pages otherwise than `mnistkit.Classifier.read_digits`.
        OutputError: The file cannot be written.
    """
    import onnx

    target = Path(path)
    check_writable(target)
    model = build_number_model(classifier)
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString(deterministic=True)
    from mnistkit.digits.classifier import Classifier

    verify_against_reader(Runtime(content, device="cpu", exact=True), Classifier(classifier, device="cpu", exact=True))
    with replacing(target) as temporary:
        Path(temporary).write_bytes(content)
    return target


def build_number_model(classifier: str | os.PathLike[str] | bytes) -> onnx.ModelProto:
    """The reader with a classifier that votes.

    Args:
        classifier: Path or bytes of an exported ``.onnx`` digit classifier.

    Returns:
        A model of opset 18 with input ``picture`` (uint8 ``[height, width, channels]``, 1 to 4 channels) and the
        outputs that this module names.

    Raises:
        ModelFileError: The file is no such classifier.
    """
    from onnx import helper

    from mnistkit.digits.number_graph.answer import OUTPUTS
    from mnistkit.digits.number_graph.graph import Graph

    inner = load_classifier(classifier)
    entries = {entry.key.removeprefix(contract.PREFIX): entry.value for entry in inner.metadata_props}
    _check(inner, entries)
    g = Graph()
    _read(g, inner, entries)
    graph = helper.make_graph(
        g.nodes,
        "numbers",
        [helper.make_tensor_value_info("picture", _PIXEL_TYPES["uint8"], ["height", "width", "channels"])],
        [helper.make_tensor_value_info(name, _PIXEL_TYPES[dtype], shape) for name, (dtype, shape) in OUTPUTS.items()],
        g.initializers,
    )
    model = helper.make_model(
        graph,
        producer_name=contract.PRODUCER,
        ir_version=max(contract.IR_VERSION, inner.ir_version),
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    _describe(model, entries)
    return model


def verify_against_reader(
    whole: Runtime, classifier: Classifier, pages: Sequence[NDArray[np.uint8]] | None = None
) -> int:
    """The file must say what the reader says, wherever it is not in doubt.

    Args:
        whole: The file.
        classifier: The classifier inside it.
        pages: Pictures, uint8 ``[height, width, channels]`` (default: the example pages).

    Returns:
        On how many of them it is in doubt.

    Raises:
        ParityError: It says something else, or is in doubt on most of them.
    """
    from mnistkit.digits.numbers import read_decoded

    given = example_pages() if pages is None else pages
    doubts = 0
    for number, page in enumerate(given):
        answer = whole.run({"picture": np.ascontiguousarray(page)})
        if answer["in_doubt"]:
            doubts += 1
            continue
        try:
            expected = read_decoded(classifier, page, (page.shape[1], page.shape[0]))
        except PictureError:
            expected = None
        _compare(answer, expected, f"page {number}, {page.shape[1]} x {page.shape[0]}")
    if doubts > len(given) / 2:
        raise ParityError(f"the file is in doubt on {doubts} of {len(given)} pages")
    return doubts


def _compare(answer: dict[str, NDArray[Any]], expected: DigitString | None, what: str) -> None:
    text = answer["text"].tobytes().decode()
    wanted = expected.text if expected else ""
    if text != wanted:
        raise ParityError(f"{what}: the file reads {text!r}, mnistkit {wanted!r}")
    if expected is None:
        return
    if not abs(float(answer["confidence"]) - expected.confidence) <= _TOLERANCE:
        raise ParityError(f"{what}: confidence {answer['confidence']:.4f}, mnistkit {expected.confidence:.4f}")
    boxes = np.array([(one.box.x, one.box.y, one.box.width, one.box.height) for one in expected.digits])
    apart = float(np.abs(answer["boxes"] - boxes).max())
    if not apart <= _NEAR * max(1.0, max(expected.width, expected.height) / 100):
        raise ParityError(f"{what}: boxes are {apart:.1f} pixels apart")


def _check(model: onnx.ModelProto, entries: dict[str, str]) -> None:
    if contract.read_labels(entries) not in {None, DIGITS}:
        raise ModelFileError("a file that reads numbers needs a classifier with the labels 0 to 9; use --picture alone")
    axis = model.graph.input[0].type.tensor_type.shape.dim[0]
    if axis.HasField("dim_value"):
        raise ModelFileError(
            f"a file that reads numbers needs a free batch axis, the classifier has {axis.dim_value}; "
            "export it without --batch"
        )


def _read(g: Any, inner: onnx.ModelProto, entries: dict[str, str]) -> None:
    """Write the whole reading into a graph."""
    import onnx

    from mnistkit.digits.number_graph.answer import Answer, Seen, answer_of, nothing, text_of
    from mnistkit.digits.number_graph.looks import Looking
    from mnistkit.digits.number_graph.pixels import smaller, to_planes, without_alpha
    from mnistkit.digits.number_graph.vote import Voters
    from mnistkit.digits.reader.looks import FILE

    given = g.tensor("picture", "uint8")
    picture = smaller(g, without_alpha(g, given))
    found, turns, crowded = Looking(g, onnx.load(FILE)).find(to_planes(g, picture))
    foreground, center, single = (
        onnx.load(_ASSETS / f"{name}.onnx") for name in ("foreground", "center_digit", "picture")
    )
    voters = Voters(foreground, center, single, inner, read_scaling(entries) or UNIT)
    answer = Answer(
        *g.either(
            crowded | found.count.equals(0),
            lambda: nothing(g, crowded).as_list(),
            lambda: answer_of(g, Seen(found, turns, given, picture), voters).as_list(),
        )
    )
    g.named(text_of(g, answer), "text")
    for name, value in answer.by_name().items():
        g.named(value, name)


def _describe(model: onnx.ModelProto, inherited: dict[str, str]) -> None:
    """The classifier's metadata with golden pairs of whole pages."""
    runtime = Runtime(model.SerializeToString(deterministic=True), device="cpu", exact=True)
    pairs = [
        golden.GoldenPair({"picture": page}, golden.rounded(runtime.run({"picture": page})))
        for page in example_pages()[:_GOLDEN]
    ]
    entries = inherited | {
        "golden": golden.encode_golden(pairs),
        "golden_atol": str(_GOLDEN_ATOL),
        "kind": "numbers",
        "preprocessing": PREPROCESSING,
    }
    entries.pop("preprocessing_parameters", None)
    for key in sorted(entries):
        model.metadata_props.add(key=contract.PREFIX + key, value=entries[key])
