"""The examples of a model card: Python, Node.js and transformers.js. Each runs in the folder as it stands."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mnistkit.publish.image_input import ImageInput
    from mnistkit.publish.model_facts import ModelFacts

_ARRAYS = {
    "float32": "Float32Array",
    "float64": "Float64Array",
    "float16": "Uint16Array",
    "int8": "Int8Array",
    "int16": "Int16Array",
    "int32": "Int32Array",
    "int64": "BigInt64Array",
    "uint8": "Uint8Array",
    "uint16": "Uint16Array",
    "uint32": "Uint32Array",
    "uint64": "BigUint64Array",
    "bool": "Uint8Array",
}
_PERMUTED = {"flat": ".view(1, {size})", "hw": ".squeeze(1)", "hwc": ".permute(0, 2, 3, 1)", "chw": ""}

PYTHON_PICTURE = """\
import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession("onnx/model_picture.onnx")
picture = np.asarray(ImageOps.exif_transpose(Image.open("picture.png")).convert("RGBA"))
outputs = ["digit", "probabilities", "ink_fraction"]
digit, probabilities, ink = session.run(outputs, {"picture": picture})
print(int(digit) if ink > 0 else "nothing drawn", float(probabilities.max()))"""

NODE_PICTURE = """\
import * as ort from "onnxruntime-node";
import sharp from "sharp";

const session = await ort.InferenceSession.create("onnx/model_picture.onnx");
const upright = sharp("picture.png").rotate().raw({ depth: "uchar" });
const { data, info } = await upright.toBuffer({ resolveWithObject: true });
const shape = [info.height, info.width, info.channels];
const picture = new ort.Tensor("uint8", new Uint8Array(data), shape);
const { digit, probabilities, ink_fraction } = await session.run({ picture });
const answer = ink_fraction.data[0] > 0 ? Number(digit.data[0]) : "nothing drawn";
console.log(answer, Math.max(...probabilities.data));"""

TRANSFORMERS_PICTURE = """\
import { AutoModel, RawImage, Tensor } from "@huggingface/transformers";

const options = { model_file_name: "model_picture" };
const model = await AutoModel.from_pretrained("USER/NAME", options);
const { data, width, height, channels } = await RawImage.read("picture.png");
const picture = new Tensor("uint8", new Uint8Array(data), [height, width, channels]);
const { digit, probabilities, ink_fraction } = await model({ picture });
const answer = ink_fraction.data[0] > 0 ? Number(digit.data[0]) : "nothing drawn";
console.log(answer, Math.max(...probabilities.data));"""


def python_image(image: ImageInput, output: str) -> str:
    """From a picture file to the name of a class."""
    mode = "L" if image.channels == 1 else "RGB"
    axes = ".transpose(2, 0, 1)" if image.layout == "chw" and image.channels > 1 else ""
    offset = f" {'-' if image.offset < 0 else '+'} {abs(image.offset)!r}" if image.offset else ""
    return f"""\
import json

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession("onnx/model.onnx")
with Image.open("picture.png") as file:
    picture = ImageOps.exif_transpose(file)
    small = picture.convert("{mode}").resize(({image.width}, {image.height}), Image.Resampling.BILINEAR)
levels = np.asarray(small, np.float32)
batch = (levels{axes} * {image.scale!r}{offset}).astype(np.{image.dtype}).reshape(1, {", ".join(map(str, image.shape))})
scores = session.run(["{output}"], {{"{image.name}": batch}})[0][0]
names = json.load(open("config.json"))["id2label"]
print(names[str(scores.argmax())], float(scores.max()))"""


def transformers_image(image: ImageInput, output: str) -> str:
    """The same with transformers.js."""
    gray = ".grayscale()" if image.channels == 1 else ""
    axes = _PERMUTED[image.layout].format(size=math.prod(image.shape))
    return f"""\
import {{ AutoImageProcessor, AutoModel, RawImage }} from "@huggingface/transformers";

const processor = await AutoImageProcessor.from_pretrained("USER/NAME");
const model = await AutoModel.from_pretrained("USER/NAME");
const picture = await RawImage.read("picture.png");
const {{ pixel_values }} = await processor(picture{gray});
const answers = await model({{ {_key(image.name)}: pixel_values{axes} }});
const scores = Array.from(answers[{json.dumps(output)}].data);
const best = scores.indexOf(Math.max(...scores));
console.log(model.config.id2label[best], scores[best]);"""


def python_arrays(facts: ModelFacts) -> str:
    """Zeros of the right types and shapes in, all outputs out."""
    feeds = "\n".join(f"    {json.dumps(name, ensure_ascii=False)}: {_numpy(array)}," for name, array in _inputs(facts))
    return f"""\
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("onnx/model.onnx")
inputs = {{
{feeds}
}}
for output, answer in zip(session.get_outputs(), session.run(None, inputs)):
    print(output.name, answer)"""


def node_arrays(facts: ModelFacts) -> str:
    """The same with onnxruntime-node."""
    return f"""\
import * as ort from "onnxruntime-node";

const session = await ort.InferenceSession.create("onnx/model.onnx");
const outputs = await session.run({{
{_tensors(facts, "ort.Tensor")}
}});
for (const [name, {{ dims, data }}] of Object.entries(outputs)) {{
  console.log(name, dims, data);
}}"""


def transformers_arrays(facts: ModelFacts) -> str:
    """The same with transformers.js."""
    return f"""\
import {{ AutoModel, Tensor }} from "@huggingface/transformers";

const model = await AutoModel.from_pretrained("USER/NAME");
const outputs = await model({{
{_tensors(facts, "Tensor")}
}});
for (const [name, {{ dims, data }}] of Object.entries(outputs)) {{
  console.log(name, dims, data);
}}"""


def _tensors(facts: ModelFacts, constructor: str) -> str:
    return "\n".join(
        f"  {_key(name)}: new {constructor}({_tensor(array)}, {list(array.shape)})," for name, array in _inputs(facts)
    )


def _inputs(facts: ModelFacts) -> list[tuple[str, NDArray[Any]]]:
    """The inputs of the first golden pair, in the file's order."""
    return [(tensor.name, facts.golden[0].inputs[tensor.name]) for tensor in facts.inputs]


def _numpy(array: NDArray[Any]) -> str:
    if array.dtype.kind in "OSU":
        return f"np.full({array.shape}, {json.dumps(_word(array), ensure_ascii=False)}, dtype=object)"
    kind = "bool" if array.dtype.kind == "b" else f"np.{array.dtype.name}"
    return f"np.zeros({array.shape}, {kind})"


def _tensor(array: NDArray[Any]) -> str:
    if array.dtype.kind in "OSU":
        return f'"string", Array({array.size}).fill({json.dumps(_word(array), ensure_ascii=False)})'
    return f'"{array.dtype.name}", new {_ARRAYS[array.dtype.name]}({array.size})'


def _word(array: NDArray[Any]) -> str:
    first = array.ravel()[0] if array.size else ""
    return first.decode() if isinstance(first, bytes) else str(first)


def _key(name: str) -> str:
    """A name as a key of a JavaScript object."""
    return name if name.isidentifier() and name.isascii() else json.dumps(name, ensure_ascii=False)
