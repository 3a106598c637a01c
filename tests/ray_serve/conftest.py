"""One Ray instance for all tests, on this machine's loopback address, and the application in it."""

import importlib.util
import os
import secrets
import socket
import sys
import tempfile
import warnings
from pathlib import Path

import pytest

SERVE_TESTS = Path(__file__).parents[1] / "serve"
sys.path.insert(0, str(SERVE_TESTS))
pytest.register_assert_rewrite("served", "test_protocol")

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent to Ray's makers
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # there Ray listens on the loopback address alone; else on all
    "RAY_AUTH_TOKEN": secrets.token_hex(32),  # else one is written into the home folder
}
os.environ.update(ENVIRONMENT)  # before Ray is imported, which reads them then
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray's own
    import ray
    from ray import serve


def _fixtures_of_serve():
    spec = importlib.util.spec_from_file_location("serve_conftest", SERVE_TESTS / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_serve = _fixtures_of_serve()
echo_model, slow_model, digits, png = _serve.echo_model, _serve.slow_model, _serve.digits, _serve.png


def pytest_collection_modifyitems(items):
    """What Ray leaves open in its own processes and sockets is its affair."""
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("ignore::ResourceWarning"))
        item.add_marker(pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def cluster():
    """Ray with two processors, and Ray Serve; gives the port of its proxy."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:  # a short path, for sockets
        for tries_left in (2, 1, 0):
            try:
                ray.init(
                    address="local",
                    num_cpus=2,
                    include_dashboard=False,
                    log_to_driver=False,
                    object_store_memory=100 * 1024**2,
                    _temp_dir=folder,
                    _system_config={"metrics_report_interval_ms": 500},
                )
                break
            except Exception:  # on a busy machine its processes do not start within Ray's own 30 seconds
                ray.shutdown()
                if not tries_left:
                    raise
        try:
            serve.start(http_options={"host": "127.0.0.1", "port": port})
            yield port
        finally:
            serve.shutdown()
            ray.shutdown()


@pytest.fixture(scope="session")
def server(cluster, asset, echo_model, slow_model):
    """Two replicas that serve the models of tests/serve."""
    from served import Served

    from mnistkit.serve.ray import application

    models = {"mnist": asset, "echo": echo_model, "slow": slow_model}
    serve.run(application(models, replicas=2, cpus=0.5), name="oip")
    return Served(None, cluster, None, None)
