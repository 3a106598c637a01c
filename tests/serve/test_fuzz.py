"""Requests that nobody would send on purpose: never a 5xx, never a hang, and the right answer afterwards."""

import json
import sys
from pathlib import Path

import numpy as np
from served import tensor

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from serve_fuzz import fuzz


def resident(pid):
    """Memory of a process in MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4 / 1024


def test_a_short_fuzz(started, digits):
    with started("--receive-timeout", "2") as server:
        fuzz(server.port, count=200, seed=1)
        before = resident(server.process.pid)
        found = fuzz(server.port, count=1200, seed=2)
        assert found.bad == []
        assert found.statuses[400] > 400
        assert resident(server.process.pid) < before + 40
        floats = digits.reshape(10, 784).astype(np.float32) / np.float32(255)
        output = server.infer({"inputs": [tensor(floats)]}).json["outputs"][0]
        assert np.reshape(output["data"], output["shape"]).argmax(axis=1).tolist() == list(range(10))


def test_the_fuzz_can_fail():
    """Its twin: a server that answers 500 to everything is found out."""
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Broken(BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_error(500)

        def log_message(self, *_):
            pass

    broken = HTTPServer(("127.0.0.1", 0), Broken)
    thread = threading.Thread(target=broken.serve_forever)
    thread.start()
    try:
        assert fuzz(broken.server_port, count=30, seed=1).bad
    finally:
        broken.shutdown()
        thread.join()
        broken.server_close()


SCHEMATHESIS = """
import sys
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

url, examples = sys.argv[1], int(sys.argv[2])
schema = schemathesis.openapi.from_url(url + "/openapi.json")

@schema.parametrize()
@settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_api(case):
    # A schema cannot say that a shape and the numbers under it belong together, or that a digit is drawn on a picture,
    # so what the schema allows may be refused; all other checks hold.
    case.call_and_validate(base_url=url, timeout=30, excluded_checks=[positive_data_acceptance])
"""


def test_schemathesis(server, tmp_path, python):
    """The server does what its own OpenAPI document says, whatever is sent."""
    document = server.get("/openapi.json").json
    assert document["openapi"].startswith("3.")
    script = SCHEMATHESIS.replace("sys.argv[1]", repr(f"http://127.0.0.1:{server.port}"))
    (tmp_path / "test_api.py").write_text(script.replace("int(sys.argv[2])", "15"))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    ran = python("-m", "pytest", "-q", "-c", "pytest.ini", "test_api.py", cwd=tmp_path)
    assert ran.code == 0, ran.out[-6000:]
    assert "passed" in ran.out


def test_the_document_describes_every_route(server):
    document = server.get("/openapi.json").json
    text = json.dumps(document)
    for reference in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert reference in document["components"]["schemas"]
    assert {"/v2", "/predict", "/metrics", "/v2/models/{model}/infer"} <= set(document["paths"])
