"""``config.json`` and ``preprocessor_config.json`` of a hub folder.

Read by transformers.js: ``model_type`` "custom" is its name for a file that is run by the names of its inputs, and
``dtype`` says which of the files is taken by default (https://huggingface.co/docs/transformers.js). No architecture is
named: the file has none of the library's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnistkit.publish.image_input import ImageInput
    from mnistkit.publish.model_facts import ModelFacts

_BILINEAR = 2  # Pillow's number, which the hub's libraries use


def config(facts: ModelFacts) -> dict[str, Any]:
    """What ``config.json`` holds."""
    labels = list(facts.labels or ())
    names = {
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
    }
    return {"model_type": "custom", **(names if labels else {}), "transformers.js_config": {"dtype": "fp32"}}


def preprocessor_config(image: ImageInput) -> dict[str, Any]:
    """What ``preprocessor_config.json`` holds: from a picture to ``pixel_values`` ``[n, channels, height, width]``.

    With one channel the picture has to be gray already: the libraries know no such step.
    """
    mean = {"image_mean": [-image.offset + 0.0] * image.channels, "image_std": [1.0] * image.channels}
    return {
        "image_processor_type": "ImageProcessor",
        "do_convert_rgb": image.channels > 1,
        "do_resize": True,
        "size": {"height": image.height, "width": image.width},
        "resample": _BILINEAR,
        "do_rescale": True,
        "rescale_factor": image.scale,
        "do_normalize": image.offset != 0,
        **(mean if image.offset else {}),
    }
