"""A replica's application, called without Ray's proxy."""

import asyncio

import pytest

from mnistkit.serve import Settings
from mnistkit.serve.app import App
from mnistkit.serve.ray.replica import Front


def ask(front, method, path, received):
    sent = []

    async def receive():
        return received

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"x-request-id", b"1"), (b"content-length", b"5")]
    scope = {"type": "http", "method": method, "path": path, "headers": headers, "query_string": b"",
             "http_version": "1.1", "client": None}  # fmt: skip
    asyncio.run(front(scope, receive, send))
    return sent


@pytest.fixture
def app(asset):
    made = App(Settings(models=(("mnist", str(asset)),), device="cpu", access_log="none"))
    yield made
    made.close()


def test_a_body_that_a_dead_replica_took_is_asked_for_again(app):
    """Ray may hand a request on to another replica when a part of its body is gone; the client still waits."""
    start, _ = ask(Front(app), "POST", "/v2/models/mnist/infer", {"type": "http.disconnect"})
    assert start["status"] == 503


def test_the_request_id_is_left_to_the_proxy(app):
    start, body = ask(Front(app), "GET", "/v2/health/ready", {"type": "http.disconnect"})
    assert start["status"] == 200
    assert body["body"] == b'{"ready":true}'
    assert b"x-request-id" not in dict(start["headers"])


def test_the_health_check_is_the_readiness(app):
    front = Front(app)
    front.check()
    app.draining = True
    with pytest.raises(RuntimeError, match="not ready"):
        front.check()
