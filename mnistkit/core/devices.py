"""Devices by short names: which execution provider of onnxruntime each is, and that it is really used.

A device that is asked for by name is used or refused. onnxruntime itself goes on with the CPU, with a line in its log,
where a provider's libraries cannot be loaded.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistkit.core import nvidia
from mnistkit.core.errors import DeviceError, InputError, did_you_mean, one_line
from mnistkit.core.install import WHERE, install_command, install_hint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import ModuleType

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"


@dataclass(frozen=True, slots=True)
class Device:
    """A kind of device.

    Attributes:
        name: The short name.
        provider: onnxruntime's name of the execution provider.
        hardware: What it runs on, in a few words.
        package: The package of onnxruntime that has it.
        extra: mnistkit's extra that brings the package; empty where there is none.
        platform: The only ``sys.platform`` it exists on; empty for several.
        part: The provider option that ``NAME:PART`` sets; empty where the name takes no part.
        always: Provider options that are always set.
        exact: Provider options for full float32.
        behind: Providers that take the operations which this one does not, before the CPU.
        session: Attributes of the session options that the provider requires.
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
        others = [name for name in installed_packages() if name != self.package]
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
        Device("webgpu", "WebGpuExecutionProvider", "GPUs, by WebGPU", "onnxruntime-webgpu"),
        Device("qnn", "QNNExecutionProvider", "Qualcomm NPUs", "onnxruntime-qnn", always={"backend_type": "htp"}),
    )
}
"""By short name."""

ALIASES = {"gpu": "cuda", "trt": "tensorrt", "rocm": "migraphx", "dml": "directml"}
"""Other names of them."""

NAMES = ("auto", *DEVICES)
_PLATFORMS = {"darwin": "macOS", "win32": "Windows"}
_PACKAGES = ("onnxruntime", *sorted({device.package for device in DEVICES.values()} - {"onnxruntime"}))


@dataclass(frozen=True, slots=True)
class Request:
    """What a session is to be made with.

    Attributes:
        asked: The device as it was named.
        device: What it is.
        providers: For ``onnxruntime.InferenceSession``.
        demanded: Whether the first provider must be the one that is used.
        note: Why it is the CPU where a GPU was hoped for; empty where it is not.
    """

    asked: str
    device: Device
    providers: list[Any]
    demanded: bool
    note: str = ""

    def check(self, ort: ModuleType, session: Any) -> str:
        """Look at what a session uses.

        Returns:
            Why it runs on the CPU where a GPU was hoped for; empty where it runs as asked.

        Raises:
            DeviceError: The device was asked for by name, and another is used.
        """
        used = session.get_providers()
        if used[0] == self.device.provider:
            counts = {} if self.device.provider == CPU else count_operations(session)
            if self.demanded and counts and not counts.get(self.device.provider):
                # OpenVINO with a device type that does not exist, or a provider without any of a model's operations
                told = f"{self.device.provider} takes none of the model's {sum(counts.values())} operations"
                raise DeviceError(f"{self.asked}: {told}, so that all of them would run on the CPU; use --device cpu")
            return self.note
        if self.device.is_nvidia:
            reason = _not_loaded(self.device, nvidia.why_not_loaded(ort))
        else:
            told = f"{self.device.provider} is offered by this onnxruntime, which uses {used[0]}"
            reason = f"{told}; the lines of onnxruntime above say why, and `mnistkit doctor` what works here"
        if self.demanded:
            raise DeviceError(f"{self.asked}: {reason}")
        return reason


def request(ort: ModuleType, asked: str, *, exact: bool = False, options: Mapping[str, Any] | None = None) -> Request:
    """What to ask onnxruntime for.

    Args:
        ort: onnxruntime.
        asked: ``"auto"``, or a name of `DEVICES` or `ALIASES`, with ``:PART`` where it takes one: ``"cuda:1"``,
            ``"openvino:GPU"``.
        exact: Ask for full float32.
        options: Provider options, over those that are set here.

    Raises:
        DeviceError: The device is unknown, or this onnxruntime does not have it.
        InputError: Provider options without a device by name, or for one that takes none.
    """
    device, part = _find(asked)
    offered = ort.get_available_providers()
    if options and (device is None or device.provider == CPU):
        raise InputError(f"provider options need a device by name that takes some, such as cuda; the device is {asked}")
    if device is None:
        hoped = CUDA in offered
        device = DEVICES["cuda" if hoped else "cpu"]
    if device.provider == CPU:
        return Request(asked, device, [CPU], demanded=asked != "auto")
    if device.provider not in offered:
        raise DeviceError(f"{asked}: {_why_not_offered(device)} (it offers {', '.join(offered)})")
    if device.is_nvidia:
        if missing := nvidia.missing_driver():  # before onnxruntime fills the terminal with its log
            if asked != "auto":
                raise DeviceError(f"{asked}: {_not_loaded(device, missing)}")
            return Request(asked, DEVICES["cpu"], [CPU], demanded=False, note=_not_loaded(device, missing))
        nvidia.load_libraries(ort)
    if device.name == "openvino" and part:
        _check_openvino(ort, asked, part.upper())
    chosen = {**device.always, **(device.exact if exact else {})}
    if device.part and (part or device.part == "device_id"):
        chosen[device.part] = part.upper() or "0"
    chosen |= {key: _text(value) for key, value in (options or {}).items()}
    behind = [name for name in device.behind if name in offered] + ([CPU] if asked == "auto" else [])
    return Request(asked, device, [(device.provider, chosen), *behind], demanded=asked != "auto")


def count_operations(session: Any) -> dict[str, int]:
    """How many operations of the model run on each provider; empty where this onnxruntime does not tell."""
    counts: dict[str, int] = {}
    try:
        parts = session.get_provider_graph_assignment_info()
    except Exception:  # noqa: BLE001  # before onnxruntime 1.24, or of a session on the CPU, which does not note it
        return counts
    for part in parts:
        counts[part.ep_name] = counts.get(part.ep_name, 0) + len(part.get_nodes())
    return counts


def what_is_wrong(error: Exception) -> str:
    """What a provider says, without the place in onnxruntime's source that it begins with."""
    text = one_line(error, limit=2000)
    if ".cc:" in text:  # a function's whole signature follows, and then, behind a bracket, what is wrong
        text = re.split(r"\[[A-Z][\w-]+\] ", text)[-1]
        text = text.rpartition(") ")[2] if text.startswith("/") else text
    return text[-300:]


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


def _find(asked: Any) -> tuple[Device | None, str]:
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


def _check_openvino(ort: ModuleType, asked: str, part: str) -> None:
    """Refuse a device type that OpenVINO does not find; onnxruntime would go on with the CPU."""
    # where OpenVINO's own documentation of the provider takes it from
    find = getattr(getattr(ort.capi, "_pybind_state", None), "get_available_openvino_device_ids", None)
    here = list(find()) if find else []
    if not here or part.partition(":")[0] in {"AUTO", "HETERO", "MULTI"}:
        return
    if not any(one == part or one.startswith(f"{part}.") for one in here):
        raise DeviceError(f"{asked}: OpenVINO finds no {part} here, only {', '.join(here)}")


def _why_not_offered(device: Device) -> str:
    packages = installed_packages()
    if len(packages) > 1:
        install = install_hint(device.extra) if device.extra else f"`pip install {device.package}`"
        return (
            f"{' and '.join(packages)} are installed together and break each other; run "
            f"`pip uninstall -y {' '.join(packages)}` and then {install}"
        )
    return f"this onnxruntime has no {device.provider}; {device.cure}"


def _not_loaded(device: Device, missing: str) -> str:
    told = f"{device.provider} is offered by this onnxruntime but cannot be loaded: {missing}"
    return f"{told}; see `mnistkit doctor`, and {install_hint(device.extra)} for the libraries"


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)
