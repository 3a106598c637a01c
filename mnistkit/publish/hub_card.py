"""The model card: what a file is, how to run it, how it was made and verified. What is not known is not said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnistkit.core.runtime import load_onnxruntime
from mnistkit.publish.card_origin import training, verification
from mnistkit.publish.card_usage import usage
from mnistkit.publish.front_matter import front_matter
from mnistkit.publish.markdown import bytes_in_words, table, text
from mnistkit.publish.variants import PICTURE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mnistkit.core.tensors import TensorInfo
    from mnistkit.publish.model_facts import ModelFacts
    from mnistkit.publish.speed import Latency
    from mnistkit.publish.variants import Variant

_SHOWN_LABELS = 20


def card(
    facts: ModelFacts, *, variants: Sequence[Variant], picture: Variant | None, latency: Latency, license_id: str | None
) -> str:
    """``README.md`` as text; what other programs may have damaged in the JSON raises as Python has it."""
    parts = [
        front_matter(facts, license_id=license_id),
        f"# {text(facts.name)}",
        _summary(facts, picture),
        "<!-- Say here what the model is for, and what it is not for. -->",
        *_overview(facts, latency),
        *_files(facts, variants, picture),
        *usage(facts, picture),
        *training(facts),
        *verification(facts),
        *_limits(facts, variants, picture),
    ]
    return "\n\n".join(parts) + "\n"


def _summary(facts: ModelFacts, picture: Variant | None) -> str:
    made = "A Keras model, exported to ONNX. It needs onnxruntime and nothing else."
    if picture is not None:
        return f"Reads a handwritten digit, from 28x28 pixels or from a picture of any size. {made}"
    if facts.labels:
        what = "images" if facts.image is not None else "its inputs"
        return f"Classifies {what} into {len(facts.labels)} classes. {made}"
    return made


def _overview(facts: ModelFacts, latency: Latency) -> list[str]:
    rows = [("Input" if len(facts.inputs) == 1 else "Inputs", "<br>".join(map(_tensor, facts.inputs)))]
    rows.append(("Output" if len(facts.outputs) == 1 else "Outputs", "<br>".join(map(_tensor, facts.outputs))))
    if facts.states:
        pairs = "; ".join(f"`{text(after)}` to `{text(before)}`" for before, after in facts.states)
        rows.append(("State", f"give the outputs back as inputs of the next call: {pairs}; zeros at first"))
    if facts.labels:
        more = f", ... ({len(facts.labels)} in `config.json`)" if len(facts.labels) > _SHOWN_LABELS else ""
        rows.append(("Classes", ", ".join(map(text, facts.labels[:_SHOWN_LABELS])) + more))
    if "preprocessing" in facts.metadata:
        rows.append(("Preprocessing", text(facts.metadata["preprocessing"])))
    if facts.accuracy is not None:
        rows.append(("Accuracy", f"{facts.accuracy} on {_test_set(facts)}"))
    opsets = ", ".join(f"{'' if key == 'ai.onnx' else key + ' '}{value}" for key, value in facts.header.opsets.items())
    measured = (
        f"{latency.p50:.3g} ms for {_golden_shapes(facts)}: median of {latency.runs} runs on the CPU, "
        f"1 thread, onnxruntime {load_onnxruntime().__version__}"
    )
    rows += [
        ("Parameters", f"{facts.header.parameters:,}"),
        ("Size", _size(facts)),
        ("ONNX", f"opset {opsets}, IR version {facts.header.ir_version}"),
        ("Latency", measured),
    ]
    return [table(("", ""), rows)]


def _files(facts: ModelFacts, variants: Sequence[Variant], picture: Variant | None) -> list[str]:
    rows = [("`onnx/model.onnx`", "the model, with its golden pairs", _size(facts))]
    if facts.external is not None:
        rows.append((f"`onnx/{text(facts.external.name)}`", "its weights; keep it beside the model", ""))
    rows += [(f"`onnx/{one.file}`", _variant(one), bytes_in_words(one.size)) for one in variants]
    if picture is not None:
        rows.append((f"`onnx/{PICTURE}`", picture.words, bytes_in_words(picture.size)))
    rows.append(
        (
            "`config.json`",
            "names of the classes, and what transformers.js needs" if facts.labels else "what transformers.js needs",
            "",
        )
    )
    if facts.image is not None:
        rows.append(("`preprocessor_config.json`", "from a picture to the numbers that the model takes", ""))
    rows.append(("`mnistkit-folder.json`", "SHA-256 of each file", ""))
    return ["## Files", table(("file", "", "size"), rows)]


def _variant(one: Variant) -> str:
    accuracy = "" if one.accuracy is None else f", accuracy {one.accuracy:.4f}"
    return (
        f"the same model with {one.words}{accuracy}; answers differ by up to {one.difference:.2g} on the golden inputs"
    )


def _limits(facts: ModelFacts, variants: Sequence[Variant], picture: Variant | None) -> list[str]:
    lines = []
    if picture is not None:
        lines.append(
            "The classifier always names one of its classes, also for what is no digit. The file for pictures says "
            "`ink_fraction` 0 where nothing is drawn; its digit then means nothing."
        )
    elif facts.labels:
        lines.append("The model always names one of its classes, also for inputs that belong to none.")
    others = [one.file for one in (*variants, *([picture] if picture else ())) if one.accuracy is None]
    if facts.accuracy is not None and others:
        names = ", ".join(f"`onnx/{name}`" for name in others)
        lines.append(f"The accuracy is that of `onnx/model.onnx`; not measured on the test set: {names}.")
    return ["## Limits", "\n".join(f"- {line}" for line in lines)] if lines else []


def _test_set(facts: ModelFacts) -> str:
    rows = _tested_rows(facts)
    count = f"{rows:,} " if rows else "the "
    if facts.is_tested_on_its_data:
        return f"{count}test images of {'MNIST' if facts.is_mnist else text(facts.data_name)}"
    return f"{count}inputs with known answers that were given at the export"


def _tested_rows(facts: ModelFacts) -> int | None:
    """How many inputs the accuracy was measured on, where the export ran them all at once."""
    if not facts.provenance:
        return None
    rows = facts.provenance["verification"]["rows"]
    size = max((row["batch_size"] for row in rows if row["sample"] == rows[0]["sample"]), default=None)
    return size if any(row["rows"] == row["batch_size"] == size for row in rows) else None


def _golden_shapes(facts: ModelFacts) -> str:
    """What the latency is measured on."""
    inputs = facts.golden[0].inputs
    return ", ".join(f"`{text(tensor.name)}` {list(inputs[tensor.name].shape)}" for tensor in facts.inputs)


def _tensor(tensor: TensorInfo) -> str:
    sizes = ", ".join("?" if size is None else str(size) for size in tensor.shape)
    dtype = tensor.dtype.removeprefix("tensor(").removesuffix(")")  # string, which NumPy has no name for
    return f"`{text(tensor.name)}` {dtype} [{text(sizes)}]"


def _size(facts: ModelFacts) -> str:
    return bytes_in_words(facts.size)
