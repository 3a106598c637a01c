"""A folder of models in Triton's layout, and the API that loads and unloads them."""

import asyncio
import gc
import json
import shutil
import weakref

import httpx
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from served import refused_start, tensor, wait_for
from tritonclient.utils import InferenceServerException

from mnistkit.core.errors import InputError, ModelFileError
from mnistkit.serve.app import App
from mnistkit.serve.asgi import ASGI
from mnistkit.serve.models import Models
from mnistkit.serve.repository import Decisions, Repository, parse_text_format
from mnistkit.serve.settings import Settings

ONE = {"inputs": [tensor(np.zeros((1, 784)))]}
ECHO = {"inputs": [tensor(np.ones((1, 2)), name="x"), tensor([7], name="number", datatype="INT64")]}


@pytest.fixture
def folder(tmp_path, asset, echo_model):
    """``a`` in versions 1 and 3 (another model), ``b`` in version 2."""
    folder = tmp_path / "models"
    for name, version, file in (("a", "1", echo_model), ("a", "3", asset), ("b", "2", echo_model)):
        place = folder / name / version
        place.mkdir(parents=True)
        shutil.copy(file, place / "model.onnx")
    (folder / "a" / "0").mkdir()
    (folder / "a" / "notes").mkdir()
    (folder / ".hidden").mkdir()
    (folder / "README").write_text("text")
    return folder


def policy(folder, text, name="a"):
    (folder / name / "config.pbtxt").write_text(text)
    return list(Repository(str(folder)).versions(name))


def test_names_and_versions_are_those_of_the_folders(folder):
    repository = Repository(str(folder))
    assert repository.names() == ["a", "b"]
    assert repository.versions("a") == {"3": str(folder / "a/3/model.onnx")}


@pytest.mark.parametrize(
    ("text", "versions"),
    [
        ("", ["3"]),
        ('name: "a"\nplatform: "onnxruntime_onnx" # a comment\nmax_batch_size: 8', ["3"]),
        ("version_policy: { all { } }", ["1", "3"]),
        ("version_policy { latest: { num_versions: 2 } }", ["1", "3"]),
        ("version_policy { latest < num_versions: 1 > }", ["3"]),
        ("version_policy: { specific: { versions: [1, 2] } }", ["1"]),
        ("version_policy: { specific { versions: 1 versions: 3 } }", ["1", "3"]),
        ('input [ { name: "x", dims: [ -1, 784 ] } ] backend: "onnxruntime"', ["3"]),
    ],
)
def test_the_version_policy_of_a_config(folder, text, versions):
    assert policy(folder, text) == versions


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name: "other"', "name: expected a, got other"),
        ('platform: "tensorflow_savedmodel"', "platform: expected onnxruntime_onnx"),
        ("version_policy { specific { versions: [9] } }", "got no version to serve"),
        ("version_policy { latest { num_versions: -1 } }", "got no version to serve"),
        ("version_policy { newest { } }", "version_policy: expected"),
        ("version_policy { latest { num_versions: many } }", "version_policy: expected"),
        ('default_model_filename: "../../secret.onnx"', "expected a file's name"),
        ("name: ", "expected protobuf's text format"),
        ("version_policy { all { }", "expected protobuf's text format"),
        ("}", "expected protobuf's text format"),
        ('name: "a', "expected protobuf's text format"),
        ("a{" * 100_000, "expected protobuf's text format"),
    ],
)
def test_a_config_that_asks_for_what_is_not_served(folder, text, message):
    with pytest.raises(ModelFileError, match=message):
        policy(folder, text)


def test_text_format():
    assert parse_text_format('a: 1 b { c: "x\\"y" } b < c: -2.5 > d: [1, 2,]', "f") == {
        "a": ["1"], "b": [{"c": ['x"y']}, {"c": ["-2.5"]}], "d": ["1", "2"],
    }  # fmt: skip


def test_a_folder_with_a_name_that_cannot_be_served(folder, tmp_path):
    (folder / "a b").mkdir()
    with pytest.raises(InputError, match="got 'a b'"):
        Repository(str(folder)).names()
    code, said = refused_start(tmp_path, "--model-repository", tmp_path / "none")
    assert code == 1
    assert "none cannot be read" in said


def test_a_name_is_given_once(folder, asset):
    with pytest.raises(InputError, match="--model a: expected another name"):
        Models(settings(folder, models=(("a", str(asset)),)), observe=lambda *_: None)


def settings(folder, **options):
    return Settings(model_repository=str(folder), device="cpu", access_log="none", **options)


def talk(folder, story, **options):
    """Run ``story(client, app)`` against an application without any server."""

    async def run():
        app = App(settings(folder, **options))
        transport = httpx.ASGITransport(ASGI(app))
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await story(client, app)
        finally:
            app.close()

    return asyncio.run(run())


def test_several_versions_of_one_name_at_once(folder, png):
    policy(folder, "version_policy { all { } }")

    async def story(client, _):
        metadata = (await client.get("/v2/models/a")).json()
        assert metadata["versions"] == ["1", "3"]
        assert metadata["inputs"][0]["name"] == "image"  # the newest version's
        assert (await client.get("/v2/models/a/versions/1")).json()["inputs"][0]["name"] == "x"
        newest = await client.post("/v2/models/a/infer", json=ONE)
        first = await client.post("/v2/models/a/versions/1/infer", json=ECHO)
        assert (newest.json()["model_version"], first.json()["model_version"]) == ("3", "1")
        assert first.json()["outputs"][0]["data"] == [2, 2]
        missing = await client.post("/v2/models/a/versions/2/infer", json=ONE)
        assert missing.status_code == 404
        assert "version of a: expected 1, 3, got '2'" in missing.json()["error"]
        assert (await client.post("/predict", content=png(4))).json()["predictions"][0]["digit"] == 4
        described = (await client.get("/openapi.json")).json()
        assert "/v2/repository/models/{model}/load" in described["paths"]
        assert (await client.get("/v2")).json()["extensions"] == ["binary_tensor_data", "model_repository"]

    talk(folder, story)


def test_load_unload_and_index(folder, asset):
    async def story(client, app):
        async def index(**body):
            found = (await client.post("/v2/repository/index", json=body)).json()
            return [(entry["name"], entry["version"], entry["state"]) for entry in found]

        assert await index() == [("a", "3", "READY"), ("b", "2", "READY")]
        assert (await client.post("/v2/repository/models/b/unload")).status_code == 200
        assert (await client.get("/v2/models/b")).status_code == 404
        assert (await client.get("/v2/models/b/ready")).status_code == 404
        assert await index() == [("a", "3", "READY"), ("b", "", "UNAVAILABLE")]
        assert await index(ready=True) == [("a", "3", "READY")]
        await app.reload()  # SIGHUP brings nothing back that was unloaded
        assert (await client.get("/v2/models/b")).status_code == 404

        new = folder / "b" / "5"
        new.mkdir()
        shutil.copy(asset, new / "model.onnx")
        assert (await client.post("/v2/repository/models/b/load", json={"parameters": {}})).status_code == 200
        assert await index() == [("a", "3", "READY"), ("b", "5", "READY")]
        assert (await client.post("/v2/models/b/infer", json=ONE)).json()["model_version"] == "5"

        (new / "model.onnx").write_bytes(b"half a file")
        refused = await client.post("/v2/repository/models/b/load")
        assert refused.status_code == 400
        assert "b/5/model.onnx" in refused.json()["error"]
        assert str(folder) not in refused.json()["error"]
        assert (await client.post("/v2/models/b/infer", json=ONE)).status_code == 200  # as it was

        (folder / "c" / "1").mkdir(parents=True)
        shutil.copy(asset, folder / "c" / "1" / "model.onnx")
        await app.reload()
        assert ("c", "1", "READY") in await index()
        shutil.rmtree(folder / "c")
        await app.reload()
        assert (await client.get("/v2/models/c")).status_code == 404
        away = folder.with_name("away")
        folder.rename(away)
        await app.reload()
        assert (await client.post("/v2/models/a/infer", json=ONE)).status_code == 200  # a disk that is away for a while
        assert (await client.post("/v2/repository/models/a/load")).status_code == 503

    talk(folder, story)


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("models/none/load", None, "expected the name of one in the repository, got 'none'"),
        ("models/none/unload", None, "expected the name of one in the repository"),
        ("models/README/load", None, "expected the name of one in the repository"),
        ("models/.hidden/load", None, "expected the name of one in the repository"),
        ("models/own/unload", None, "expected the name of one in the repository"),
        ("models/a/load", {"parameters": {"config": "{}"}}, "parameters: expected none, got 'config'"),
        ("models/a/load", {"parameters": [1]}, "parameters: expected an object"),
        ("models/a/load", [], "expected a JSON object"),
        ("index", {"ready": "yes"}, "ready: expected true or false"),
    ],
)
def test_what_the_api_refuses(folder, asset, path, body, message):
    async def story(client, _):
        reply = await client.post(f"/v2/repository/{path}", content=None if body is None else json.dumps(body))
        assert reply.status_code == 400
        assert message in reply.json()["error"]

    talk(folder, story, models=(("own", str(asset)),))


def test_without_a_repository_nothing_can_be_loaded(asset):
    async def story(client):
        assert (await client.post("/v2/repository/models/mnist/load")).status_code == 400
        assert len((await client.post("/v2/repository/index")).json()) == 1

    async def run():
        app = App(Settings(models=(("mnist", str(asset)),), device="cpu", access_log="none"))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(ASGI(app)), base_url="http://localhost") as client:
            await story(client)
        app.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("options", "headers", "status"),
    [
        ({}, {}, 200),
        ({"uds": "/run/x"}, {}, 200),
        ({"host": "0.0.0.0"}, {}, 403),  # noqa: S104 - what is tested
        ({"proxy_headers": True}, {}, 403),
        ({"host": "0.0.0.0", "token": True}, {"authorization": "Bearer s3cret"}, 200),  # noqa: S104
        ({"token": True}, {}, 401),
    ],
)
def test_who_may_load_and_unload(folder, tmp_path, options, headers, status):
    options = dict(options)
    if options.pop("token", False):
        (tmp_path / "token").write_text("s3cret")
        options["token_file"] = str(tmp_path / "token")

    async def story(client, _):
        reply = await client.post("/v2/repository/models/b/unload", headers=headers)
        assert reply.status_code == status
        left = await client.get("/v2/models/b", headers=headers)
        assert left.status_code == {200: 404, 403: 200, 401: 401}[status]

    talk(folder, story, **options)


def test_a_model_that_is_unloaded_is_freed(folder):
    models = Models(settings(folder), observe=lambda *_: None)
    model = weakref.ref(models.get("b"))
    models.unloaded.add("b")
    gc.disable()
    try:
        models.apply(models.prepare("b"))
        assert model() is None
    finally:
        gc.enable()
        for left in models:
            left.batcher.close()


def test_a_request_that_was_being_read_when_its_model_went_is_answered(folder):
    async def story(client, app):
        model = app.models.get("b")
        await client.post("/v2/repository/models/b/unload")
        feeds = {"x": np.ones((1, 2), np.float32), "number": np.zeros(1, np.int64)}
        outputs = await model.batcher.submit(feeds, rows=1, deadline=1e12)
        assert outputs["y"].tolist() == [[2, 2]]

    talk(folder, story)


def test_watch_finds_a_new_version(folder, asset):
    async def story(client, app):
        app.start()
        new = folder / "b" / "7"
        new.mkdir()
        shutil.copy(asset, new / "model.onnx")
        while (await client.get("/v2/models/b")).json()["versions"] != ["7"]:  # noqa: ASYNC110 - a client has no event
            await asyncio.sleep(0.05)

    talk(folder, story, watch=True)


def test_workers_tell_each_other(tmp_path):
    first, second = Decisions(tmp_path), Decisions(tmp_path)
    assert second.news() == {}
    first.note("a", load=False)
    first.note("b", load=True)
    assert second.news() == {"a": False, "b": True}
    assert second.news() == first.news() == {}
    second.note("a", load=True)
    assert first.news() == {"a": True}
    assert Decisions(tmp_path).news() == {"a": True, "b": True}  # a worker that was started anew
    assert Decisions(None).news() == {}


def test_triton_clients_load_and_unload_in_all_workers(started, folder):
    with started("--model-repository", folder, "--grpc-port", "0", "--workers", "2") as server:
        client = tritonclient.http.InferenceServerClient(f"127.0.0.1:{server.port}")
        with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{server.grpc_port}") as rpc:
            assert [model.name for model in rpc.get_model_repository_index().models] == ["a", "b"]
            assert [entry["name"] for entry in client.get_model_repository_index()] == ["a", "b"]
            rpc.unload_model("b")
            with pytest.raises(InferenceServerException, match="expected the name of one in the repository"):
                rpc.load_model("nothing")
            with pytest.raises(InferenceServerException, match="parameters: expected none"):
                client.load_model("b", config="{}")
        client.close()

        def workers(event):
            return {line["pid"] for line in server.events() if (line.get("event"), line.get("model")) == (event, "b")}

        wait_for(lambda: len(workers("unloaded")) == 2)
        assert server.get("/v2/models/b/ready").status == 404
        client = tritonclient.http.InferenceServerClient(f"127.0.0.1:{server.port}")
        client.load_model("b")
        client.close()
        wait_for(lambda: workers("reloaded") == workers("unloaded"))
        assert server.infer(ECHO, model="b").json["model_version"] == "2"
