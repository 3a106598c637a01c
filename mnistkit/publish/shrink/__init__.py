"""A smaller file of the same model, checked and timed here: ``mnistkit export --shrink``, or `mnistkit.shrink`.

    pipeline    what is done, in order; `shrink` is here
    source      the float32 file
    samples     what candidates are calibrated and checked on: given, of digits, or drawn
    runs        the same as runs of the model
    methods     float16, two ways of 8-bit, 4-bit: by onnxruntime's own tools
    candidates  one method tried: what it loses and gains
    loss, timing
    write       metadata, golden pairs, provenance
    result      what was found, and the table

It begins with any ``.onnx`` file and needs no Keras, so it stands here and not in `mnistkit.export`, which knows
neither digits nor how to measure.
"""

from mnistkit.publish.shrink.candidates import Candidate
from mnistkit.publish.shrink.pipeline import KINDS, shrink
from mnistkit.publish.shrink.result import Shrunk

__all__ = ["KINDS", "Candidate", "Shrunk", "shrink"]
