"""The same application under an ASGI server, and inside another application."""

import asyncio
import json
import subprocess
import sys
import time

import httpx
import numpy as np
import pytest
from served import ROOT, binary_body, tensor

from mnistkit.serve.app import App
from mnistkit.serve.asgi import ASGI
from mnistkit.serve.settings import Settings

ONE = {"inputs": [tensor(np.zeros((1, 784)))]}


def ask(asset, *requests, **options):
    """Answers of an application that is called without any server."""

    async def run():
        app = App(Settings(models=(("mnist", str(asset)),), device="cpu", access_log="none", **options))
        transport = httpx.ASGITransport(ASGI(app))
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return [await client.request(method, path, **rest) for method, path, rest in requests]
        finally:
            app.close()

    return asyncio.run(run())


def test_requests_and_their_answers(asset, png):
    body, headers = binary_body(np.zeros((2, 784), np.float32))
    found = ask(
        asset,
        ("GET", "/v2/health/live", {}),
        ("POST", "/v2/models/mnist/infer", {"json": ONE}),
        ("POST", "/v2/models/mnist/infer", {"content": body, "headers": headers}),
        ("POST", "/predict", {"content": png(7), "headers": {"content-type": "image/png"}}),
        ("POST", "/v2/models/mnist/infer", {"content": iter_bytes(json.dumps(ONE).encode())}),
        ("HEAD", "/v2", {}),
    )
    assert [reply.status_code for reply in found] == [200] * 6
    assert found[0].json() == {"live": True}
    assert len(found[1].json()["outputs"][0]["data"]) == 10
    assert found[2].headers["inference-header-content-length"]
    assert found[3].json()["predictions"][0]["digit"] == 7
    assert found[5].content == b""


async def iter_bytes(content):
    for start in range(0, len(content), 1000):
        yield content[start : start + 1000]


def test_limits_hold_there_too(asset):
    found = ask(
        asset,
        ("POST", "/v2/models/mnist/infer", {"content": b" " * 3000}),
        ("POST", "/v2/models/mnist/infer", {"content": iter_bytes(b" " * 3000)}),
        ("GET", "/v2", {"headers": {"host": "evil.example"}}),
        ("GET", "/v2", {"headers": {f"x-{number}": "y" for number in range(120)}}),
        ("GET", "/nothing", {}),
        max_body=2000,
    )
    assert [reply.status_code for reply in found] == [413, 413, 400, 431, 404]


def test_under_uvicorn(tmp_path, asset):
    (tmp_path / "served_app.py").write_text(
        "from mnistkit.serve.app import App\n"
        "from mnistkit.serve.asgi import ASGI\n"
        "from mnistkit.serve.settings import Settings\n"
        f"app = ASGI(App(Settings(models=(('mnist', {str(asset)!r}),), device='cpu')))\n"
    )
    command = [sys.executable, "-m", "uvicorn", "served_app:app", "--port", "0", "--lifespan", "on"]
    with (tmp_path / "talk").open("wb") as stderr:
        process = subprocess.Popen(command, cwd=tmp_path, stderr=stderr, env={**environ(), "PYTHONPATH": str(ROOT)})
    try:
        deadline = time.monotonic() + 60
        while "running on" not in (talk := (tmp_path / "talk").read_text()):
            assert process.poll() is None, talk
            assert time.monotonic() < deadline, talk
            time.sleep(0.05)
        base = talk.partition("running on ")[2].split()[0]
        assert httpx.post(f"{base}/v2/models/mnist/infer", json=ONE).status_code == 200
        assert httpx.get(f"{base}/metrics").status_code == 200
        assert httpx.get(f"{base}/nothing").status_code == 404
        process.terminate()
        process.wait(30)
        assert "Traceback" not in (tmp_path / "talk").read_text()
        assert '"path":"/metrics","status":200' in (tmp_path / "talk").read_text()
    finally:
        process.kill()
        process.wait()


def environ():
    import os

    return dict(os.environ)


@pytest.mark.parametrize("asked", ["/v2/health/live", "/nothing"])
def test_mounted_below_a_path(asset, asked):
    async def run():
        app = App(Settings(models=(("mnist", str(asset)),), device="cpu", access_log="none"))
        sent = []

        async def receive():
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": f"/digits{asked}", "root_path": "/digits", "headers":
                 [(b"host", b"localhost")], "query_string": b"", "http_version": "1.1", "client": None}  # fmt: skip
        await ASGI(app)(scope, receive, send)
        app.close()
        return sent[0]["status"]

    assert asyncio.run(run()) == (200 if asked.startswith("/v2") else 404)


@pytest.mark.parametrize("first", [3, 0])  # 0: the one that runs them all is given up
def test_small_requests_of_one_turn_share_a_run_and_get_their_own_answers(asset, digits, first):
    floats = digits.reshape(10, 784).astype(np.float32) / np.float32(255)

    async def run():
        app = App(Settings(models=(("mnist", str(asset)),), device="cpu", access_log="none", inline_ms=1e6))
        model = app.models.get("mnist")
        sizes, plain = [], model.batcher._run

        def counting(feeds):
            sizes.append(len(feeds["image"]))
            return plain(feeds)

        model.batcher._run = counting

        def share(images):
            return asyncio.create_task(model.batcher.share({"image": images}, rows=len(images)))

        asked = [share(floats[number : number + 1]) for number in range(10)]
        asked += [share(np.zeros((40, 784), np.float32))]  # over --max-batch: alone
        asked += [share(np.zeros((1, 3), np.float32)), share(floats[:1])]  # the first of them is wrong
        await asyncio.sleep(0)
        for left in {3, first}:
            asked[left].cancel()  # their clients have gone
        found = await asyncio.gather(*asked, return_exceptions=True)
        here = [place for place in range(10) if place not in {3, first}]
        assert [found[place]["probabilities"].argmax() for place in here] == here
        assert len(found[10]["probabilities"]) == 40
        assert isinstance(found[11], Exception)
        assert found[12]["probabilities"].argmax() == 0
        assert sizes == [len(here), 40, 1, 1]
        assert all(isinstance(found[left], asyncio.CancelledError) for left in {3, first})
        app.close()

    asyncio.run(run())
