"""Kubernetes' objects of one server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mnistkit.publish.deploy.pods import (
    ADMIN_PORT,
    GRACE,
    PATIENCE,
    PORT,
    STOP_TIMEOUT,
    THREADS,
    USER,
    container_security,
    probes,
    resources,
)

if TYPE_CHECKING:
    from mnistkit.publish.deploy.memory import Memory
    from mnistkit.publish.deploy.model import ServedFile

_FEWEST, _MOST = 2, 10
_PERCENT = 70
"""Of the requested processor: at a higher load the time in the queue grows faster than new pods start."""
_MODELS: Final = "/models"


def deployment(
    served: ServedFile, label: str, memory: Memory, *, image: str, source: dict[str, Any] | None
) -> dict[str, Any]:
    """The pods. The autoscaler says how many, so nothing is said here.

    Args:
        served: The file.
        label: Name of the objects.
        memory: What the container needs.
        image: Of the container.
        source: The volume with the model; ``None`` where it is in the image.
    """
    mounts = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108  # of the container, and empty
    volumes: list[dict[str, Any]] = [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}]
    if source is not None:
        mounts.append({"name": "model", "mountPath": _MODELS, "readOnly": True})  # type: ignore[dict-item]
        volumes.append({"name": "model", **source})
    container = {
        "name": "mnistkit",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": arguments(served),
        "ports": [
            {"name": "http", "containerPort": PORT, "protocol": "TCP"},
            {"name": "admin", "containerPort": ADMIN_PORT, "protocol": "TCP"},
        ],
        **probes("admin"),
        "resources": resources(memory),
        "securityContext": container_security(),
        "volumeMounts": mounts,
    }
    pod = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": PATIENCE,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": _labels(label)},
            }
        ],
        "containers": [container],
        "volumes": volumes,
    }
    scraped = {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(ADMIN_PORT),
        "prometheus.io/path": "/metrics",
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(label),
        "spec": {
            "selector": {"matchLabels": _labels(label)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {"metadata": {"labels": _labels(label), "annotations": scraped}, "spec": pod},
        },
    }


def arguments(served: ServedFile) -> list[str]:
    """Flags of ``mnistkit serve``, which is the entry point of the image."""
    return [
        "--host=0.0.0.0",
        f"--port={PORT}",
        f"--admin-port={ADMIN_PORT}",
        f"--model={served.name}={_MODELS}/{served.name}.onnx",
        f"--threads={THREADS}",
        f"--grace={GRACE}",
        f"--stop-timeout={STOP_TIMEOUT}",
    ]


def service(label: str) -> dict[str, Any]:
    """One address for all pods."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(label),
        "spec": {
            "selector": _labels(label),
            "ports": [
                {"name": "http", "port": PORT, "targetPort": "http", "protocol": "TCP"},
                {"name": "admin", "port": ADMIN_PORT, "targetPort": "admin", "protocol": "TCP"},
            ],
        },
    }


def autoscaler(label: str) -> dict[str, Any]:
    """How many pods: more at once where the processors are busy, fewer after five quiet minutes."""
    target = {"type": "Utilization", "averageUtilization": _PERCENT}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": _metadata(label),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": label},
            "minReplicas": _FEWEST,
            "maxReplicas": _MOST,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
            "behavior": {
                "scaleUp": {"policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]},
                "scaleDown": {
                    "stabilizationWindowSeconds": 300,
                    "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
                },
            },
        },
    }


def disruption_budget(label: str) -> dict[str, Any]:
    """While machines are drained, one pod is missing at a time; one that is not ready anyway holds nothing up."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(label),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": _labels(label)},
        },
    }


def _labels(label: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": label}


def _metadata(label: str) -> dict[str, Any]:
    return {"name": label, "labels": _labels(label)}
