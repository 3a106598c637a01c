"""How to run the files: a section of the model card."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnistkit.publish import hub_code
from mnistkit.publish.markdown import code

if TYPE_CHECKING:
    from mnistkit.publish.image_input import ImageInput
    from mnistkit.publish.model_facts import ModelFacts
    from mnistkit.publish.variants import Variant

_TRANSFORMERS = "With transformers.js, `npm install @huggingface/transformers`:"
_CUSTOM = """\
The library says that it does not know the class "custom", and runs the file by its inputs' names. The file has none
of the library's architectures, so `pipeline()` does not take it."""
_NODE = "Node.js 20 or newer, `npm install onnxruntime-node{more}`; browsers take the same calls of `onnxruntime-web`:"
_ZEROS = "The inputs here are zeros; yours come in their place."
_PILLOW = "`pip install onnxruntime numpy pillow`."


def usage(facts: ModelFacts, picture: Variant | None) -> list[str]:
    """Examples that run in the folder: for pictures of any size, for images, or for arrays."""
    parts = ["## Use", "The examples run in this folder (`hf download USER/NAME --local-dir .`)."]
    image = facts.image if facts.classifies_images else None
    if picture is not None:
        parts += _picture()
    if image is not None:
        parts += _image(image, facts, is_second=picture is not None)
    if picture is None and image is None:
        parts += [
            "### Python",
            f"`pip install onnxruntime numpy`. {_ZEROS}",
            code("python", hub_code.python_arrays(facts)),
        ]
    if picture is None and (image is None or image.dtype != "float32"):
        parts += ["### JavaScript", f"{_ZEROS} {_NODE.format(more='')}", code("js", hub_code.node_arrays(facts))]
        parts += [_TRANSFORMERS, code("js", hub_code.transformers_arrays(facts)), _CUSTOM]
    return parts


def _picture() -> list[str]:
    return [
        "### A picture in Python",
        _PILLOW,
        code("python", hub_code.PYTHON_PICTURE),
        "### A picture in JavaScript",
        _NODE.format(more=" sharp"),
        code("js", hub_code.NODE_PICTURE),
        _TRANSFORMERS,
        code("js", hub_code.TRANSFORMERS_PICTURE),
        _CUSTOM,
    ]


def _image(image: ImageInput, facts: ModelFacts, *, is_second: bool) -> list[str]:
    output = facts.outputs[0].name
    title = f"### An image of {image.height}x{image.width} in Python" if is_second else "### A picture in Python"
    parts = [title, f"{_PILLOW} {_image_words(image)}", code("python", hub_code.python_image(image, output))]
    if image.dtype == "float32" and not is_second:
        parts += ["### A picture in JavaScript", _TRANSFORMERS]
        parts += [code("js", hub_code.transformers_image(image, output)), _CUSTOM]
    return parts


def _image_words(image: ImageInput) -> str:
    words = [f"The model takes {image.height}x{image.width} pixels" + (", gray." if image.channels == 1 else ", RGB.")]
    if image.ink == "bright":
        words.append(
            "Ink is bright on a dark background, in the middle of the image, as in MNIST. Invert a scan of dark ink."
        )
    words.append("How to resize is not said in the file; the example resizes bilinearly.")
    return " ".join(words)
