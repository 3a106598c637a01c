"""Devices by name: what is asked of onnxruntime, and that nothing else than what was asked for is used.

Only the CPU is there where these tests run, so the other providers are judged by the options that a session would be
made with. OpenVINO is run for real by tests/openvino, in an environment of its own.
"""

import importlib.machinery
import sys
import types

import numpy as np
import onnxruntime
import pytest

from mnistkit import Classifier
from mnistkit.core import nvidia
from mnistkit.core.comparison import verify_file
from mnistkit.core.devices import CPU, CUDA, DEVICES, NAMES, installed_packages, parse_options
from mnistkit.core.errors import DeviceError, InputError
from mnistkit.core.execution import Request, request, what_is_wrong
from mnistkit.core.runtime import Runtime

ALL = [device.provider for device in DEVICES.values()]


@pytest.fixture
def ort(monkeypatch):
    """An onnxruntime that offers everything, and a driver for it."""
    monkeypatch.setattr(nvidia, "missing_driver", lambda: "")
    monkeypatch.setattr(nvidia, "load_libraries", lambda _: "")
    return types.SimpleNamespace(get_available_providers=lambda: ALL, capi=onnxruntime.capi, __file__="")


def session(*used, counts=None):
    def assignment():
        if counts is None:
            raise RuntimeError("not recorded")
        return [types.SimpleNamespace(ep_name=name, get_nodes=lambda n=n: [None] * n) for name, n in counts]

    return types.SimpleNamespace(get_providers=lambda: list(used), get_provider_graph_assignment_info=assignment)


# --- what is asked for ----------------------------------------------------------------------------------------------

WANTED = {
    "cpu": [CPU],
    "cuda": [(CUDA, {"use_tf32": "1", "device_id": "0"})],
    "cuda:3": [(CUDA, {"use_tf32": "1", "device_id": "3"})],
    "gpu": [(CUDA, {"use_tf32": "1", "device_id": "0"})],
    "GPU:1": [(CUDA, {"use_tf32": "1", "device_id": "1"})],
    "tensorrt:1": [("TensorrtExecutionProvider", {"device_id": "1"}), CUDA],
    "migraphx": [("MIGraphXExecutionProvider", {"device_id": "0"})],
    "rocm:2": [("MIGraphXExecutionProvider", {"device_id": "2"})],
    "openvino": [("OpenVINOExecutionProvider", {"device_type": "CPU"})],
    "openvino:gpu.1": [("OpenVINOExecutionProvider", {"device_type": "GPU.1"})],
    "coreml": [("CoreMLExecutionProvider", {})],
    "directml:1": [("DmlExecutionProvider", {"device_id": "1"})],
    "webgpu": [("WebGpuExecutionProvider", {})],
    "qnn": [("QNNExecutionProvider", {"backend_type": "htp"})],
}


@pytest.mark.parametrize("asked", WANTED)
def test_a_name_becomes_a_provider_with_options(ort, asked):
    found = request(ort, asked)
    assert found.providers == WANTED[asked]
    assert found.demanded


def test_every_device_is_in_the_table_above():
    assert set(DEVICES) <= {name.partition(":")[0] for name in WANTED}
    assert ("auto", *DEVICES) == NAMES


def test_auto_is_cuda_with_the_cpu_behind_it(ort):
    found = request(ort, "auto")
    assert found.providers == [(CUDA, {"use_tf32": "1", "device_id": "0"}), CPU]
    assert not found.demanded
    ort.get_available_providers = lambda: [CPU]
    assert request(ort, "auto").providers == [CPU]


def test_exact_is_full_float32(ort):
    assert request(ort, "cuda", exact=True).providers[0][1]["use_tf32"] == "0"
    assert request(ort, "openvino", exact=True).providers[0][1] == {"device_type": "CPU", "precision": "ACCURACY"}


def test_options_are_over_those_of_the_device(ort):
    found = request(ort, "cuda:1", exact=True, options={"use_tf32": True, "gpu_mem_limit": 2**30, "device_id": 2})
    assert found.providers == [(CUDA, {"use_tf32": "1", "device_id": "2", "gpu_mem_limit": "1073741824"})]


def test_directml_takes_no_memory_pattern(ort):
    assert request(ort, "dml").device.session == {"enable_mem_pattern": False}
    assert request(ort, "cuda").device.session == {}


@pytest.mark.parametrize("asked", ["auto", "cpu"])
def test_options_need_a_device_by_name(ort, asked):
    with pytest.raises(InputError, match=f"provider options need a device by name .*; the device is {asked}"):
        request(ort, asked, options={"use_tf32": 0})
    request(ort, asked, options={})


BAD = {
    "cuda:x": r"behind cuda: goes a number, as in cuda:1",
    "cuda:": r"behind cuda: goes a number",
    "openvino:": r"behind openvino: goes CPU, GPU, GPU.1 or NPU",
    "coreml:1": r"coreml takes nothing after its name",
    "auto:1": r"use auto, cpu, cuda, .*; did you mean auto\?",
    "openvnio": r"use auto, .*, qnn; did you mean openvino\?",
}


@pytest.mark.parametrize("asked", BAD)
def test_names_that_are_none(ort, asked):
    with pytest.raises(DeviceError, match=f"^unknown device '{asked}'; {BAD[asked]}"):
        request(ort, asked)


def test_options_of_the_command_line():
    assert parse_options(["a=1", "b=c=d", "e="]) == {"a": "1", "b": "c=d", "e": ""}
    assert parse_options(None) is None
    for wrong in ("a", "=1"):
        with pytest.raises(InputError, match=f"^--provider-option {wrong}: expected KEY=VALUE, such as use_tf32=0"):
            parse_options(["b=1", wrong])


# --- what cannot be had ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in DEVICES if name != "cpu"])
def test_a_device_that_is_not_offered_names_its_package(ort, name):
    ort.get_available_providers = lambda: [CPU]
    device = DEVICES[name]
    with pytest.raises(DeviceError, match=f"^{name}: this onnxruntime has no {device.provider}; ") as caught:
        request(ort, name)
    told = str(caught.value)
    assert device.package in told or f"[{device.extra}]" in told or "it exists on " in told


@pytest.mark.parametrize("name", ["cuda:1", "tensorrt"])
def test_without_a_driver(ort, monkeypatch, name):
    monkeypatch.setattr(nvidia, "missing_driver", lambda: "the NVIDIA driver is missing")
    with pytest.raises(DeviceError, match=rf"^{name}: .* cannot be loaded: the NVIDIA driver is missing; .*\[gpu\]"):
        request(ort, name)
    found = request(ort, "auto")
    assert found.providers == [CPU]
    assert "the NVIDIA driver is missing" in found.check(ort, session(CPU))


def test_a_provider_that_is_not_used_is_an_error(ort):
    found = request(ort, "migraphx")
    assert found.check(ort, session("MIGraphXExecutionProvider", CPU)) == ""
    with pytest.raises(DeviceError, match=r"^migraphx: MIGraphXExecutionProvider is offered .*, which uses CPUExec"):
        found.check(ort, session(CPU))
    assert "which uses CPU" in Request("auto", found.device, [], demanded=False).check(ort, session(CPU))


def test_a_provider_that_runs_nothing_is_an_error(ort):
    found = request(ort, "coreml")
    used = "CoreMLExecutionProvider"
    assert found.check(ort, session(used, CPU, counts=[(used, 1), (CPU, 3)])) == ""
    with pytest.raises(DeviceError, match="coreml: CoreMLExecutionProvider takes none of the model's 4 operations"):
        found.check(ort, session(used, CPU, counts=[(CPU, 3), (CPU, 1)]))
    assert found.check(ort, session(used, CPU, counts=[])) == ""  # nothing left to run


def test_openvino_without_the_device(ort):
    ort.capi = types.SimpleNamespace(
        _pybind_state=types.SimpleNamespace(get_available_openvino_device_ids=lambda: ["CPU", "GPU.0"])
    )
    for here in ("openvino:gpu", "openvino:GPU.0", "openvino:AUTO:NPU"):
        request(ort, here)
    for missing in ("openvino:npu", "openvino:GPU.1", "openvino:nonsense"):
        with pytest.raises(DeviceError, match=r"OpenVINO finds no (NPU|GPU\.1|NONSENSE) here, only CPU, GPU\.0"):
            request(ort, missing)


def install(folder, name):
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")


def test_two_onnxruntimes_are_noticed_and_named_in_the_cure(ort, tmp_path, monkeypatch):
    assert len(installed_packages()) == 1
    ort.get_available_providers = lambda: [CPU]
    for name in ("onnxruntime", "onnxruntime-gpu"):
        install(tmp_path, name)
    monkeypatch.syspath_prepend(tmp_path)
    assert installed_packages() == ["onnxruntime", "onnxruntime-gpu"]
    with pytest.raises(DeviceError, match="together and break each other; run `pip uninstall -y onnxruntime onnx"):
        request(ort, "cuda")


def test_what_a_provider_says_begins_where_it_matters():
    long = RuntimeError("/onnxruntime/pybind_state.cc:1053 std::shared_ptr<X> f(const Y&) Invalid option: nonsense")
    assert what_is_wrong(long) == "Invalid option: nonsense"
    assert what_is_wrong(RuntimeError("short (and) plain")) == "short (and) plain"


# --- through the calls ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [Runtime, Classifier, verify_file])
def test_calls_hand_the_options_on(asset, call):
    with pytest.raises(InputError, match="provider options need a device by name"):
        call(asset, device="cpu", provider_options={"a": 1})
    call(asset, device="cpu", provider_options={})


def test_the_cpu_runs_all_without_being_asked(asset):
    assert Runtime(asset, device="cpu").operations == {}


def test_nvidias_libraries_are_looked_for_on_all_of_pythons_path(tmp_path, monkeypatch):
    for name in ("cu13/lib/libcublas.so.13", "cu13/lib/libcublasLt.so.13", "cudnn/lib/libcudnn.so.9"):
        library = tmp_path / "nvidia" / name
        library.parent.mkdir(parents=True, exist_ok=True)
        library.touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(nvidia, "_WINDOWS", False)
    names = [path.name for path in nvidia._library_files()]
    assert names == ["libcublasLt.so.13", "libcublas.so.13", "libcudnn.so.9"]  # what others need comes first


def test_a_picklable_runtime_keeps_its_options(asset):
    runtime = Runtime(asset, device="cpu")
    assert runtime.__getstate__()["_provider_options"] == {}
    np.testing.assert_array_equal(runtime.run(np.zeros((1, 784), np.float32)).shape, (1, 10))


# --- plugins --------------------------------------------------------------------------------------------------------


@pytest.fixture
def plugin(monkeypatch):
    """QNN's package beside an onnxruntime that has no QNN, and one NPU."""
    package = types.ModuleType("onnxruntime_qnn")
    package.__spec__ = importlib.machinery.ModuleSpec("onnxruntime_qnn", None)
    package.get_library_path = lambda: "libqnn.so"
    monkeypatch.setitem(sys.modules, "onnxruntime_qnn", package)
    npu = types.SimpleNamespace(ep_name="QNNExecutionProvider")
    made = types.ModuleType("onnxruntime")
    made.registered = []
    made.get_available_providers = lambda: [CPU]
    made.register_execution_provider_library = lambda name, path: made.registered.append((name, path))
    made.get_ep_devices = lambda: [types.SimpleNamespace(ep_name=CPU), npu]
    return made, npu


def test_a_plugin_is_registered_once_and_given_its_hardware(plugin):
    made, npu = plugin
    found = [request(made, "qnn", options={"backend_type": "gpu"}) for _ in range(2)][1]
    assert made.registered == [("QNNExecutionProvider", "libqnn.so")]
    assert found.found == (npu,)
    entries, added = {}, []
    options = types.SimpleNamespace(
        add_session_config_entry=entries.__setitem__, add_provider_for_devices=lambda *given: added.append(given)
    )
    assert found.arguments(options) == {"enable_fallback": 0}
    assert added == [([npu], {"backend_type": "gpu"})]
    assert entries == {"session.record_ep_graph_assignment_info": "1"}


def test_a_provider_that_is_built_in_is_asked_for_by_name(ort):
    options = types.SimpleNamespace(add_session_config_entry=lambda *_: None)
    found = request(ort, "directml")
    assert found.arguments(options) == {"providers": found.providers, "enable_fallback": 0}
    assert options.enable_mem_pattern is False


def test_a_plugin_without_hardware_or_with_an_old_onnxruntime(plugin):
    made, _ = plugin
    made.get_ep_devices = list
    with pytest.raises(DeviceError, match=r"^qnn: onnxruntime-qnn finds none here \(Qualcomm NPUs\)"):
        request(made, "qnn")
    del made.register_execution_provider_library
    made.__version__ = "1.20"
    with pytest.raises(
        DeviceError, match=r"^qnn: onnxruntime 1\.20 loads no plugins; run `pip install -U onnxruntime`"
    ):
        request(made, "qnn")


def test_a_plugin_that_cannot_be_loaded(plugin):
    made, _ = plugin
    sys.modules["onnxruntime_qnn"].get_library_path = lambda: 1 / 0
    with pytest.raises(DeviceError, match=r"^qnn: onnxruntime-qnn cannot be loaded: division by zero"):
        request(made, "qnn")
