"""How a file was trained and verified: sections of the model card, from the JSON beside the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnistkit.publish.markdown import table, text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mnistkit.publish.model_facts import ModelFacts

_MNIST = (
    "MNIST: the 70,000 images of Yann LeCun, Corinna Cortes and Christopher J. C. Burges, of which 60,000 are for "
    "training ([CC BY-SA 3.0](https://creativecommons.org/licenses/by-sa/3.0/))"
)


def training(facts: ModelFacts) -> list[str]:
    """Data and settings; nothing where they are not known."""
    return ["## Training", _training_table(facts)] if facts.training else []


def _training_table(facts: ModelFacts) -> str:
    told = facts.training
    data = _MNIST if facts.is_mnist else text(facts.data_name or "unknown")
    rows = [("data", data)]
    if "backend" in told:
        backend = told["backend"]
        rows.append(("trained with", f"Keras {backend['keras_version']} on {backend['name']} {backend['version']}"))
    settings = {key: value for key, value in (told.get("settings") or {}).items() if value is not None}
    rows += [(text(key).replace("_", " "), text(value)) for key, value in settings.items()]
    if "test" in told:
        rows.append(("test loss", f"{float(told['test']['loss']):.4f}"))
    return table(("", ""), rows)


def verification(facts: ModelFacts) -> list[str]:
    """The check of the export, and the golden pairs."""
    count = f"{len(facts.golden)} golden pair{'s' if len(facts.golden) > 1 else ''}"
    again = (
        f"`onnx/model.onnx` carries {count}: inputs with the answers that were verified. `mnistkit verify "
        "onnx/model.onnx`, of the Python package mnistkit, runs them again without Keras."
    )
    return [
        "## Verification",
        *(_verified(facts.provenance) if facts.provenance else ()),
        again,
    ]


def _verified(provenance: dict[str, Any]) -> Iterable[str]:
    told = provenance["exported_under"]
    yield (
        "Before the file was written, onnxruntime's answers were compared with those of Keras "
        f"{told['keras_version']} on {told['name']} {told['version']}:"
    )
    samples: dict[str, list[dict[str, Any]]] = {}
    for row in provenance["verification"]["rows"]:
        samples.setdefault(row["sample"], []).append(row)
    rows = [
        (
            text(sample),
            ", ".join(str(size) for size in dict.fromkeys(row["batch_size"] for row in found)),
            f"{max(row['largest'] for row in found):.1e}",
            f"{min(row['allowed'] for row in found):.1e}",
        )
        for sample, found in samples.items()
    ]
    yield table(("inputs", "batch sizes", "largest difference", "allowed"), rows)
    for note in provenance["verification"].get("differs") or ():
        yield f"- {text(note)}"
