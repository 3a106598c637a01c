"""One method tried: what its file loses and what it gains."""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from mnistkit.core.errors import InputError, MissingExtraError, MnistkitError, ParityError, one_line
from mnistkit.core.onnx_header import read_header
from mnistkit.core.runtime import Runtime
from mnistkit.publish.shrink.loss import Answers, answer, change
from mnistkit.publish.shrink.timing import time_ratios

if TYPE_CHECKING:
    from mnistkit.publish.shrink.methods import Method
    from mnistkit.publish.shrink.runs import Samples
    from mnistkit.publish.shrink.source import Source

_GAIN = 0.95  # of size or time, from which a file is smaller or faster
_MOST = 0.5  # of the weights, more than which are of a file's type


@dataclass(frozen=True, slots=True)
class Candidate:
    """A smaller file that was tried.

    Attributes:
        name: The method: ``"fp16"``, ``"int8-static"``, ``"int8-dynamic"`` or ``"int4"``.
        kind: ``"fp16"``, ``"int8"`` or ``"int4"``.
        size: Bytes; ``None`` where no file could be made.
        size_ratio: The same, relative to float32.
        weights: Numbers in the file by element type.
        accuracy: On the samples, in [0, 1]; ``None`` without targets.
        change: Largest change of an answer, as a share of the range of the answers.
        loss: What `--max-loss` is held against, in percent: of accuracy, without targets of the range of the answers.
        times: Relative to float32, by batch size; ``None`` is the model's own fixed size. Empty where it was not
            measured, because the file is refused already.
        refused: Why it is not kept; empty where it is.
        by_loss: Whether it is refused because it loses too much.
    """

    name: str
    kind: str
    size: int | None = None
    size_ratio: float | None = None
    weights: dict[str, int] | None = None
    accuracy: float | None = None
    change: float | None = None
    loss: float | None = None
    times: dict[int | None, float] | None = None
    refused: str = ""
    by_loss: bool = False

    @property
    def time_ratio(self) -> float:
        """Geometric mean of `times`."""
        times = list((self.times or {}).values())
        return math.prod(times) ** (1 / len(times)) if times else math.inf

    @property
    def cost(self) -> float:
        """Size times time, relative to float32."""
        return (self.size_ratio or math.inf) * self.time_ratio

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self) | {"times": {str(size): ratio for size, ratio in (self.times or {}).items()}}


def try_method(
    method: Method, source: Source, samples: Samples, *, expected: Answers, max_loss: float
) -> tuple[Candidate, Any]:
    """Make the file in memory, hold its answers against the float32 file's, and time both.

    Args:
        method: How it is made.
        source: The float32 file.
        samples: What it is calibrated and checked on.
        expected: The float32 file's answers.
        max_loss: As `Candidate.loss`.

    Returns:
        What was found, and the model; ``None`` in its place where it could not be made.

    Raises:
        MissingExtraError: A package is not installed.
    """
    facts: dict[str, Any] = {"name": method.name, "kind": method.kind}
    try:
        proto = method.convert(source.proto, samples.calibration)
    except MissingExtraError:
        raise
    except InputError as error:
        return Candidate(**facts, refused=str(error)), None
    except Exception as error:  # noqa: BLE001  # the tools raise what they like on models that they do not know
        return Candidate(**facts, refused=f"onnxruntime's tool fails on it: {one_line(error, limit=120)}"), None
    keep_contract(source.proto, proto)
    content = proto.SerializeToString()
    weights = read_header(content).weights
    facts |= {"size": len(content), "size_ratio": len(content) / source.size, "weights": weights}
    share = sum(weights.get(kind, 0) for kind in method.types) / max(1, sum(weights.values()))
    if share <= _MOST:
        return Candidate(**facts, refused=f"only {share:.0%} of its weights would be {method.kind}"), None
    try:
        runtime = Runtime(content, device="cpu", exact=True)
        if (runtime.inputs, runtime.outputs) != (source.runtime.inputs, source.runtime.outputs):
            return Candidate(**facts, refused="its inputs or outputs would change"), None
        found = answer(runtime, samples)
        moved = change(expected, found)
    except ParityError as error:
        return Candidate(**facts, refused=str(error), by_loss=True), None
    except MnistkitError as error:
        return Candidate(**facts, refused=f"it does not run: {one_line(error, limit=120)}"), None
    loss, told = _loss(expected, found, moved)
    facts |= {"accuracy": found.accuracy, "change": moved, "loss": loss}
    if loss > max_loss + 1e-9:  # differences of shares are not exact
        return Candidate(**facts, refused=f"{told}, allowed {max_loss:g}", by_loss=True), None
    one = Candidate(**facts, times=time_ratios(source.runtime, runtime, samples.checks[0]))
    if len(content) > _GAIN * source.size and one.time_ratio > _GAIN:
        one = replace(one, refused="neither smaller nor faster; the model is too small to gain")
    return one, proto


def _loss(expected: Answers, found: Answers, moved: float) -> tuple[float, str]:
    """The loss in percent, and in words."""
    if expected.accuracy is None or found.accuracy is None:
        return 100 * moved, f"changes answers by {100 * moved:.3g} % of their range"
    loss = 100 * (expected.accuracy - found.accuracy)
    return loss, f"loses {loss:.2f} points of accuracy"


def keep_contract(before: Any, after: Any) -> None:
    """Give a model the declared inputs and outputs and the metadata of the one that it was made of.

    The tools lose names of free axes. Where an element type differs, nothing is done: the check of names and types
    that follows then refuses the model. Operator sets that no operation uses are left out.
    """
    for old, new in ((before.graph.input, after.graph.input), (before.graph.output, after.graph.output)):
        if [(v.name, v.type.tensor_type.elem_type) for v in old] == [
            (v.name, v.type.tensor_type.elem_type) for v in new
        ]:
            del new[:]
            new.extend(copy.deepcopy(list(old)))
    del after.graph.value_info[:]  # shapes in between, which the tools write down and every runtime infers
    del after.metadata_props[:]
    after.metadata_props.extend(before.metadata_props)
    after.producer_name, after.producer_version = before.producer_name, before.producer_version
    after.doc_string, after.graph.name = before.doc_string, before.graph.name
    used = _domains(after.graph) | {domain for one in after.functions for domain in _domains(one)} | {""}
    kept = [entry for entry in after.opset_import if (entry.domain if entry.domain != "ai.onnx" else "") in used]
    del after.opset_import[:]
    after.opset_import.extend(kept)


def _domains(graph: Any) -> set[str]:
    found = set()
    for node in graph.node:
        found.add("" if node.domain == "ai.onnx" else node.domain)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                found |= _domains(inner)
    return found
