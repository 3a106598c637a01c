"""How to run the files: a section of the model card."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnistkit.publish import hub_code
from mnistkit.publish.markdown import code

if TYPE_CHECKING:
    from mnistkit.publish.image_input import ImageInput
    from mnistkit.publish.model_facts import ModelFacts
    from mnistkit.publish.variants import Variant

_TRANSFORMERS = """\
The library says that it does not know the class "custom", and runs the file by its inputs' names. The file has none
of the library's architectures, so `pipeline()` does not take it."""
_NODE = "Node.js 20 or newer, `npm install onnxruntime-node{more}`; browsers take the same calls of `onnxruntime-web`:"


def usage(facts: ModelFacts, picture: Variant | None) -> list[str]:
    """Examples that run in the folder."""
    parts = ["## Use", "The examples run in this folder (`hf download USER/NAME --local-dir .`)."]
    output = facts.outputs[0].name
    image = facts.image if facts.labels and len(facts.outputs[0].shape) == 2 else None  # noqa: PLR2004  # [batch, classes]
    if picture is not None:
        parts += ["### A picture in Python", "`pip install onnxruntime numpy pillow`:"]
        parts += [code("python", hub_code.PYTHON_PICTURE)]
        parts += ["### A picture in JavaScript", _NODE.format(more=" sharp"), code("js", hub_code.NODE_PICTURE)]
        parts += [
            "With transformers.js, `npm install @huggingface/transformers`:",
            code("js", hub_code.TRANSFORMERS_PICTURE),
        ]
        parts += [_TRANSFORMERS]
    if image is not None:
        title = "An image like the training's in Python" if picture is not None else "An image in Python"
        parts += [f"### {title}", _image_words(image), code("python", hub_code.python_image(image, output))]
        if image.dtype == "float32" and picture is None:
            parts += ["### An image in JavaScript", "With transformers.js, `npm install @huggingface/transformers`:"]
            parts += [code("js", hub_code.transformers_image(image, output)), _TRANSFORMERS]
    if picture is None and image is None:
        zeros = "The inputs here are zeros; yours come in their place."
        parts += [
            "### Python",
            f"`pip install onnxruntime numpy`. {zeros}",
            code("python", hub_code.python_arrays(facts)),
        ]
        parts += ["### JavaScript", _NODE.format(more=""), code("js", hub_code.node_arrays(facts))]
        parts += ["With transformers.js, `npm install @huggingface/transformers`:"]
        parts += [code("js", hub_code.transformers_arrays(facts)), _TRANSFORMERS]
    return parts


def _image_words(image: ImageInput) -> str:
    words = [f"The model takes {image.height}x{image.width} pixels" + (", gray." if image.channels == 1 else ", RGB.")]
    if image.ink == "bright":
        words.append(
            "Ink is bright on a dark background, in the middle of the image, as in MNIST. Invert a scan of dark ink."
        )
    words.append("How to resize is not said in the file; the example resizes bilinearly.")
    return " ".join(words)
