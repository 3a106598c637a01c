"""docs/devices.md: the devices, and the figures that benchmarks/openvino.py and benchmarks/gpu.py kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from doc_pages.markers import fill

if TYPE_CHECKING:
    from collections.abc import Iterable
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
_LATER = (
    "From step to step any two right computations go further apart; after 96 steps the cnns of `fit` and of either "
    "replay have other weights and about the same loss."
)
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
    """What benchmarks/gpu.py found: training, the check of the CUDA graphs, parity, latencies."""
    gpu, versions = found["machine"]["rows"][0], found["machine"]["rows"][1]
    used = ", ".join(f"{name} {version}" for name, version in versions.items() if name != "onnxruntime")
    card = f"{gpu['gpu'].partition(',')[0]}, {gpu['processors']} processors"
    parts = [f"One run of `python benchmarks/gpu.py` on an {card}: {used}."]
    training = [row for name, part in found.items() if name.startswith("train ") for row in part["rows"]]
    steps = {(row["backend"], row["model"]): row["ms a step"] for row in training if row.get("way") == "fit"}
    lines = [
        "| backend | model | way | first step, s | a step, ms | times faster than fit |",
        "|---|---|---|---|---|---|",
    ]
    for row in training:
        if "not run" in row:
            lines.append(f"| {row['backend']} | | not run: {row['not run']} | | | |")
            continue
        way = {"plain replay": "mnistkit.fit, without CUDA graphs", "graph": "mnistkit.fit"}.get(row["way"], row["way"])
        ratio = steps[row["backend"], row["model"]] / row["ms a step"]
        cells = (row["backend"], row["model"], way, row["first step s"], f"{row['ms a step']:.3g}", f"{ratio:.1f}")
        lines.append(_line(cells))
    parts += ["Training, batch size 32:", "\n".join(lines)]
    lines = ["| model | compared | after steps | largest difference of any variable |", "|---|---|---|---|"]
    check = found["check"]
    for row in (*check["rows"], *check.get("after 96 steps", ())):
        lines.append(_line((row["model"], row["compared"], row["steps"], f"{row['largest difference']:.2g}")))
    parts += ["The replays and `fit` from the same weights, TF32 off:", "\n".join(lines)]
    if "note" in check:
        parts.append(f"{check['note']} {_LATER}")
    heads = {
        "onnxruntime, exact / Keras, full": "CUDA, exact / Keras, full float32",
        "onnxruntime, exact / onnxruntime, cpu": "CUDA, exact / CPU",
        "onnxruntime, TF32 / onnxruntime, cpu": "CUDA, TF32 / CPU",
        "Keras, default / onnxruntime, cpu": "Keras, default / CPU",
    }
    lines = [_line(("Keras on", "model", *heads.values())), "|---" * (2 + len(heads)) + "|"]
    for row in (row for name, part in found.items() if name.startswith("export ") for row in part["rows"]):
        if "largest answer" in row:
            share = (f"{row[key] / row['largest answer']:.1e}" for key in heads)
            lines.append(_line((row["backend"], row["model"], *share)))
    parts += ["Largest difference of any answer, as a share of the largest answer:", "\n".join(lines)]
    lines = ["| model | provider | loading | batch 1 | batch 32 | batch 1024 |", "|---|---|---|---|---|---|"]
    for row in found["bench"]["rows"]:
        taken = [f"{row[f'p50 ms at {size}']:.3g}" if f"p50 ms at {size}" in row else "" for size in (1, 32, 1024)]
        lines.append(_line((row["model"], row["provider"], f"{row['load ms']:.3g}", *taken)))
    parts += ["Medians of `mnistkit bench`, in milliseconds, from arrays and to arrays:", "\n".join(lines)]
    if not any(row["model"] == "MobileNetV2" for row in found["bench"]["rows"]):
        parts.append("MobileNetV2's latencies: not run.")
    lines = [
        "| model | batch | run | IOBinding | IOBinding, buffers kept | data on the GPU |",
        "|---|---|---|---|---|---|",
    ]
    for row in found["binding"]["rows"]:
        ways = (f"{row[f'{name} ms']:.3g}" for name in ("run", "binding", "kept buffers", "without copies"))
        lines.append(_line((row["file"], row["batch"], *ways)))
    parts += ["onnxruntime's IOBinding, in milliseconds:", "\n".join(lines)]
    return "\n\n".join(parts)


def _line(cells: Iterable[Any]) -> str:
    return f"| {' | '.join(map(str, cells))} |"
