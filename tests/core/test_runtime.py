"""A session on a device that is told truly, from whatever it is given."""

import multiprocessing
import os
import pickle  # noqa: TID251  # a Runtime travels to worker processes by pickle; mnistkit itself reads none
import shutil
import threading
import types

import numpy as np
import onnxruntime
import pytest

from mnistkit.core.errors import DeviceError, InputError, ModelFileError
from mnistkit.core.runtime import Runtime
from mnistkit.core.session_call import direct_call
from mnistkit.core.tensors import TensorInfo
from mnistkit.digits.pictures import read_picture

HAS_CUDA = "CUDAExecutionProvider" in onnxruntime.get_available_providers()


@pytest.fixture
def runtime(asset):
    return Runtime(asset, device="cpu")


@pytest.fixture
def feeds(images):
    return {"image": images.reshape(8, 784)}


def test_what_the_file_declares(runtime):
    assert [str(tensor) for tensor in runtime.inputs] == ["image: float32 [batch, 784]"]
    assert [str(tensor) for tensor in runtime.outputs] == ["probabilities: float32 [batch, 10]"]
    assert runtime.providers == ("CPUExecutionProvider",)


def test_an_unnamed_free_dimension_is_a_question_mark():
    assert str(TensorInfo("x", "float32", (None, "time", 3))) == "x: float32 [?, time, 3]"


def test_metadata_without_the_prefix(runtime):
    assert {"format_version", "golden", "labels", "weights_sha256"} <= set(runtime.metadata)
    assert not any(key.startswith("mnistkit.") for key in runtime.metadata)


# --- files that cannot be used --------------------------------------------------------------------------------------

BAD = {
    "empty": (b"", "an empty file, not an ONNX model"),
    "lfs": (
        b"version https://git-lfs.github.com/spec/v1\n",
        r"a Git LFS pointer, not an ONNX model; run `git lfs pull`",
    ),
    "html": (b"<html></html>", "a web page, not an ONNX model; download the file itself"),
    "keras": (b"PK\x03\x04 and so on", "a zip archive, as .keras files are, and not an ONNX model; export it with"),
    "noise": (bytes(range(256)), r"not a model that onnxruntime .* reads"),
}


@pytest.mark.parametrize("case", BAD)
def test_files_that_are_no_model(tmp_path, case):
    content, words = BAD[case]
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=words) as caught:
        Runtime(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_keras_file_is_told_what_to_do(tmp_path):
    for name, words in (("m.keras", "a Keras file"), ("m.onnx", "a zip archive, as .keras files are")):
        path = tmp_path / name
        path.write_bytes(b"PK\x03\x04 and the rest")
        with pytest.raises(ModelFileError, match=f"{words}, and not an ONNX model; export it with"):
            Runtime(path)


@pytest.mark.parametrize("device", [0, None, 1.5])
def test_a_device_is_a_name(asset, device):
    with pytest.raises(DeviceError, match=f"unknown device {device}; use a name: auto, cpu, cuda, "):
        Runtime(asset, device=device)


@pytest.mark.skipif(HAS_CUDA, reason="this onnxruntime offers CUDA")
@pytest.mark.parametrize("device", ["gpu", "gpu:1"])
def test_gpu_means_cuda(asset, device):
    with pytest.raises(DeviceError, match=f"^{device}: this onnxruntime has no CUDA"):
        Runtime(asset, device=device)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated(model_file, share):
    content = model_file.read_bytes()
    model_file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelFileError, match="not a model that onnxruntime"):
        Runtime(model_file)


def test_missing(tmp_path):
    with pytest.raises(ModelFileError, match=r"no such file; make it with `python -m mnistkit.export`"):
        Runtime(tmp_path / "none.onnx")


def test_folder(tmp_path):
    with pytest.raises(ModelFileError, match=r"cannot be read \(Is a directory\)"):
        Runtime(tmp_path)


def test_bytes_that_are_no_model():
    with pytest.raises(ModelFileError, match="<bytes>: not a model"):
        Runtime(b"nonsense")


# --- devices --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["tpu", "cuda:x", "cpu:0", "cuda0", ""])
def test_unknown_devices(asset, device):
    with pytest.raises(
        DeviceError, match=r"unknown device .*; (use auto, cpu, cuda|behind cuda: goes|cpu takes nothing)"
    ):
        Runtime(asset, device=device)


@pytest.mark.skipif(HAS_CUDA, reason="this onnxruntime offers CUDA")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_cuda_asked_for_by_name_is_never_cpu(asset, device):
    with pytest.raises(
        DeviceError, match=rf"^{device}: this onnxruntime has no CUDAExecutionProvider; run `pip uninstall .*\.\[gpu"
    ):
        Runtime(asset, device=device)


@pytest.mark.skipif(HAS_CUDA, reason="this onnxruntime offers CUDA")
def test_auto_runs_on_cpu_without_a_word(asset):
    assert Runtime(asset, device="auto").providers == ("CPUExecutionProvider",)


# --- onnxruntime itself ---------------------------------------------------------------------------------------------

LOAD = "from mnistkit.core.errors import MissingExtraError\nfrom mnistkit.core.runtime import load_onnxruntime\n"
LOAD += "try:\n    load_onnxruntime()\nexcept MissingExtraError as error:\n    print(error)\n"


def test_onnxruntime_not_installed(python, tmp_path):
    ran = python("-c", "import sys; sys.modules['onnxruntime'] = None\n" + LOAD, cwd=tmp_path)
    assert ran.out.startswith('onnxruntime is not installed; run `pip install ".[cpu]"`'), ran


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "onnxruntime is only half installed (no InferenceSession)"),
        ("raise RuntimeError('libcudart.so.13:\\nno such file')", "its import fails (libcudart.so.13: no such file)"),
    ],
    ids=["half", "broken"],
)
def test_onnxruntime_broken(python, tmp_path, content, words):
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime" / "__init__.py").write_text(content)
    ran = python("-c", LOAD, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    assert words in ran.out
    assert "pip install --force-reinstall onnxruntime" in ran.out
    assert ran.out.count("\n") == 1


TELEMETRY = "import os\nfrom mnistkit.core.runtime import load_onnxruntime\nload_onnxruntime()\n"
TELEMETRY += "print(os.environ['ORT_DISABLE_TELEMETRY'])\n"


@pytest.mark.parametrize(
    ("before", "after"), [("", "1"), ("import os\nos.environ['ORT_DISABLE_TELEMETRY'] = '0'\n", "0")]
)
def test_onnxruntime_sends_nothing_unless_it_is_told_to(python, tmp_path, before, after):
    home = tmp_path / "home"
    home.mkdir()
    run = "import mnistkit, numpy\nmnistkit.Classifier().predict(numpy.zeros((28, 28)))\n"
    ran = python("-c", before + TELEMETRY + run, cwd=tmp_path, env={"HOME": str(home), "XDG_CACHE_HOME": ""})
    assert ran.out.split() == [after], ran
    if after == "1":
        assert not any(home.rglob("*")), "onnxruntime keeps an identifier of the machine"


# --- running --------------------------------------------------------------------------------------------------------


ROWS = np.zeros((2, 784), np.float32)
WRONG = {
    "a name": ({"imgae": ROWS}, r"no input is called 'imgae'; did you mean image\?"),
    "one too many": (
        {"image": ROWS, "mask": ROWS},
        r"no input is called 'mask'; it takes image: float32 \[batch, 784\]",
    ),
    "none": ({}, r"input image: float32 \[batch, 784\] is missing"),
    "a type": (ROWS.astype("float64"), r"image: expected float32, got float64; array.astype\('float32'\) converts"),
    "a size": (ROWS[:, 1:], r"expected image: float32 \[batch, 784\], got shape \[2, 783\]"),
    "an axis": (ROWS[0], r"expected image: float32 \[batch, 784\], got shape \[784\]"),
    "text": ("seven", r"image: no array of float32: could not convert"),
    "an object": ({"image": object()}, r"image: expected an array, got object; numpy.asarray"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arrays_are_refused_in_plain_words(runtime, case):
    feeds, words = WRONG[case]
    with pytest.raises(InputError, match=rf"mnist\.onnx: {words}") as caught:
        runtime.run(feeds)
    assert "\n" not in str(caught.value)


def test_an_array_alone_gives_an_array_alone(runtime, feeds):
    named = runtime.run(feeds)["probabilities"]
    np.testing.assert_array_equal(runtime.run(feeds["image"]), named)
    np.testing.assert_array_equal(runtime.run(feeds["image"].tolist()), named)
    np.testing.assert_array_equal(runtime.run(types.MappingProxyType(feeds))["probabilities"], named)
    np.testing.assert_array_equal(runtime.run_outputs(["probabilities"], feeds)[0], named)


def test_several_inputs_go_by_name_and_share_their_sizes():
    import onnx

    a, b, total = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", 3]) for name in ("a", "b", "sum")
    )
    graph = onnx.helper.make_graph([onnx.helper.make_node("Add", ["a", "b"], ["sum"])], "sum", [a, b], [total])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    runtime = Runtime(model.SerializeToString())
    two, three = np.ones((2, 3), np.float32), np.ones((3, 3), np.float32)
    np.testing.assert_array_equal(runtime.run({"a": two, "b": two})["sum"], 2 * two)
    with pytest.raises(InputError, match=r"give a dict of arrays by name; it takes a: .*, b: .* and answers with sum"):
        runtime.run(two)
    with pytest.raises(InputError, match=r"batch is 2 in a and 3 in b; give both the same"):
        runtime.run({"a": two, "b": three})
    assert "a: float32 [batch, 3], b: float32 [batch, 3] -> sum" in repr(runtime)


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_out_of_range(asset, threads):
    with pytest.raises(InputError, match=f"threads must be at least 1, got {threads}"):
        Runtime(asset, threads=threads)


def test_one_thread_answers_alike(asset, runtime, feeds):
    one = Runtime(asset, device="cpu", threads=1).run(feeds)
    np.testing.assert_allclose(one["probabilities"], runtime.run(feeds)["probabilities"], rtol=0, atol=1e-6)


def test_without_optimization_the_answers_stay(asset, runtime, feeds):
    plain = Runtime(asset, device="cpu", optimize=False)
    again = pickle.loads(pickle.dumps(plain))  # noqa: S301  # made on this line
    for one in (plain, again):
        np.testing.assert_allclose(
            one.run(feeds)["probabilities"], runtime.run(feeds)["probabilities"], rtol=0, atol=1e-6
        )


def test_optimization_is_as_asked(asset, monkeypatch):
    import onnxruntime

    levels = []

    class Recorder(onnxruntime.InferenceSession):
        def __init__(self, source, *, sess_options, **options):
            levels.append(sess_options.graph_optimization_level)
            super().__init__(source, sess_options=sess_options, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Recorder)
    Runtime(asset, device="cpu")
    Runtime(asset, device="cpu", optimize=False)
    level = onnxruntime.GraphOptimizationLevel
    assert levels == [level.ORT_ENABLE_ALL, level.ORT_DISABLE_ALL]


def test_bytes_and_path_answer_alike(asset, runtime, feeds):
    other = Runtime(asset.read_bytes(), device="cpu")
    assert other.name == "<bytes>"
    np.testing.assert_array_equal(other.run(feeds)["probabilities"], runtime.run(feeds)["probabilities"])


def test_from_another_folder(asset, tmp_path, monkeypatch, runtime, feeds):
    (tmp_path / "far" / "away").mkdir(parents=True)
    shutil.copy(asset, tmp_path / "far" / "away" / "other name.onnx")
    monkeypatch.chdir(tmp_path / "far")
    other = Runtime("away/other name.onnx", device="cpu")
    np.testing.assert_array_equal(other.run(feeds)["probabilities"], runtime.run(feeds)["probabilities"])


def test_threads_share_one_session(runtime, feeds):
    expected = runtime.run(feeds)["probabilities"]
    answers = [None] * 8

    def work(place):
        for _ in range(50):
            answers[place] = runtime.run(feeds)["probabilities"]

    workers = [threading.Thread(target=work, args=(place,)) for place in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for answer in answers:
        np.testing.assert_array_equal(answer, expected)


def test_pickle_carries_the_content_and_not_the_place(model_file, feeds):
    runtime = Runtime(model_file, device="cpu", threads=1)
    expected = runtime.run(feeds)["probabilities"]
    packed = pickle.dumps(runtime)
    model_file.unlink()
    again = pickle.loads(packed)  # noqa: S301  # made on the line above
    np.testing.assert_array_equal(again.run(feeds)["probabilities"], expected)
    assert again.providers == runtime.providers


def in_fork(work):
    """What ``work`` returns in a forked child; a child that hangs fails."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=lambda: sender.send(work()))
    child.start()
    try:
        assert receiver.poll(20), "the child hangs"
        return receiver.recv()
    finally:
        child.join(5)
        child.kill()


def forking(test):
    """Only where there is fork; and frameworks may warn of it, which is what these tests answer."""
    for mark in (
        pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork there"),
        # Python 3.12: any fork beside threads
        pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
        # JAX, when light and Keras tests share a process
        pytest.mark.filterwarnings(r"ignore:os\.fork\(\) was called:RuntimeWarning"),
    ):
        test = mark(test)
    return test


@forking
@pytest.mark.parametrize("threads", [1, 2])
def test_after_a_fork(asset, feeds, threads):
    runtime = Runtime(asset, device="cpu", threads=threads)
    expected = runtime.run(feeds)["probabilities"]
    np.testing.assert_array_equal(in_fork(lambda: runtime.run(feeds)["probabilities"]), expected)
    np.testing.assert_array_equal(runtime.run(feeds)["probabilities"], expected)  # the parent goes on


@forking
def test_a_child_may_forget_what_it_inherited(asset, feeds):
    held = [Runtime(asset, device="cpu", threads=2)]
    expected = held[0].run(feeds)["probabilities"]

    def work():
        held.clear()
        return Runtime(asset, device="cpu", threads=2).run(feeds)["probabilities"]

    np.testing.assert_array_equal(in_fork(work), expected)


@forking
def test_pictures_after_a_fork():
    picture = np.full((60, 60), 255, np.uint8)
    picture[10:50, 28:33] = 0
    expected = read_picture(picture)
    np.testing.assert_array_equal(in_fork(lambda: read_picture(picture)), expected)


@pytest.mark.usefixtures("model_file")
def test_after_spawn(python, images, tmp_path):
    """Worker processes that start fresh get the session by pickle."""
    np.save(tmp_path / "images.npy", images)
    (tmp_path / "work.py").write_text(
        "import multiprocessing, sys\n"
        "import numpy as np\n"
        "from mnistkit import Classifier\n"
        "if __name__ == '__main__':\n"
        "    classifier = Classifier('model.onnx', device='cpu')\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        found = pool.map(classifier.predict, [np.load('images.npy')])[0]\n"
        "    print([p.digit for p in found])\n"
    )
    ran = python("work.py", cwd=tmp_path)
    assert ran.out.strip() == "[7, 2, 1, 0, 4, 1, 4, 9]", ran
    assert ran.err == ""


def test_a_file_of_a_newer_version_is_told_to_need_a_newer_onnxruntime(asset):
    import onnx

    model = onnx.load(asset)
    model.ir_version = 99
    with pytest.raises(ModelFileError, match=r"IR version.*; upgrade onnxruntime, or export with an older opset"):
        Runtime(model.SerializeToString(), device="cpu")
    model.ir_version, model.opset_import[0].version = 8, 90
    with pytest.raises(ModelFileError, match="; upgrade onnxruntime"):
        Runtime(model.SerializeToString(), device="cpu")


# --- the direct call ------------------------------------------------------------------------------------------------


def make_model(nodes, inputs, outputs, initializers=()):
    import onnx

    tensors = [
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in pairs.items()]
        for pairs in (inputs, outputs)
    ]
    graph = onnx.helper.make_graph(nodes, "graph", *tensors, initializer=list(initializers))
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


def test_an_input_that_a_node_could_do_without_is_still_asked_for():
    """The session itself would run the node without it, and answer something else."""
    import onnx

    rng = np.random.default_rng(0)
    weights = [
        onnx.numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)
        for name, shape in {"w": (1, 8, 3), "r": (1, 8, 2)}.items()
    ]
    node = onnx.helper.make_node("LSTM", ["x", "w", "r", "", "", "h", "c"], ["y"], hidden_size=2)
    inputs = {"x": [4, 1, 3], "h": [1, 1, 2], "c": [1, 1, 2]}
    runtime = Runtime(make_model([node], inputs, {"y": [4, 1, 1, 2]}, weights), device="cpu")
    feeds = {name: np.ones(shape, np.float32) for name, shape in inputs.items()}
    assert runtime.run(feeds)["y"].shape == (4, 1, 1, 2)
    for name in inputs:
        with pytest.raises(InputError, match=rf"input {name}: float32 .* is missing"):
            runtime.run({key: array for key, array in feeds.items() if key != name})
    with pytest.raises(InputError, match="no input is called 'd'"):
        runtime.run({**{key: array for key, array in feeds.items() if key != "h"}, "d": feeds["h"]})
    with pytest.raises(InputError, match="no input is called 3"):
        runtime.run({**{key: array for key, array in feeds.items() if key != "h"}, 3: feeds["h"]})


def test_a_weight_that_may_be_given_does_not_stand_for_an_input():
    import onnx

    weight = onnx.numpy_helper.from_array(np.full(2, 3, np.float32), "w")
    nodes = [onnx.helper.make_node("Clip", ["w", "", "high"], ["y"])]
    runtime = Runtime(make_model(nodes, {"w": [2], "high": []}, {"y": [2]}, [weight]), device="cpu")
    five, two = np.array(5, np.float32), np.full(2, 2, np.float32)
    assert runtime.run({"high": five})["y"].tolist() == [3, 3]
    assert runtime._session.run(["y"], {"high": five, "w": two})[0].tolist() == [2, 2]
    with pytest.raises(InputError):
        runtime.run({"w": two})  # as many as there are inputs, and not the one that is needed


def test_an_onnxruntime_without_the_direct_call_is_called_in_public(runtime, feeds):
    class Session:
        def __init__(self, session):
            self.run, self.get_providers = session.run, session.get_providers
            self.get_overridable_initializers = session.get_overridable_initializers

    session = Session(runtime._session)
    assert direct_call(session) == session.run
    assert direct_call(runtime._session) == runtime._session._sess.run
    expected = runtime.run(feeds)["probabilities"]
    runtime._call = direct_call(session)
    np.testing.assert_array_equal(runtime.run(feeds)["probabilities"], expected)


def test_other_devices_are_called_in_public(runtime):
    class Session:
        _sess = runtime._session

        def get_providers(self):
            return ["CUDAExecutionProvider", "CPUExecutionProvider"]

        def run(self):
            """Stand for the public method."""

    session = Session()
    assert direct_call(session) == session.run


@forking
def test_a_child_of_a_child_opens_its_own(runtime, feeds):
    expected = runtime.run(feeds)["probabilities"]
    found = in_fork(lambda: (runtime.run(feeds)["probabilities"], in_fork(lambda: runtime.run(feeds)["probabilities"])))
    for answer in found:
        np.testing.assert_array_equal(answer, expected)
