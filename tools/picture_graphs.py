"""Write the picture graphs inside the package: any picture in, the digit as MNIST would have shown it out.

    python tools/picture_graphs.py                    write mnistkit/digits/assets/*.onnx
    python tools/picture_graphs.py --check            exit 1 where a committed file is not what would be written

Three graphs, deterministic to the byte:

    picture.onnx        picture uint8 [height, width, channels] -> image28 float32 [28, 28], ink_fraction float32 []
    foreground.onnx     the first half, for pictures of many digits: picture, side -> foreground, confident_foreground
    center_digit.onnx   the second half, for one digit out of many: foreground -> image28

The steps, one module of `picture_steps` each, in this order:

    reduce        area averages to a working size with the longest side at `WORKING_SIDE`, whatever the picture's size
    polarity      channels and transparency to one gray plane in which ink differs most from paper; ink bright
    background    shadow and paper subtracted: a gray opening with a window wider than any stroke
    ruled_lines   ruled and squared paper subtracted
    foreground    noise measured, ink stretched to 0..1
    digit         the largest connected ink and what belongs to it; only in picture.onnx
    center        hairlines widened to MNIST's strokes; cropped to the ink, 20x20 box keeping the aspect, center of mass
                  to the middle

Shapes depend on the picture's size and never on its content: resampling is a product with a matrix of area weights
that is computed from edges, so cropping needs no dynamic slice.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # this checkout's package, whatever is installed

import committed
from picture_steps.background import without_background
from picture_steps.center import center, thicken
from picture_steps.digit import isolate_digit
from picture_steps.foreground import foreground_of
from picture_steps.graph_builder import GraphBuilder
from picture_steps.planes import mean
from picture_steps.polarity import flatten, ink_bright
from picture_steps.reduce import reduce
from picture_steps.ruled_lines import without_lines

from mnistkit.core.contract import IR_VERSION, OPSET, PRODUCER
from mnistkit.digits.pictures import WORKING_SIDE

if TYPE_CHECKING:
    import onnx
    from picture_steps.graph_builder import Size, Value

ASSETS = Path(__file__).parents[1] / "mnistkit" / "digits" / "assets"


def picture_graph() -> onnx.ModelProto:
    """Picture to MNIST's 28x28.

    Returns:
        A model with input ``picture`` (uint8 ``[height, width, channels]``, 1 to 4 channels: gray, gray and alpha, RGB,
        RGBA) and outputs ``image28`` (float32 ``[28, 28]`` in [0, 1], ink bright) and ``ink_fraction`` (float32 scalar:
        the share of the picture that is ink, 0 when nothing is drawn).
    """
    w = GraphBuilder()
    foreground, confident, found, size = _find_ink(w, "picture", side=WORKING_SIDE)
    digit = thicken(w, isolate_digit(w, foreground, confident, size))
    center(w, digit, found, name="image28")
    w.op("Where", found, mean(w, digit), w.constant(0), name="ink_fraction")
    return _model(w, "picture", [_picture()], [_floats("image28", [28, 28]), _floats("ink_fraction", [])])


def foreground_graph() -> onnx.ModelProto:
    """The first half, for pictures with many digits: where is ink?

    Returns:
        A model with inputs ``picture`` (as for `picture_graph`) and ``side`` (float32 scalar: how many cells the
        longest side is reduced or enlarged to) and outputs ``foreground`` (float32 ``[rows, columns]`` in [0, 1], ink
        bright, all 0 when nothing is drawn) and ``confident_foreground`` (the same without what may be noise).
    """
    w = GraphBuilder()
    foreground, confident, found, _ = _find_ink(w, "picture", side="side")
    w.op("Where", found, foreground, w.constant(0), name="foreground")
    w.op("Where", found, confident, w.constant(0), name="confident_foreground")
    outputs = [_floats(name, ["rows", "columns"]) for name in ("foreground", "confident_foreground")]
    return _model(w, "foreground", [_picture(), _floats("side", [])], outputs)


def center_digit_graph() -> onnx.ModelProto:
    """The second half, for one digit out of many: how would MNIST have shown this ink?

    Returns:
        A model with input ``foreground`` (float32 ``[rows, columns]`` in [0, 1], one digit alone with some room around
        it) and output ``image28`` (float32 ``[28, 28]``).
    """
    w = GraphBuilder()
    center(w, thicken(w, "foreground"), w.constant(True, "bool"), name="image28")
    return _model(w, "center_digit", [_floats("foreground", ["rows", "columns"])], [_floats("image28", [28, 28])])


GRAPHS = {
    "picture.onnx": picture_graph,
    "foreground.onnx": foreground_graph,
    "center_digit.onnx": center_digit_graph,
}


def _find_ink(w: GraphBuilder, picture: Value, *, side: Value | int) -> tuple[Value, Value, Value, Size]:
    """From the picture to all of its ink: what `foreground_of` gives, and the working size."""
    planes, size = reduce(w, picture, side)
    bright = ink_bright(w, flatten(w, planes), size)
    lifted = without_background(w, bright, size)
    lifted = without_lines(w, lifted, size)
    return *foreground_of(w, lifted, size), size


def _picture() -> Any:
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info("picture", TensorProto.UINT8, ["height", "width", "channels"])


def _floats(name: str, shape: list[Any]) -> Any:
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _model(w: GraphBuilder, name: str, inputs: list[Any], outputs: list[Any]) -> onnx.ModelProto:
    from onnx import helper

    return helper.make_model(
        helper.make_graph(w.nodes, name, inputs, outputs, w.initializers),
        producer_name=PRODUCER,
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )


def main() -> int:
    """Write or check."""
    parser = committed.parser(__doc__)
    parser.add_argument("--assets", type=Path, default=ASSETS, help="folder of the files (default: the package's)")
    options = parser.parse_args()
    contents = {options.assets / name: build().SerializeToString(deterministic=True) for name, build in GRAPHS.items()}
    return committed.write_or_check(contents, check=options.check, tool="tools/picture_graphs.py")


if __name__ == "__main__":
    sys.exit(main())
