"""What launchers say in environment variables, and what is said where it is wrong."""

import json

import pytest

from mnistkit.core.errors import InputError
from mnistkit.training.distributed.variables import Place, find_place, launcher_of, variables_for

TORCH = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}
JAX = {"JAX_COORDINATOR_ADDRESS": "10.0.0.1:29500", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}
KERAS = {
    "KERAS_DISTRIBUTION_JOB_ADDRESSES": "10.0.0.1:29500,10.0.0.2:29500",
    "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
    "KERAS_DISTRIBUTION_PROCESS_ID": "1",
}


def tf_config(kind="worker", index=1, **cluster):
    cluster = cluster or {"worker": ["10.0.0.1:29500", "10.0.0.2:29500"]}
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


@pytest.mark.parametrize(
    ("backend", "given"), [("torch", TORCH), ("jax", JAX), ("jax", KERAS), ("tensorflow", tf_config())]
)
def test_each_launcher_is_understood(backend, given):
    assert find_place(backend, given) == Place(1, 2, "10.0.0.1:29500")
    assert launcher_of(given) == backend


@pytest.mark.parametrize("backend", ["torch", "jax", "tensorflow"])
def test_what_is_written_is_read(backend):
    for rank in range(3):
        place = find_place(backend, variables_for(backend, rank=rank, ports=[4001, 4002, 4003]))
        assert place is not None
        assert (place.rank, place.count, place.address) == (rank, 3, "127.0.0.1:4001")
    assert find_place(backend, variables_for(backend, rank=0, ports=[4001])) is None


@pytest.mark.parametrize("backend", ["torch", "jax", "tensorflow"])
@pytest.mark.parametrize("given", [{}, {"MASTER_ADDR": "x"}, {**TORCH, "RANK": "0", "WORLD_SIZE": "1"}], ids=str)
def test_alone(backend, given):
    assert find_place(backend, given) is None
    assert launcher_of(given) is None


def test_a_chief_is_the_first():
    cluster = {"chief": ["10.0.0.1:29500"], "worker": ["10.0.0.2:29500"]}
    assert find_place("tensorflow", tf_config("chief", 0, **cluster)) == Place(0, 2, "10.0.0.1:29500")
    assert find_place("tensorflow", tf_config("worker", 0, **cluster)) == Place(1, 2, "10.0.0.1:29500")


def without(given, name):
    return {key: value for key, value in given.items() if key != name}


@pytest.mark.parametrize(
    ("backend", "given", "words"),
    [
        ("torch", without(TORCH, "RANK"), "RANK is not: start the processes with torchrun, or unset them"),
        ("torch", without(TORCH, "MASTER_PORT"), "MASTER_PORT is not"),
        ("torch", {**TORCH, "RANK": "two"}, "RANK is 'two': give an integer"),
        ("torch", {**TORCH, "RANK": "2"}, "RANK is 2 and WORLD_SIZE is 2"),
        ("torch", {**TORCH, "MASTER_PORT": "70000"}, "a port from 1 to 65535"),
        ("jax", without(JAX, "JAX_PROCESS_ID"), "JAX_PROCESS_ID is not: set all three for each process"),
        ("jax", {**JAX, "JAX_COORDINATOR_ADDRESS": "10.0.0.1"}, "give HOST:PORT"),
        ("jax", without(KERAS, "KERAS_DISTRIBUTION_NUM_PROCESSES"), "KERAS_DISTRIBUTION_NUM_PROCESSES is not"),
        ("tensorflow", {"TF_CONFIG": "{"}, "TF_CONFIG cannot be read .*it has the form"),
        ("tensorflow", {"TF_CONFIG": "[]"}, "TF_CONFIG cannot be read"),
        ("tensorflow", tf_config(index=2), "no worker number 2: its cluster lists 2"),
        ("tensorflow", tf_config("evaluator", 0), "leave the evaluator out"),
    ],
)
def test_wrong_variables(backend, given, words):
    with pytest.raises(InputError, match=words):
        find_place(backend, given)


@pytest.mark.parametrize(("backend", "given"), [("jax", TORCH), ("tensorflow", JAX), ("torch", tf_config())])
def test_the_launcher_of_another_backend(backend, given):
    """Each process would train alone, and nobody would notice."""
    with pytest.raises(InputError, match=rf"Keras runs on {backend}, where each would train alone; set KERAS_BACKEND="):
        find_place(backend, given)
