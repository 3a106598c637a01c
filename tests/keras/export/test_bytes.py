"""One set of weights is one file, to the byte: on every backend, in any process, whatever was made before.

The digests below are the same in the runs of all three backends. A change of the exporter that changes what it writes
changes them too: then see that the new file is as good, and put the new digests here.
"""

import hashlib
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from cases_models import crnn, encoder_decoder, unet
from keras import layers as L

from mnistkit.export.native import convert


def tutorial():
    return keras.Sequential(
        [keras.Input((784,), name="image"), L.Dense(32, activation="relu"), L.Dense(10, activation="softmax")]
    )


BUILDERS = {"tutorial": tutorial, "encoder_decoder": encoder_decoder, "unet": unet, "crnn": crnn}
DIGESTS = {
    "tutorial": "705d01f55a428f3660458b42cc85d5bef8e9d31c576d3fb43ae6daeaf9afcb5f",
    "encoder_decoder": "d85956ca91fd349b026574a6cf08f2ca18b3ac00579f062c04e8085b1035d74b",
    "unet": "004752f5b9efbcdee51e39ed6ad5a9d0a81369488d941ab3a8d8c4de7752d30b",
    "crnn": "2768308b1398251b4b6968c6f511839e7d4e894df41fe15af927cd9e42a1a4bf",
}


def weighted(model):
    """Give a model weights that every machine computes alike: multiples of 1/8192."""
    for variable in model.variables:
        if str(variable.dtype).startswith("float"):
            numbers = np.arange(np.prod(variable.shape, dtype=int)) * 7919 % 1000 - 400
            variable.assign((numbers / 8192).astype("float32").reshape(variable.shape))
    return model


def digest(model):
    return hashlib.sha256(convert(model).proto.SerializeToString(deterministic=True)).hexdigest()


@pytest.mark.parametrize("name", BUILDERS)
def test_four_models_of_one_process(name):
    """Keras counts layers through the whole process; the file must not."""
    assert {digest(weighted(BUILDERS[name]())) for _ in range(4)} == {DIGESTS[name]}


@pytest.mark.parametrize("name", BUILDERS)
def test_a_loaded_file(tmp_path, name):
    weighted(BUILDERS[name]()).save(tmp_path / "model.keras")
    assert digest(keras.models.load_model(tmp_path / "model.keras")) == DIGESTS[name]


def test_a_fresh_process(tmp_path, python_here):
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import json; from test_bytes import BUILDERS, digest, weighted\n"
        "print(json.dumps({name: digest(weighted(build())) for name, build in reversed(BUILDERS.items())}))"
    )
    ran = python_here("-c", code, cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert json.loads(ran.out.splitlines()[-1]) == DIGESTS


def test_one_changed_weight_is_another_file():
    model = weighted(tutorial())
    model.layers[-1].bias.assign(model.layers[-1].bias + 1e-6)
    assert digest(model) != DIGESTS["tutorial"]


def test_the_command_writes_the_same_file_and_imports_no_tensorflow_unless_asked(
    tmp_path, python_here, here, trained, exported, small_npz
):
    ran = python_here(
        "-X", "importtime", "-m", "mnistkit.export", trained.path, "--out", "x.onnx", "--data", small_npz, "--json",
        cwd=tmp_path,
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["sha256"] == exported.sha256
    modules = {line.rpartition("|")[2].strip() for line in ran.err.splitlines() if line.startswith("import time:")}
    assert here.name in modules
    assert ("tensorflow" in modules) == (here.name == "tensorflow")
