"""What Ray does with the replicas: kills, limits, a path of their own, the end, and numbers for Prometheus."""

import http.client
import json
import os
import signal
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import ray
from ray import serve
from served import Served, tensor, wait_for

CLIENTS, EACH = 8, 60


def replicas():
    """Processes of the replicas of this Ray instance, by their numbers."""
    import psutil  # Ray brings it along

    children = psutil.Process().children(recursive=True)
    return {child.pid for child in children if _title(child).startswith("ray::ServeReplica:oip:")}


def _title(process):
    import psutil

    try:
        return process.cmdline()[0]
    except (psutil.Error, IndexError):
        return ""


def ready_replicas():
    states = serve.status().applications["oip"].deployments["mnistkit"].replica_states
    return states.get("RUNNING", 0)


def persistent(server, document, deadline, model="mnist"):
    """Ask until there is an answer, as a client does whose requests may be repeated; also gives the tries."""
    tries = 0
    while True:
        assert time.monotonic() < deadline, "no answer in time"
        tries += 1
        try:
            reply = server.infer(document, model=model, timeout=60)
        except (OSError, http.client.HTTPException):
            reply = None
        # 500: Ray's proxy, for a request that was in the replica which died
        if reply is not None and reply.status not in {429, 500, 503}:
            return reply, tries
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_request_is_lost_when_a_replica_is_killed(server, digits, number):
    floats = digits.reshape(10, 784).astype(np.float32) / np.float32(255)
    documents = [{"id": str(digit), "inputs": [tensor(floats[digit : digit + 1])]} for digit in range(10)]
    slow = {"inputs": [tensor(np.full((1, 1024), 3.0), name="x")]}
    wait_for(lambda: ready_replicas() == 2)
    before = replicas()
    assert len(before) == 2
    victim, deadline = min(before), time.monotonic() + 300
    answered, killed = threading.Semaphore(0), threading.Event()

    def client(place):
        found = []
        for request in range(EACH):
            digit = (place + request) % 10
            reply, _ = persistent(server, documents[digit], deadline)
            found.append((digit, reply.status, reply.json["id"], np.argmax(reply.json["outputs"][0]["data"])))
            answered.release()
        return found

    def slow_client(_):
        found = []
        while not killed.is_set():  # some of them are in the replica when it dies
            reply, _ = persistent(server, slow, deadline, model="slow")
            found.append((reply.status, reply.json["outputs"][0]["data"][0]))
        return found

    with ThreadPoolExecutor(CLIENTS + 4) as pool:
        fast = [pool.submit(client, place) for place in range(CLIENTS)]
        others = [pool.submit(slow_client, place) for place in range(4)]
        for _ in range(CLIENTS * EACH // 4):
            answered.acquire()
        os.kill(victim, number)
        wait_for(lambda: victim not in replicas())
        killed.set()
        found = [row for job in fast for row in job.result()]
        slowly = [row for job in others for row in job.result()]
    assert len(found) == CLIENTS * EACH
    assert all(row == (row[0], 200, str(row[0]), row[0]) for row in found)
    assert set(slowly) == {(200, 3.0)}
    wait_for(lambda: ready_replicas() == 2 and len(replicas() - {victim}) == 2)


def test_requests_are_spread_over_the_replicas(server):
    def counted():
        agent = ray.nodes()[0]["MetricsExportPort"]
        text = urllib.request.urlopen(f"http://127.0.0.1:{agent}/metrics", timeout=30).read().decode()
        lines = [line for line in text.splitlines() if line.startswith("ray_mnistkit_requests_total{")]
        return [line for line in lines if 'http_route="infer"' in line and 'status="200"' in line]

    wait_for(lambda: server.infer({"inputs": [tensor(np.zeros((1, 784)))]}).status == 200 and len(counted()) >= 2)
    refused = server.get("/metrics")
    assert refused.status == 404  # one replica's numbers would look like those of all
    assert "Ray's own port" in refused.error


def test_one_request_id_and_the_clients_own(server):
    connection = server.connect()
    connection.request("GET", "/v2", headers={"X-Request-Id": "mine-1"})
    response = connection.getresponse()
    assert [value for name, value in response.getheaders() if name.lower() == "x-request-id"] == ["mine-1"]
    response.read()
    connection.close()
    assert server.get("/-/healthz").body == b"success"  # Ray's own


def test_limits_of_the_server_hold_behind_the_proxy(server):
    reply = server.post("/v2/models/mnist/infer", b"x" * (4 * 1024**2 + 1))
    assert reply.status == 413
    assert "4194304 bytes of JSON" in reply.error
    assert "see --allowed-hosts" in server.get("/v2", headers={"Host": "evil.example"}).error
    assert server.get("/nothing").status == 404
    assert server.post("/v2/repository/models/mnist/load", b"").status in {400, 403}


@pytest.fixture
def tight(server, slow_model):
    """Another application beside it, with a short queue, below a path of its own."""
    from mnistkit.serve import Settings
    from mnistkit.serve.ray import application

    built = application({"slow": slow_model}, cpus=0.5, settings=Settings(max_queue=1, access_log="none"))
    serve.run(built, name="tight", route_prefix="/tight")
    yield Served(None, server.port, None, None)
    serve.delete("tight")


SLOW = {"inputs": [tensor(np.full((1, 1024), 2.0), name="x")]}


def test_a_full_queue_a_path_of_its_own_and_the_end(tight):
    def ask(_):
        return tight.post("/tight/v2/models/slow/infer", SLOW, timeout=120)

    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(ask, range(16)))
    statuses = [reply.status for reply in replies]
    assert set(statuses) == {200, 429}
    refused = replies[statuses.index(429)]
    assert refused.headers["retry-after"] == "1"
    assert "expected at most 1" in refused.error

    # What is being answered when the application is taken away is answered.
    with ThreadPoolExecutor(1) as pool:
        last = pool.submit(tight.post, "/tight/v2/models/slow/infer", {**SLOW, "id": "last"}, timeout=120)
        time.sleep(0.05)
        serve.delete("tight")
        assert last.result().status == 200
    assert json.loads(last.result().body)["id"] == "last"
    wait_for(lambda: tight.get("/tight/v2").status == 404)
