"""The container of ``mnistkit serve``, as Kubernetes and KServe start it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mnistkit.publish.deploy.memory import Memory

IMAGE: Final = "mnistkit:latest"
"""What ``podman build -t mnistkit .`` makes of the Containerfile."""
PORT, ADMIN_PORT = 8000, 8001
GRACE, STOP_TIMEOUT = 10, 30
"""Seconds: ``--grace`` until every proxy of the cluster knows that the pod is not ready, then ``--stop-timeout``."""
PATIENCE: Final = GRACE + STOP_TIMEOUT + 10
"""``terminationGracePeriodSeconds``: Kubernetes kills the container when they are over."""
THREADS: Final = 1
"""Inside one operator. A container's limit hides no processors from onnxruntime, which would start one for each."""
USER: Final = 10001
"""Of the Containerfile; any other one but 0 will do."""


def resources(memory: Memory) -> dict[str, Any]:
    """What the container asks for, and gets at most; a second processor is for HTTP and for pictures."""
    return {
        "requests": {"cpu": str(THREADS), "memory": f"{memory.request}Mi"},
        "limits": {"cpu": str(THREADS + 1), "memory": f"{memory.limit}Mi"},
    }


def container_security() -> dict[str, Any]:
    """Of the container: no privileges, and nothing that it could write to."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def probe(path: str, port: str | int, *, period: int, failures: int) -> dict[str, Any]:
    """A question about health by HTTP."""
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": period,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }


def probes(port: str | int) -> dict[str, Any]:
    """All three: the model may take five minutes to load; a pod that hangs for a minute is started anew."""
    return {
        "startupProbe": probe("/v2/health/ready", port, period=2, failures=150),
        "livenessProbe": probe("/v2/health/live", port, period=10, failures=6),
        "readinessProbe": probe("/v2/health/ready", port, period=2, failures=2),
    }
