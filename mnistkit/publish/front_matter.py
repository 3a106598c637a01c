"""The YAML at the top of a model card, as the hub reads it.

Its keys: https://github.com/huggingface/hub-docs/blob/main/modelcard.md?plain=1
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from mnistkit.core.errors import ModelFileError

if TYPE_CHECKING:
    from mnistkit.publish.model_facts import ModelFacts

TASK = "image-classification"
_MNIST = "ylecun/mnist"  # https://huggingface.co/datasets/ylecun/mnist
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9._/ -]*[A-Za-z0-9]")
_YAML_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "nan", "inf"}
_FILL_IN = "# license: fill in, for example mit or apache-2.0; https://huggingface.co/docs/hub/repositories-licenses"


def front_matter(facts: ModelFacts, *, license_id: str | None) -> str:
    """The block with its lines of dashes.

    Args:
        facts: What is known of the file.
        license_id: The hub's identifier of the license; a comment asks for one where it is ``None``.
    """
    task = pipeline_tag(facts)
    lines = ["---", f"license: {_scalar(license_id)}" if license_id else _FILL_IN, "library_name: onnx"]
    if task:
        lines.append(f"pipeline_tag: {task}")
    lines += ["tags:", "- onnx", "- onnxruntime", "- keras"]
    if facts.is_mnist:
        lines += ["datasets:", f"- {_MNIST}"]
    if facts.accuracy is not None:
        lines += ["metrics:", "- accuracy", *_model_index(facts, facts.accuracy, task)]
    return "\n".join([*lines, "---"])


def pipeline_tag(facts: ModelFacts) -> str | None:
    """The hub's name of the task, ``None`` where the file does not say that it classifies pictures."""
    return TASK if facts.classifies_images else None


def read_accuracy(card: str) -> str | None:
    """The accuracy in the front matter of a card, as text; ``None`` where it has none.

    Raises:
        ModelFileError: The card has no front matter.
    """
    block = re.match(r"---\n(.*?\n)---\n", card, re.DOTALL)
    if block is None:
        raise ModelFileError("README.md: no front matter between two lines of dashes; write the folder again")
    found = re.search(r"type: accuracy\n(?: +\w+: .*\n)*? +value: (.+)\n", block[1])
    return found[1].strip() if found else None


def _model_index(facts: ModelFacts, accuracy: str, task: str | None) -> list[str]:
    kind, name = ("other", "the test set of the export")
    if facts.is_tested_on_its_data:
        kind, name = (_MNIST, "MNIST") if facts.is_mnist else ("other", str(facts.data_name))
    return [
        "model-index:",
        f"- name: {_scalar(facts.name)}",
        "  results:",
        "  - task:",
        f"      type: {task or 'other'}",
        "    dataset:",
        f"      type: {kind}",
        f"      name: {_scalar(name)}",
        "      split: test",
        "    metrics:",
        "    - type: accuracy",
        f"      value: {accuracy}",
    ]


def _scalar(text: Any) -> str:
    """Text as a YAML scalar; in quotes, as JSON writes it, where it could be taken for something else."""
    word = str(text)
    if _PLAIN.fullmatch(word) and word.lower() not in _YAML_WORDS:
        return word
    return json.dumps(word, ensure_ascii=not word.isprintable())
