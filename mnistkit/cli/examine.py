"""What works here and what to run to get the rest."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mnistkit import __version__
from mnistkit.core import keras_backend as backends
from mnistkit.core.devices import DEVICES, Device, installed_packages
from mnistkit.core.errors import MissingExtraError, MnistkitError, one_line
from mnistkit.core.install import install_command
from mnistkit.core.runtime import Runtime, load_onnxruntime

if TYPE_CHECKING:
    from types import ModuleType

WORKS, MISSING, BROKEN, FACT = "works", "missing", "broken", "fact"
"""The states of a finding. Something optional that is not installed is missing; something that is there and cannot be
used is broken."""

_EXPORTERS = {"tf2onnx": "tensorflow", "jax2onnx": "jax2onnx", "onnxscript": "torch-onnx"}  # package and its extra
_MORE = {"matplotlib": "report", "pyarrow": "parquet"}  # likewise
_SERVER = ("granian", "orjson", "prometheus-client", "python-multipart")
_GRPC = ("grpcio", "grpcio-health-checking", "grpcio-reflection", "protobuf")
_ONLY_FASTER = ("pysimdjson", "uvloop")

# Run in a child: only a real import under a real Keras shows whether a backend works, and a process has only one.
_PROBE = (
    "import json; from mnistkit.core import keras_backend as b; b.quiet_startup_logs(); i = b.active_backend(); "
    "import keras; "
    "keras.ops.matmul(keras.ops.ones((2, 2)), keras.ops.ones((2, 2))); print(json.dumps([i.version, i.device]))"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report.

    Attributes:
        group: The part of mnistkit that it belongs to.
        name: What was looked at.
        state: `WORKS`, `MISSING`, `BROKEN` or `FACT`.
        detail: Version, device, or what is wrong.
        cure: The command that makes it work, or ``None``.
    """

    group: str
    name: str
    state: str
    detail: str
    cure: str | None = None


def examine(*, deep: bool = False) -> list[Finding]:
    """Look at what is installed.

    Args:
        deep: Also load each Keras backend and compute with it, in a process of its own, which takes seconds each.
            Otherwise a backend counts as working when it is installed.
    """
    system = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    about = "this machine"
    findings = [Finding(about, "python", FACT, system)]
    findings.append(Finding(about, "mnistkit", FACT, __version__))
    findings += [Finding(about, name, FACT, backends.version_of(name)) for name in ("numpy", "pillow")]
    findings += [*_onnxruntime(), _default_model()]
    findings += [_backend(name, deep=deep) for name in backends.BACKENDS]
    findings += [_package("train and export", name, extra="keras") for name in ("keras", "onnx")]
    findings += [_package("Keras' own exporters", name, extra=extra) for name, extra in _EXPORTERS.items()]
    findings += [_package("reports, tables and pages", name, extra=extra) for name, extra in _MORE.items()]
    findings.append(_npm())
    findings.append(_package("smaller files", "onnx_ir", extra="shrink"))
    findings += [_extra("serve", _SERVER), _extra("grpc", _GRPC)]
    findings += [_package("serve", name, extra="serve") for name in _ONLY_FASTER if sys.platform != "win32"]
    return findings


def _package(group: str, name: str, *, extra: str) -> Finding:
    version = backends.version_of(name)
    if version == "not installed":
        return Finding(group, name, MISSING, version, install_command(extra))
    return Finding(group, name, WORKS, version)


def _npm() -> Finding:
    """What ``export --web`` downloads onnxruntime-web with; it is no package of Python."""
    group = "reports, tables and pages"
    if shutil.which("npm"):
        return Finding(group, "npm", WORKS, "installed, for export --web")
    return Finding(group, "npm", MISSING, "not installed; export --web wants it, or --ort DIR", "install Node.js")


def _extra(name: str, packages: tuple[str, ...]) -> Finding:
    """Whether all packages of an extra are there; one name for them all, as they are of use only together."""
    versions = {package: backends.version_of(package) for package in packages}
    missing = [package for package, version in versions.items() if version == "not installed"]
    if missing:
        return Finding("serve", f"extra {name}", MISSING, f"without {', '.join(missing)}", install_command(name))
    return Finding("serve", f"extra {name}", WORKS, ", ".join(f"{key} {value}" for key, value in versions.items()))


def _backend(name: str, *, deep: bool) -> Finding:
    group, label, cure = "train and export", f"backend {name}", install_command(name)
    if not backends.is_installed(name):
        return Finding(group, label, MISSING, f"{name} is not installed", cure)
    if not backends.is_installed("keras"):
        return Finding(group, label, MISSING, f"{name} is installed, keras is not", install_command("keras"))
    if not deep:
        return Finding(group, label, WORKS, f"{backends.version_of(name)}, installed; --deep loads it")
    environment = {**os.environ, "KERAS_BACKEND": name}
    child = subprocess.run(  # noqa: S603  # our own probe
        [sys.executable, "-c", _PROBE], env=environment, capture_output=True, text=True, check=False
    )
    try:
        version, device = json.loads(child.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        lines = child.stderr.strip().splitlines() or ["no message"]
        cure = install_command(name, force=True)
        return Finding(group, label, BROKEN, f"its import fails: {lines[-1][:200]}", cure)
    return Finding(group, label, WORKS, f"{version} on {device}")


def _onnxruntime() -> list[Finding]:
    group = "predict, verify and serve"
    try:
        ort = load_onnxruntime()
    except MissingExtraError as error:
        missing = not backends.is_installed("onnxruntime")
        detail = "not installed" if missing else one_line(error, limit=200)
        cure = install_command("cpu", force=not missing)
        return [Finding(group, "onnxruntime", MISSING if missing else BROKEN, detail, cure)]
    findings = [Finding(group, "onnxruntime", WORKS, ort.__version__)]
    packages = installed_packages()
    if len(packages) > 1:
        told = f"{' and '.join(packages)} are all installed; they overwrite each other's files"
        cure = f"pip uninstall -y {' '.join(packages)}, then install one of them"
        findings.append(Finding(group, "onnxruntime packages", BROKEN, told, cure))
    return [*findings, *(_device(device, ort, group) for device in DEVICES.values())]


def _device(device: Device, ort: ModuleType, group: str) -> Finding:
    """Whether the packaged model runs there."""
    from mnistkit.digits.classifier import default_model

    label = f"device {device.name}"
    installed = device.plugin and importlib.util.find_spec(device.plugin)
    if device.provider not in ort.get_available_providers() and not installed:
        if not device.exists_here:
            return Finding(group, label, FACT, f"for {device.hardware}; {device.install}")
        told = f"for {device.hardware}: {device.provider} is not in this onnxruntime"
        return Finding(group, label, MISSING, told, device.install)
    try:
        runtime = Runtime(default_model(), device=device.name)
    except MnistkitError as error:
        told = str(error).removeprefix(f"{device.name}: ").partition("; see `mnistkit doctor`")[0]
        if installed:  # no such hardware
            return Finding(group, label, FACT, told)
        if device.name == "tensorrt":  # optional beside CUDA
            return Finding(group, label, MISSING, told, "install the NVIDIA driver, then pip install tensorrt")
        cure = f"install the NVIDIA driver, then {device.install}" if device.is_nvidia else device.install
        return Finding(group, label, BROKEN, told, cure)
    counts = runtime.operations
    share = f", {counts.get(device.provider, 0)} of {sum(counts.values())} operations of the default model"
    return Finding(group, label, WORKS, f"{runtime.providers[0]} runs{share if counts else ''}")


def _default_model() -> Finding:
    from mnistkit.digits.classifier import default_model

    path = default_model()
    where = "found in this folder" if not path.is_absolute() else "inside the package"
    return Finding("predict, verify and serve", "default model", FACT, f"{path} ({where})")
