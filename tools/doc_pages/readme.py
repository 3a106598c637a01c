"""README.md: the speed of `fit`, the committed trainings, and the model inside the package."""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING, Any

from doc_pages.markers import fill

if TYPE_CHECKING:
    from pathlib import Path


def render(text: str, root: Path) -> str:
    """The page with its generated parts made anew."""
    exports = root / "exports"
    parts = {
        "speed": speed_table(root / "benchmarks" / "results" / "train.json"),
        "results": results_table(exports),
        "package model": package_model(exports),
    }
    for name, part in parts.items():
        text = fill(text, name, f"{part}\n")
    return text


def speed_table(results: Path) -> str:
    """How many times faster than plain `fit` an epoch of the tutorial is: `mnistkit.fit`, and a loop by hand."""
    rows = [row for row in _read(results)["rows"] if row["model"] == "mlp"]
    lines = ["| backend | `model.fit` | `mnistkit.fit` | a loop written by hand |", "|---|---|---|---|"]
    for backend in ("jax", "tensorflow", "torch"):
        plain = _epoch(rows, backend, "plain fit")
        ratios = [plain / _epoch(rows, backend, way) for way in ("mnistkit.fit", "hand-written")]
        lines.append(f"| {backend} | {plain:.2f} s | {ratios[0]:.1f} times faster | {ratios[1]:.1f} times faster |")
    return "\n".join(lines)


def _epoch(rows: list[dict[str, Any]], backend: str, way: str) -> float:
    return statistics.median(float(row["steady"]) for row in rows if row["backend"] == backend and row["way"] == way)


def results_table(exports: Path) -> str:
    """One row for each backend's committed training: what it reached and how closely the export follows."""
    lines = [
        "| trained on | test accuracy, Keras | test accuracy, onnxruntime | largest difference, 10,000 images | file |",
        "|---|---|---|---|---|",
    ]
    for found in _export_reports(exports):
        trained = found.get("training")
        if not trained or trained["model"] != "mlp":
            continue
        here = trained["backend"]
        accuracy, verified = found["accuracy"], found.get("verification") or found["proof"]  # the earlier name
        lines.append(
            f"| {here['name']} {here['version']} | {accuracy['keras']:.4f} | {accuracy['onnxruntime']:.4f} "
            f"| {verified['largest']:.1e} | [`{found['file']}`](exports/{found['file']}) |"
        )
    return "\n".join(lines)


def package_model(exports: Path) -> str:
    """A paragraph on the model inside the package."""
    trained = _read(exports / "mnist-cnn.train.json")
    exported = next(found for found in _export_reports(exports) if found["file"] == "mnist-cnn.onnx")
    backend, minutes = trained["backend"], trained["seconds"]["training"] / 60
    size = (exports / exported["file"]).stat().st_size / 1000
    command = f"KERAS_BACKEND={backend['name']} python -m mnistkit.train --model {trained['model']}"
    told = f"It was trained by\n`{command}`"
    if "start" in trained:  # what the tool finds under that name is the model that came of it
        epochs = trained["settings"]["epochs"]
        told = f"It went on from the one before by\n`{command} --start exports/mnist-cnn.keras --epochs {epochs}`"
    return (
        "If `exports/mnist.onnx` does not exist, the bundled model is used: a convolutional net "
        f"({size:.0f} kB), trained on\nimages varied the way people draw, right on "
        f"{100 * exported['accuracy']['onnxruntime']:.2f} % of MNIST's test images. {told}\n"
        f"in {minutes:.0f} minutes on a {backend['device'].upper()}."
    )


def _export_reports(exports: Path) -> list[dict[str, Any]]:
    """The JSON of each exported file, by the file's name; other JSON does not name a file."""
    found = [_read(path) for path in exports.glob("*.json")]
    return sorted((one for one in found if "file" in one), key=lambda one: str(one["file"]))


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
