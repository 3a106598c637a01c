"""Clients that other people wrote, unchanged."""

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException


@pytest.fixture(scope="module")
def floats(digits):
    return digits.reshape(10, 784).astype(np.float32) / np.float32(255)


def http_client(server):
    return tritonclient.http.InferenceServerClient(f"127.0.0.1:{server.port}")


@pytest.mark.parametrize("binary", [True, False])
def test_triton_http(server, floats, binary):
    client = http_client(server)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("mnist")
    assert client.get_server_metadata()["name"] == "mnistkit"
    assert client.get_model_metadata("mnist")["inputs"][0]["datatype"] == "FP32"
    image = tritonclient.http.InferInput("image", [10, 784], "FP32")
    image.set_data_from_numpy(floats, binary_data=binary)
    wanted = tritonclient.http.InferRequestedOutput("probabilities", binary_data=binary)
    result = client.infer("mnist", [image], outputs=[wanted], request_id="r1")
    assert result.as_numpy("probabilities").argmax(axis=1).tolist() == list(range(10))
    assert result.get_response()["id"] == "r1"
    client.close()


def test_triton_http_without_naming_outputs(server, floats):
    client = http_client(server)
    image = tritonclient.http.InferInput("image", [10, 784], "FP32")
    image.set_data_from_numpy(floats)
    assert client.infer("mnist", [image]).as_numpy("probabilities").argmax(axis=1).tolist() == list(range(10))
    client.close()


def test_triton_http_shows_our_sentence(server):
    client = http_client(server)
    image = tritonclient.http.InferInput("image", [1, 3], "FP32")
    image.set_data_from_numpy(np.zeros((1, 3), np.float32))
    with pytest.raises(InferenceServerException, match="input image: expected shape"):
        client.infer("mnist", [image])
    client.close()


@pytest.fixture
def rpc(server):
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{server.grpc_port}") as client:
        yield client


def test_triton_grpc(rpc, floats):
    assert rpc.is_server_live()
    assert rpc.is_server_ready()
    assert rpc.is_model_ready("mnist")
    assert rpc.get_server_metadata().name == "mnistkit"
    assert list(rpc.get_model_metadata("mnist").inputs[0].shape) == [-1, 784]
    image = tritonclient.grpc.InferInput("image", [10, 784], "FP32")
    image.set_data_from_numpy(floats)
    result = rpc.infer("mnist", [image], request_id="r2")
    assert result.as_numpy("probabilities").argmax(axis=1).tolist() == list(range(10))
    assert result.get_response().id == "r2"


def test_triton_grpc_goes_through_the_queue_too(rpc):
    row = tritonclient.grpc.InferInput("x", [1, 1024], "FP32")
    row.set_data_from_numpy(np.full((1, 1024), 5, np.float32))
    assert np.allclose(rpc.infer("slow", [row]).as_numpy("y"), 5, atol=1e-2)


@pytest.mark.parametrize(
    ("model", "name", "shape", "message", "code"),
    [
        ("mnist", "image", [1, 3], "input image: expected shape", "INVALID_ARGUMENT"),
        ("mnist", "picture", [1, 784], "expected one of image", "INVALID_ARGUMENT"),
        ("other", "image", [1, 784], "expected one of mnist", "NOT_FOUND"),
    ],
)
def test_grpc_refusals(rpc, model, name, shape, message, code):
    image = tritonclient.grpc.InferInput(name, shape, "FP32")
    image.set_data_from_numpy(np.zeros(shape, np.float32))
    with pytest.raises(InferenceServerException, match=message) as caught:
        rpc.infer(model, [image])
    assert code in caught.value.status()


def test_grpc_typed_contents(server):
    """What clients of other languages send: numbers in InferTensorContents."""
    import grpc

    from mnistkit.serve.protocol.messages import SERVICE, messages

    made = messages()
    request = made.ModelInferRequest(model_name="echo")
    request.inputs.add(name="x", datatype="FP32", shape=[1, 2], contents={"fp32_contents": [1.5, 2]})
    request.inputs.add(name="number", datatype="UINT8", shape=[1], contents={"uint_contents": [7]})
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        call = channel.unary_unary(
            f"/{SERVICE}/ModelInfer", made.ModelInferRequest.SerializeToString, made.ModelInferResponse.FromString
        )
        reply = call(request, timeout=30)
        assert np.frombuffer(reply.raw_output_contents[0], "<f4").tolist() == [3, 4]
        assert np.frombuffer(reply.raw_output_contents[1], "<i8").tolist() == [7]
        request.inputs[1].contents.uint_contents[0] = 300
        with pytest.raises(grpc.RpcError, match=r"expected values in 0\.\.255"):
            call(request, timeout=30)
        del request.inputs[1].contents.uint_contents[:]
        with pytest.raises(grpc.RpcError, match="uint_contents: expected 1 numbers"):
            call(request, timeout=30)


KSERVE = """
import asyncio, sys
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig

base, images, binary = sys.argv[1], np.load(sys.argv[2], allow_pickle=False), sys.argv[3] == "True"

async def use():
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
    assert await client.is_server_live(base)
    assert await client.is_server_ready(base)
    assert await client.is_model_ready(base, "mnist")
    image = InferInput("image", [10, 784], "FP32")
    image.set_data_from_numpy(images, binary_data=binary)
    answer = await client.infer(base, InferRequest("mnist", [image]), model_name="mnist")
    print(*answer.outputs[0].as_numpy().argmax(axis=1))
    await client.close()

asyncio.run(use())
"""


@pytest.mark.parametrize("binary", [True, False])
def test_kserve(server, floats, tmp_path, python, binary):
    """In a process of its own: kserve and tritonclient register the same protobuf names."""
    np.save(tmp_path / "images.npy", floats)
    ran = python("-W", "ignore", "-c", KSERVE, f"http://127.0.0.1:{server.port}", "images.npy", binary, cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert ran.out.splitlines()[-1] == "0 1 2 3 4 5 6 7 8 9"
