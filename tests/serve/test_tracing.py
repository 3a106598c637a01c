"""Spans of OpenTelemetry, where they are asked for and nowhere else."""

import http.server
import importlib.util
import threading

import numpy as np
import pytest
from served import refused_start, tensor

from mnistkit.core.errors import InputError
from mnistkit.serve.tracing import tracing

ONE = {"inputs": [tensor(np.zeros((1, 784)))]}
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


class Collector(http.server.BaseHTTPRequestHandler):
    """Stands for an OpenTelemetry collector; keeps what it is sent."""

    def do_POST(self):
        self.server.received.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def collector():
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    made.received = []
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def test_each_request_is_a_span_below_its_parent(started, collector):
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}"}
    with started("--grace", "0", env=variables) as server:
        assert server.infer(ONE, headers={"traceparent": f"00-{TRACE}-{PARENT}-01"}).status == 200
        assert server.infer(ONE, headers={"traceparent": "nonsense"}).status == 200
        assert server.get("/v2/health/live").status == 200
        assert server.get("/nothing").status == 404
    spans = []
    for path, body in collector.received:
        assert path == "/v1/traces"
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            assert "mnistkit" in str(resource.resource)
            spans += [span for scope in resource.scope_spans for span in scope.spans]
    assert [span.name for span in spans] == ["POST infer", "POST infer", "GET other"]  # health is none
    assert spans[0].trace_id.hex() == TRACE
    assert spans[0].parent_span_id.hex() == PARENT
    assert spans[1].trace_id.hex() != TRACE
    attributes = {one.key: one.value for one in spans[0].attributes}
    assert attributes["http.response.status_code"].int_value == 200
    assert attributes["url.path"].string_value == "/v2/models/mnist/infer"
    assert spans[0].end_time_unix_nano > spans[0].start_time_unix_nano


def test_a_collector_that_is_away_holds_nobody_up(started):
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    with started("--grace", "0", env={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}) as server:
        assert server.infer(ONE).status == 200
        server.process.terminate()
        assert server.process.wait(20) == 0


def test_without_variables_nothing_is_loaded(python, asset, tmp_path):
    code = (
        "import sys; from mnistkit.serve.app import App; from mnistkit.serve.settings import Settings\n"
        f"App(Settings(models=(('m', {str(asset)!r}),), device='cpu', access_log='none')).close()\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    ran = python("-c", code, cwd=tmp_path)
    assert ran.code == 0, ran.out


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_SERVICE_NAME": "x"},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"},
    ],
)
def test_variables_that_ask_for_nothing(variables):
    assert tracing(variables) is None


def test_an_exporter_that_is_not_there_is_an_error(monkeypatch, tmp_path, caplog):
    find = importlib.util.find_spec
    if find("opentelemetry") and find("opentelemetry.sdk"):
        monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
        code, said = refused_start(tmp_path)
        assert code == 1
        assert "OTEL_TRACES_EXPORTER: expected otlp" in said
        with pytest.raises(InputError, match=r"expected otlp .* got zipkin"):
            tracing({"OTEL_TRACES_EXPORTER": "zipkin"})
        with pytest.raises(InputError, match="got otlp grpc"):
            tracing({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if "opentelemetry" in name else find(name))
    assert tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}) is None
    assert "OpenTelemetry's SDK is not installed; run `pip install" in caplog.text
