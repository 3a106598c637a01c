"""A classifier and the picture graph as one file: picture in, digit out, with no code around it.

picture uint8 [height, width, channels]  ->  digit int64 [], probabilities float32 [10],
                                             image28 float32 [28, 28], ink_fraction float32 []
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mnistkit.core import contract, golden
from mnistkit.core.errors import ModelFileError, ParityError, one_line
from mnistkit.core.files import check_writable, replacing
from mnistkit.core.runtime import Runtime
from mnistkit.digits.contract import CLASSES, SIDE
from mnistkit.digits.number_graph.merging import rename
from mnistkit.digits.scaling import UNIT, Scaling, read_scaling

if TYPE_CHECKING:
    import os

    import onnx
    from numpy.typing import NDArray

PREPROCESSING = "none: the file takes a decoded picture of any size, 1 to 4 channels of 0..255"
_PICTURE_GRAPH = Path(__file__).parent / "assets" / "picture.onnx"
_EXAMPLES = 3  # golden pairs
_TOLERANCE = 1e-6  # between the combined file and its two halves; the arithmetic is the same


def export_picture_model(classifier: str | os.PathLike[str], path: str | os.PathLike[str]) -> Path:
    """Write the combined file beside a verified classifier, verify it, and only then put it in its place.

    Args:
        classifier: An exported ``.onnx`` digit classifier.
        path: Where the combined file goes.

    Raises:
        ModelFileError: The classifier cannot be read or is no digit classifier of opset 17.
        ParityError: The combined file answers otherwise than its two halves.
        OutputError: The file cannot be written.
    """
    import onnx

    target = Path(path)
    check_writable(target)
    model = build_picture_model(classifier)
    onnx.checker.check_model(model, full_check=True)
    _verify(Runtime(model.SerializeToString(deterministic=True), device="cpu", exact=True), classifier)
    with replacing(target) as temporary:
        Path(temporary).write_bytes(model.SerializeToString(deterministic=True))
    return target


def build_picture_model(classifier: str | os.PathLike[str] | bytes) -> onnx.ModelProto:
    """The picture graph with a classifier behind it.

    Args:
        classifier: Path or bytes of an ``.onnx`` file with one float32 image input of 784 numbers and one output of ten
            probabilities.

    Returns:
        A model with input ``picture`` (uint8 ``[height, width, channels]``) and outputs ``digit`` (int64 scalar),
        ``probabilities`` (float32 ``[10]``), ``image28`` (float32 ``[28, 28]``) and ``ink_fraction`` (float32 scalar, 0
        when nothing is drawn; the digit then means nothing).

    Raises:
        ModelFileError: The file is no such classifier.
    """
    import onnx
    from onnx import TensorProto, compose, helper, numpy_helper

    inner = load_classifier(classifier)
    shape = [dimension.dim_value or 1 for dimension in inner.graph.input[0].type.tensor_type.shape.dim]
    graph = compose.add_prefix_graph(inner.graph, "classifier/")

    picture = onnx.load(_PICTURE_GRAPH).graph
    ends = {value.name for value in (*picture.input, *picture.output)}
    rename(picture, lambda name: name if name in ends else f"picture/{name}")
    entries = {entry.key.removeprefix(contract.PREFIX): entry.value for entry in inner.metadata_props}
    scaling = read_scaling(entries) or UNIT
    image_shape = [1, SIDE, SIDE] if len(shape) == 3 else [1, *shape[1:]]  # noqa: PLR2004 - [batch, 28, 28]
    whole = helper.make_graph(
        [
            *picture.node,
            *_scaled(scaling),
            helper.make_node(
                "Reshape",
                ["image28" if scaling == UNIT else "image28_scaled", "image_shape"],
                [graph.input[0].name],
                name="to_classifier",
            ),
            *graph.node,
            helper.make_node("Reshape", [graph.output[0].name, "classes"], ["probabilities"], name="to_answer"),
            helper.make_node("ArgMax", ["probabilities"], ["digit"], name="most_probable", axis=0, keepdims=0),
        ],
        "picture_classifier",
        picture.input,
        [
            helper.make_tensor_value_info("digit", TensorProto.INT64, []),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [CLASSES]),
            *picture.output,
        ],
        [
            *picture.initializer,
            numpy_helper.from_array(np.array(image_shape, np.int64), "image_shape"),
            *(
                numpy_helper.from_array(np.array(number, np.float32), name)
                for name, number in (("scale", 255 * scaling.scale), ("offset", scaling.offset))
                if scaling != UNIT
            ),
            *graph.initializer,
            numpy_helper.from_array(np.array([CLASSES], np.int64), "classes"),
        ],
    )
    model = helper.make_model(
        whole,
        producer_name=contract.PRODUCER,
        ir_version=max(contract.IR_VERSION, inner.ir_version),
        opset_imports=[helper.make_opsetid("", contract.OPSET)],
    )
    _describe(model, {entry.key: entry.value for entry in inner.metadata_props})
    return model


def load_classifier(classifier: str | os.PathLike[str] | bytes) -> onnx.ModelProto:
    """A digit classifier that may become a part of another file.

    Args:
        classifier: Path or bytes of its ``.onnx`` file.

    Raises:
        ModelFileError: It cannot be read or is no digit classifier of opset 17.
    """
    import onnx

    name = "the classifier" if isinstance(classifier, bytes) else str(classifier)
    try:
        content = classifier if isinstance(classifier, bytes) else Path(classifier).read_bytes()
        inner = onnx.load_from_string(content)
    except Exception as error:
        raise ModelFileError(f"{name}: cannot be read ({one_line(error, limit=120)}); export it first") from error
    _check(inner, name)
    return inner


def _scaled(scaling: Scaling) -> list[onnx.NodeProto]:
    """From [0, 1], which the picture graph gives, to the numbers that the classifier takes."""
    from onnx import helper

    if scaling == UNIT:
        return []
    return [
        helper.make_node("Mul", ["image28", "scale"], ["image28_times"], name="scale_image"),
        helper.make_node("Add", ["image28_times", "offset"], ["image28_scaled"], name="shift_image"),
    ]


def example_pictures() -> list[NDArray[np.uint8]]:
    """Pictures for the verification: MNIST digits small, large, dark on light, and on a transparent page."""
    from mnistkit.digits.data import load_data

    digits = load_data().x_test[:_EXAMPLES]
    large = np.kron(digits[1], np.ones((9, 9), np.uint8))
    paper = 255 - np.pad(large, ((40, 90), (120, 20)))
    see_through = np.zeros((*digits[2].shape, 4), np.uint8)
    see_through[..., 3] = digits[2]
    return [digits[0][..., None], np.repeat(paper[..., None], 3, axis=2), see_through]


def _check(model: onnx.ModelProto, name: str) -> None:
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    if opsets != {"ai.onnx": contract.OPSET}:
        raise ModelFileError(
            f"{name}: needs opset {contract.OPSET} alone, has {opsets}; export it with --opset {contract.OPSET}"
        )
    graph = model.graph
    if len(graph.input) != 1 or len(graph.output) != 1:
        raise ModelFileError(f"{name}: needs one input and one output, has {len(graph.input)} and {len(graph.output)}")
    kind = graph.input[0].type.tensor_type
    sizes = [dimension.dim_value for dimension in kind.shape.dim]
    if kind.elem_type != 1 or int(np.prod([size or 28 for size in sizes[1:]])) != 784:  # noqa: PLR2004 - 28 x 28 float32
        raise ModelFileError(f"{name}: needs a float32 image of 28x28, has {graph.input[0].name} {sizes}")


def _describe(model: onnx.ModelProto, inherited: dict[str, str]) -> None:
    """The classifier's metadata with its own golden pairs."""
    runtime = Runtime(model.SerializeToString(deterministic=True), device="cpu", exact=True)
    pairs = [
        golden.GoldenPair({"picture": picture}, golden.rounded(runtime.run({"picture": picture})))
        for picture in example_pictures()
    ]
    entries = dict(inherited)
    entries[contract.PREFIX + "golden"] = golden.encode_golden(pairs)
    entries[contract.PREFIX + "preprocessing"] = PREPROCESSING
    entries.pop(contract.PREFIX + "preprocessing_parameters", None)
    for key in sorted(entries):
        model.metadata_props.add(key=key, value=entries[key])


def _verify(whole: Runtime, classifier: str | os.PathLike[str]) -> None:
    """The combined file must say what `normalize` and the classifier say one after the other."""
    from mnistkit.digits.classifier import Classifier
    from mnistkit.digits.pictures import normalize

    half = Classifier(classifier, device="cpu", exact=True)
    for number, picture in enumerate(example_pictures()):
        answers = whole.run({"picture": picture})
        expected = half.probabilities(normalize(picture))[0]
        difference = float(np.abs(answers["probabilities"] - expected).max())
        if not difference <= _TOLERANCE:
            raise ParityError(
                f"picture {number}: the combined file differs by {difference:.3g}, allowed {_TOLERANCE:g}"
            )
