"""A session on the device that was asked for, and on no other.

onnxruntime goes on with the CPU, with a line in its log, where a provider's libraries cannot be loaded, and without a
word where a provider takes none of a model's operations. Here a device that is asked for by name is used or refused.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mnistkit.core import nvidia
from mnistkit.core.devices import CPU, CUDA, DEVICES, Device, find_device, installed_packages
from mnistkit.core.errors import DeviceError, InputError, one_line
from mnistkit.core.install import install_hint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

_MOST_LETTERS = 300  # of what a provider says; the end says what is wrong


@dataclass(frozen=True, slots=True)
class Request:
    """What a session is to be made with.

    Attributes:
        asked: The device as it was named.
        device: What it is.
        providers: For ``onnxruntime.InferenceSession``.
        demanded: Whether the first provider must be the one that is used.
        note: Why it is the CPU where a GPU was hoped for; empty where it is not.
        found: The hardware that a plugin of onnxruntime found; empty where the provider is built in.
    """

    asked: str
    device: Device
    providers: list[Any]
    demanded: bool
    note: str = ""
    found: tuple[Any, ...] = ()

    def arguments(self, options: Any) -> dict[str, Any]:
        """Set the session options, and return the further arguments of ``onnxruntime.InferenceSession``."""
        for name, value in self.device.session.items():
            setattr(options, name, value)
        if self.device.provider != CPU:
            options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        # without onnxruntime's own way back to the CPU, which prints why and goes on
        if self.found:
            options.add_provider_for_devices(list(self.found), self.providers[0][1])
            return {"enable_fallback": 0}
        return {"providers": self.providers, "enable_fallback": 0}

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
            if self.demanded and set(counts) == {CPU}:
                # OpenVINO with a device type that does not exist, QNN without its backend, or an unusual model
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
    device, part = find_device(asked)
    offered = ort.get_available_providers()
    if options and (device is None or device.provider == CPU):
        raise InputError(f"provider options need a device by name that takes some, such as cuda; the device is {asked}")
    if device is None:
        hoped = CUDA in offered
        device = DEVICES["cuda" if hoped else "cpu"]
    if device.provider == CPU:
        return Request(asked, device, [CPU], demanded=asked != "auto")
    found: tuple[Any, ...] = ()
    if device.plugin and importlib.util.find_spec(device.plugin) is not None:
        found = _plugin(ort, device, asked)
    elif device.provider not in offered:
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
    return Request(asked, device, [(device.provider, chosen), *behind], demanded=asked != "auto", found=found)


@functools.cache
def _register(ort: ModuleType, provider: str, library: str) -> None:
    ort.register_execution_provider_library(provider, library)  # once a process; a second time is an error


def _plugin(ort: ModuleType, device: Device, asked: str) -> tuple[Any, ...]:
    """Load a provider that comes as a package of its own, and the hardware that it finds."""
    if not hasattr(ort, "register_execution_provider_library"):
        raise DeviceError(f"{asked}: onnxruntime {ort.__version__} loads no plugins; run `pip install -U onnxruntime`")
    try:
        _register(ort, device.provider, importlib.import_module(device.plugin).get_library_path())
    except Exception as error:  # the package's own, or onnxruntime's, which share no public base
        raise DeviceError(f"{asked}: {device.package} cannot be loaded: {what_is_wrong(error)}") from error
    found = tuple(one for one in ort.get_ep_devices() if one.ep_name == device.provider)
    if not found:
        raise DeviceError(f"{asked}: {device.package} finds none here ({device.hardware})")
    return found[:1]


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
    return text if len(text) <= _MOST_LETTERS else f"... {text[-_MOST_LETTERS:].partition(' ')[2]}"


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
