"""Devices by short names: which execution provider of onnxruntime each is, and how to get it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistkit.core.errors import DeviceError, InputError, did_you_mean
from mnistkit.core.install import WHERE, install_command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"


@dataclass(frozen=True, slots=True)
class Device:
    """A kind of device.

    Attributes:
        name: The short name.
        provider: onnxruntime's name of the execution provider.
        hardware: What it runs on, in a few words.
        package: The package of onnxruntime that has it, or the plugin's.
        extra: mnistkit's extra that brings the package; empty where there is none.
        platform: The only ``sys.platform`` it exists on; empty for several.
        part: The provider option that ``NAME:PART`` sets; empty where the name takes no part.
        always: Provider options that are always set.
        exact: Provider options for full float32.
        behind: Providers that take the operations which this one does not, before the CPU.
        session: Attributes of the session options that the provider requires.
        plugin: The module of a package beside onnxruntime that brings the provider; empty where it is built in.
    """

    name: str
    provider: str
    hardware: str
    package: str
    extra: str = ""
    platform: str = ""
    part: str = ""
    always: Mapping[str, str] = field(default_factory=dict)
    exact: Mapping[str, str] = field(default_factory=dict)
    behind: tuple[str, ...] = ()
    session: Mapping[str, Any] = field(default_factory=dict)
    plugin: str = ""

    @property
    def is_nvidia(self) -> bool:
        """Whether it needs CUDA."""
        return CUDA in (self.provider, *self.behind)

    @property
    def exists_here(self) -> bool:
        """Whether any package of onnxruntime has it on this system."""
        return not self.platform or sys.platform == self.platform

    @property
    def install(self) -> str:
        """The command that installs it, in the place of another package of onnxruntime; or where it exists."""
        if not self.exists_here:
            return f"it exists on {_PLATFORMS[self.platform]} alone"
        command = install_command(self.extra) if self.extra else f"pip install {self.package}"
        others = [] if self.plugin else [name for name in installed_packages() if name != self.package]
        return f"pip uninstall -y {' '.join(others)} && {command}" if others else command

    @property
    def cure(self) -> str:
        """The same, for the end of a message."""
        if not self.exists_here:
            return self.install
        commands = self.install.split(" && ")
        return f"run {' and '.join(f'`{command}`' for command in commands)}{WHERE if self.extra else ''}"


DEVICES = {
    device.name: device
    for device in (
        Device("cpu", CPU, "any processor", "onnxruntime", extra="cpu"),
        Device(
            "cuda",
            CUDA,
            "NVIDIA GPUs",
            "onnxruntime-gpu",
            extra="gpu",
            part="device_id",
            always={"use_tf32": "1"},
            exact={"use_tf32": "0"},
        ),
        Device(
            "tensorrt",
            "TensorrtExecutionProvider",
            "NVIDIA GPUs, by TensorRT",
            "onnxruntime-gpu",
            extra="gpu",
            part="device_id",
            behind=(CUDA,),
        ),
        Device("migraphx", "MIGraphXExecutionProvider", "AMD GPUs", "onnxruntime-migraphx", part="device_id"),
        Device(
            "openvino",
            "OpenVINOExecutionProvider",
            "Intel processors, GPUs and NPUs",
            "onnxruntime-openvino",
            extra="openvino",
            part="device_type",
            always={"device_type": "CPU"},
            exact={"precision": "ACCURACY"},
        ),
        Device("coreml", "CoreMLExecutionProvider", "Apple devices", "onnxruntime", extra="cpu", platform="darwin"),
        Device(
            "directml",
            "DmlExecutionProvider",
            "GPUs under Windows",
            "onnxruntime-directml",
            platform="win32",
            part="device_id",
            session={"enable_mem_pattern": False},
        ),
        Device(
            "webgpu",
            "WebGpuExecutionProvider",
            "GPUs, by WebGPU",
            "onnxruntime-ep-webgpu",
            plugin="onnxruntime_ep_webgpu",
        ),
        Device(
            "qnn",
            "QNNExecutionProvider",
            "Qualcomm NPUs",
            "onnxruntime-qnn",
            always={"backend_type": "htp"},
            plugin="onnxruntime_qnn",
        ),
    )
}
"""By short name."""

ALIASES = {"gpu": "cuda", "trt": "tensorrt", "rocm": "migraphx", "dml": "directml"}
"""Other names of them."""

NAMES = ("auto", *DEVICES)
_PLATFORMS = {"darwin": "macOS", "win32": "Windows"}
_PACKAGES = ("onnxruntime", *(f"onnxruntime-{x}" for x in "directml gpu migraphx openvino rocm webgpu".split()))  # noqa: SIM905 - one line
"""What writes the folder ``onnxruntime``."""


def parse_options(pairs: Sequence[str] | None) -> dict[str, str] | None:
    """Provider options as the command line has them, ``["use_tf32=0"]``.

    Raises:
        InputError: One is not ``KEY=VALUE``.
    """
    if not pairs:
        return None
    found = dict(pair.partition("=")[::2] for pair in pairs)
    for pair in pairs:
        if "=" not in pair or pair.startswith("="):
            raise InputError(f"--provider-option {pair}: expected KEY=VALUE, such as use_tf32=0")
    return found


def installed_packages() -> list[str]:
    """The packages of onnxruntime in the folder that it is imported from; more than one break each other."""
    import importlib.metadata  # slow to import, and needed only to explain what is wrong

    places: dict[str, list[str]] = {}
    for name in _PACKAGES:
        try:
            place = str(importlib.metadata.distribution(name).locate_file("onnxruntime"))
        except importlib.metadata.PackageNotFoundError:
            continue
        places.setdefault(place, []).append(name)
    imported = getattr(sys.modules.get("onnxruntime"), "__file__", None)
    own = str(Path(imported).parent) if imported else ""
    return places.get(own) or max(places.values(), key=len, default=[])


def find_device(asked: Any) -> tuple[Device | None, str]:
    """The device of a name, ``None`` for ``auto``, and its part."""
    if not isinstance(asked, str):
        raise DeviceError(f"unknown device {asked!r}; use a name: {', '.join(NAMES)}")
    name, colon, part = asked.partition(":")
    name = ALIASES.get(name.lower(), name.lower())
    if name == "auto" and not colon:
        return None, ""
    device = DEVICES.get(name)
    if device is None:
        raise DeviceError(f"unknown device {asked!r}; use {', '.join(NAMES)}{did_you_mean(name, NAMES)}")
    if colon and not device.part:
        raise DeviceError(f"unknown device {asked!r}; {name} takes nothing after its name")
    if colon and not (part.isdigit() if device.part == "device_id" else part):
        told = "a number, as in cuda:1" if device.part == "device_id" else "CPU, GPU, GPU.1 or NPU"
        raise DeviceError(f"unknown device {asked!r}; behind {name}: goes {told}")
    return device, part
