"""What works here and what to run to get the rest."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass

from mnistkit.core import keras_backend as backends
from mnistkit.core.errors import MissingExtraError
from mnistkit.core.runtime import both_packages, load_onnxruntime

_PACKAGES = (
    "mnistkit", "numpy", "pillow", "onnxruntime", "onnxruntime-gpu", "keras", "jax", "torch", "tensorflow", "onnx",
    "tf2onnx", "jax2onnx", "onnxscript",
)  # fmt: skip
_PROVIDERS = {"CPUExecutionProvider": "cpu", "CUDAExecutionProvider": "gpu"}

# Run in a child: only a real import under a real Keras shows whether a backend works, and a process has only one.
_PROBE = (
    "import json; from mnistkit.core.keras_backend import active, silence; silence(); i = active(); import keras; "
    "keras.ops.matmul(keras.ops.ones((2, 2)), keras.ops.ones((2, 2))); print(json.dumps([i.version, i.device]))"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report.

    Attributes:
        name: What was looked at.
        works: Whether it can be used; ``None`` for plain facts.
        detail: Version, device, or what is wrong.
        cure: The command that makes it work, or ``None``.
    """

    name: str
    works: bool | None
    detail: str
    cure: str | None = None


def examine() -> list[Finding]:
    """Look at Python, packages, backends and execution providers; backends are tried in processes of their own."""
    system = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    findings = [Finding("python", None, system)]
    findings += [Finding(name, None, backends.version_of(name)) for name in _PACKAGES]
    findings += [_backend(name) for name in backends.BACKENDS]
    findings += _providers()
    if both_packages():
        findings.append(
            Finding(
                "onnxruntime packages",
                False,
                "onnxruntime and onnxruntime-gpu are both installed; they overwrite each other's files",
                "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'mnistkit[gpu]'",
            )
        )
    return findings


def _backend(name: str) -> Finding:
    cure = f"pip install 'mnistkit[{name}]'"
    label = f"backend {name}"
    if not backends.is_installed(name) or importlib.util.find_spec("keras") is None:
        missing = name if not backends.is_installed(name) else "keras"
        return Finding(label, False, f"{missing} is not installed", cure)
    environment = {**os.environ, "KERAS_BACKEND": name}
    child = subprocess.run(  # noqa: S603  # our own probe
        [sys.executable, "-c", _PROBE], env=environment, capture_output=True, text=True, check=False
    )
    try:
        version, device = json.loads(child.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        lines = child.stderr.strip().splitlines() or ["no message"]
        return Finding(label, False, f"installed but broken: {lines[-1][:200]}", f"{cure} --force-reinstall")
    return Finding(label, True, f"{version} on {device}")


def _providers() -> list[Finding]:
    try:
        ort = load_onnxruntime()
    except MissingExtraError as error:
        return [Finding("onnxruntime", False, str(error), "pip install 'mnistkit[cpu]'")]
    from mnistkit.core.errors import MnistkitError
    from mnistkit.digits.classifier import Classifier

    offered = ort.get_available_providers()
    findings = []
    for provider, extra in _PROVIDERS.items():
        label = f"provider {extra if extra == 'cpu' else 'cuda'}"
        if provider not in offered:
            cure = "pip uninstall -y onnxruntime && pip install 'mnistkit[gpu]'"
            findings.append(Finding(label, False, f"not in this onnxruntime {ort.__version__}", cure))
            continue
        try:
            used = Classifier(device="cpu" if extra == "cpu" else "cuda").providers
        except MnistkitError as error:
            findings.append(Finding(label, False, str(error), "install the NVIDIA driver, then 'mnistkit[gpu]'"))
        else:
            findings.append(Finding(label, True, f"{used[0]} runs"))
    return findings
