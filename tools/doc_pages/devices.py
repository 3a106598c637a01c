"""docs/devices.md: the devices, and the figures that benchmarks/openvino.py and benchmarks/gpu.py kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from doc_pages.markers import fill

if TYPE_CHECKING:
    from pathlib import Path

NOT_RUN = (
    "Not run: `python benchmarks/gpu.py --write` measures training, export, parity and latencies on an NVIDIA GPU."
)
TESTED = {
    "cpu": "everywhere",
    "cuda": "the session options and the errors without a driver",
    "openvino": "run: `tox run -e openvino`",
    "webgpu": "the session options, the plugin and the error without a GPU",
    "qnn": "the session options, the plugin and the error without an NPU",
}
OPTIONS = "untested, but for the session options"


def render(text: str, root: Path) -> str:
    """The page with its tables made anew."""
    results = root / "benchmarks" / "results"
    gpu = results / "gpu.json"
    found = json.loads(gpu.read_text(encoding="utf-8")) if gpu.exists() else None
    text = fill(text, "devices", f"{devices(ran_on_gpu=found is not None)}\n")
    openvino = json.loads((results / "openvino.json").read_text(encoding="utf-8"))
    text = fill(text, "openvino", f"{openvino_table(openvino)}\n")
    return fill(text, "gpu", f"{NOT_RUN if found is None else gpu_tables(found)}\n")


def devices(*, ran_on_gpu: bool) -> str:
    """Every device: name, provider, how to get it, how it is tested."""
    from mnistkit.core.devices import DEVICES

    lines = ["| name | for | execution provider | package | tested |", "|---|---|---|---|---|"]
    for device in DEVICES.values():
        package = f"extra `{device.extra}`" if device.extra and not device.platform else f"`{device.package}`"
        package += {"darwin": " (macOS)", "win32": " (Windows)"}.get(device.platform, "")
        tested = TESTED.get(device.name, OPTIONS)
        if device.name == "cuda" and ran_on_gpu:
            tested = "run: `benchmarks/gpu.py`"
        lines.append(f"| `{device.name}` | {device.hardware} | {device.provider} | {package} | {tested} |")
    return "\n".join(lines)


def openvino_table(found: dict[str, Any]) -> str:
    """Each model on the CPU provider and on OpenVINO."""
    lines = [
        "| model | provider | loading | batch 1 | batch 32 | batch 1024 | largest difference |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        cells = [f"{row[key]:.3g}" for key in ("load", "1", "32", "1024")]
        apart = f"{row['apart']:.1e}" if "apart" in row else ""
        lines.append(f"| {row['model']} | {row['device']} | {' | '.join(cells)} | {apart} |")
    return (
        "\n".join(lines)
        + f"\n\nonnxruntime-openvino {found['onnxruntime-openvino']}, {found['processors']} processors."
    )


def gpu_tables(found: dict[str, Any]) -> str:
    """Every section of benchmarks/gpu.py as a table; a section that failed says why."""
    parts = []
    for name, section in found.items():
        parts.append(f"### {name[0].upper()}{name[1:]}")
        for group in _alike(section["rows"]):
            keys = list(group[0])
            lines = [f"| {' | '.join(keys)} |", "|---" * len(keys) + "|"]
            lines += [f"| {' | '.join(_cell(row.get(key, '')) for key in keys)} |" for row in group]
            parts.append("\n".join(lines))
        if "failed" in section:
            parts.append(f"Not run to the end: {section['failed'][:200]}")
    return "\n\n".join(parts)


def _alike(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Rows of the same columns, together."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row), []).append(row)
    return list(groups.values())


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list):
        return ", ".join(map(_cell, value)) or "none"
    return str(value)
