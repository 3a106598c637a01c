"""Files that ``kubectl apply`` takes: a server of one model, on as many machines as its load needs."""

from __future__ import annotations

import base64
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mnistkit.core.folders import check_folder, replacing_folder
from mnistkit.publish.deploy.kubernetes_objects import autoscaler, deployment, disruption_budget, service
from mnistkit.publish.deploy.memory import needed_memory
from mnistkit.publish.deploy.model import check_numeric, read_served_file
from mnistkit.publish.deploy.names import check_claim, check_image, object_name
from mnistkit.publish.deploy.pods import IMAGE
from mnistkit.publish.deploy.yaml_text import yaml_text

if TYPE_CHECKING:
    import os

    from mnistkit.publish.deploy.model import ServedFile

KIND: Final = "kubernetes"
LIST: Final = ".mnistkit-folder"
"""Not .json here: kubectl would take it for an object."""
MOST_IN_CONFIG_MAP: Final = 1_000_000
"""Bytes of a model; Kubernetes takes 1 MiB with the names."""
MONITORING: Final = Path(__file__).parent / "monitoring"


@dataclass(frozen=True, slots=True)
class KubernetesFolder:
    """What `kubernetes_folder` wrote.

    Attributes:
        path: The folder.
        name: Of all objects.
        files: Its files, relative to it.
        notes: What is left to do, one sentence each.
    """

    path: Path
    name: str
    files: tuple[str, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        return f"wrote {self.path}: {', '.join(self.files)}; kubectl apply --server-side -f {self.path}"

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {"folder": str(self.path), "name": self.name, "files": list(self.files), "notes": list(self.notes)}


def kubernetes_folder(
    model: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    name: str | None = None,
    image: str | None = None,
    claim: str | None = None,
) -> KubernetesFolder:
    """Write Deployment, Service, HorizontalPodAutoscaler and PodDisruptionBudget; an older folder is replaced.

    A model of up to 1 MB goes along as a ConfigMap, whose name has its digest: another model is rolled out as another
    image would be. A larger one lies on a PersistentVolumeClaim, or in the image at ``/models/NAME.onnx``.
    ``monitoring/`` has a Grafana dashboard and Prometheus rules.

    Args:
        model: An ``.onnx`` file, of mnistkit or not.
        folder: Where the files go.
        name: What clients call the model; the file's name by default. The objects have it as a DNS label.
        image: The container's image; by default `mnistkit:latest`, as the Containerfile makes it.
        claim: A PersistentVolumeClaim with the model file.

    Raises:
        ModelFileError: The file cannot be read, or takes or gives words, which `mnistkit serve` does not.
        ParityError: A golden pair is answered otherwise than at the export.
        InputError: A name, the image or the claim cannot be one.
        OutputError: The folder holds other things, or cannot be written.
    """
    check_kubernetes_folder(folder, name=Path(model).stem if name is None else name, image=image, claim=claim)
    served = read_served_file(model, name=name)
    check_numeric(served)
    label = object_name(served.name)
    kept = claim is None and not served.external and served.size <= MOST_IN_CONFIG_MAP
    config_map = f"{label}-{served.sha256[:10]}" if kept else None
    memory = needed_memory(served)
    source = _source(config_map, claim)
    objects = {
        "deployment": deployment(served, label, memory, image=image or IMAGE, source=source),
        "service": service(label),
        "horizontalpodautoscaler": autoscaler(label),
        "poddisruptionbudget": disruption_budget(label),
    }
    comments = {"deployment": f"Memory: {memory.reason}."}
    if config_map is not None:
        objects["configmap"] = _config_map(served, label, config_map)
    with replacing_folder(folder, kind=KIND, listing=LIST) as new:
        for kind, one in objects.items():
            comment = f"Written by `mnistkit export --kubernetes`.\n{comments.get(kind, '')}"
            (new / f"{kind}.yaml").write_text(yaml_text(one, comment=comment), encoding="utf-8", newline="\n")
        shutil.copytree(MONITORING, new / MONITORING.name, ignore=shutil.ignore_patterns("__pycache__", "*.py"))
    target = Path(folder)
    files = sorted(file.relative_to(target).as_posix() for file in target.rglob("*") if file.is_file())
    notes = _notes(served, label, image, claim, config_map=config_map)
    return KubernetesFolder(target, label, tuple(file for file in files if file != LIST), tuple(notes))


def check_kubernetes_folder(
    folder: str | os.PathLike[str], *, name: str, image: str | None = None, claim: str | None = None
) -> None:
    """Raise before a long export what `kubernetes_folder` would raise after it.

    Raises:
        InputError: A name, the image or the claim cannot be one.
        OutputError: The folder holds other things, or cannot be written.
    """
    object_name(name)
    if image is not None:
        check_image(image)
    if claim is not None:
        check_claim(claim)
    check_folder(folder, kind=KIND, listing=LIST)


def _source(config_map: str | None, claim: str | None) -> dict[str, Any] | None:
    """The volume with the model; ``None`` where it is in the image."""
    if config_map is not None:
        return {"configMap": {"name": config_map, "defaultMode": 0o444}}
    return {"persistentVolumeClaim": {"claimName": claim, "readOnly": True}} if claim else None


def _config_map(served: ServedFile, label: str, name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": label}},
        "immutable": True,
        "binaryData": {f"{served.name}.onnx": base64.b64encode(served.path.read_bytes()).decode()},
    }


def _notes(
    served: ServedFile, label: str, image: str | None, claim: str | None, *, config_map: str | None
) -> list[str]:
    notes = []
    if label != served.name:
        notes.append(f"the objects are named {label}; the model is served as {served.name}")
    if image is None:
        notes.append(f"the image is {IMAGE}: build it with the Containerfile, and name yours with --image")
    files = " and ".join([f"{served.path.name} as {served.name}.onnx", *(file.name for file in served.external)])
    if claim is not None:
        notes.append(f"put {files} at the top of the claim {claim}")
    elif config_map is None:
        notes.append(
            f"the model ({served.size / 1e6:.1f} MB) is too large for a ConfigMap: put {files} into the image, below "
            "/models, or name a PersistentVolumeClaim with --claim"
        )
    return notes
