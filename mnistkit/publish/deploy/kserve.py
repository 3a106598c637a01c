"""An InferenceService of KServe, for Triton or for mnistkit's own container: both load the folder of ``--triton``."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mnistkit.core.errors import InputError, OutputError
from mnistkit.core.files import check_writable, replacing
from mnistkit.publish.deploy.memory import needed_memory
from mnistkit.publish.deploy.model import check_numeric, read_served_file
from mnistkit.publish.deploy.names import check_image, check_storage_uri, object_name
from mnistkit.publish.deploy.pods import IMAGE, THREADS, container_security, probe, resources
from mnistkit.publish.deploy.yaml_text import yaml_text

if TYPE_CHECKING:
    import os

    from mnistkit.publish.deploy.memory import Memory

RUNTIMES: Final = ("mnistkit", "triton")
_FEWEST, _MOST = 1, 10
_PORT = 8080  # where KServe expects a server
_PLACE = "/mnt/models"  # where it puts what it loads
_TRITON = 1024  # MiB without a model; stated, not measured
_MARK = "# Written by `mnistkit export --kserve`; SHA-256 of the lines below: "


@dataclass(frozen=True, slots=True)
class InferenceServiceFile:
    """What `kserve_file` wrote.

    Attributes:
        path: The file.
        name: Of the InferenceService.
        runtime: ``"mnistkit"`` or ``"triton"``.
        storage_uri: From where KServe loads the model repository.
        notes: What is left to do, one sentence each.
    """

    path: Path
    name: str
    runtime: str
    storage_uri: str
    notes: tuple[str, ...]

    def __str__(self) -> str:
        return f"wrote {self.path}: InferenceService {self.name} on {self.runtime}; kubectl apply -f {self.path}"

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "file": str(self.path),
            "name": self.name,
            "runtime": self.runtime,
            "storage_uri": self.storage_uri,
            "notes": list(self.notes),
        }


def kserve_file(
    model: str | os.PathLike[str],
    file: str | os.PathLike[str],
    *,
    runtime: str = "mnistkit",
    name: str | None = None,
    image: str | None = None,
    storage_uri: str | None = None,
) -> InferenceServiceFile:
    """Write an InferenceService; a file that this function wrote is replaced, another one is not.

    Args:
        model: An ``.onnx`` file, of mnistkit or not.
        file: Where the YAML goes.
        runtime: ``"mnistkit"``, the container of the Containerfile, or ``"triton"``, KServe's ``kserve-tritonserver``.
        name: What clients call the model; the file's name by default. The InferenceService has it as a DNS label.
        image: The container's image, for ``"mnistkit"``; by default `mnistkit:latest`.
        storage_uri: Where the folder that `triton_repository` wrote lies; by default ``pvc://LABEL/repository``.

    Raises:
        ModelFileError: The file cannot be read, or the runtime does not take it.
        ParityError: A golden pair is answered otherwise than at the export.
        InputError: The runtime is unknown; or a name, the image or the URI cannot be one.
        OutputError: The file was changed or is another one, or cannot be written.
    """
    known = Path(model).stem if name is None else name
    check_kserve_file(file, runtime=runtime, name=known, image=image, storage_uri=storage_uri)
    served = read_served_file(model, name=name)
    label = object_name(served.name)
    place = storage_uri or f"pvc://{label}/repository"
    if runtime == "triton":
        from mnistkit.publish.deploy.triton_config import triton_types

        triton_types(served)
        memory = needed_memory(served, server=_TRITON)
        predictor = _triton(place, memory)
    else:
        check_numeric(served)
        memory = needed_memory(served)
        predictor = _container(place, memory, image or IMAGE)
    document = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": label, "labels": {"app.kubernetes.io/name": label}},
        "spec": {"predictor": {"minReplicas": _FEWEST, "maxReplicas": _MOST, **predictor}},
    }
    text = yaml_text(document, comment=f"Memory: {memory.reason}.")
    with replacing(file) as temporary:
        temporary.write_text(f"{_MARK}{_digest(text)}\n{text}", encoding="utf-8", newline="\n")
    notes = []
    if storage_uri is None:
        notes.append(
            f"the folder of `mnistkit export --triton` is expected at {place}; name another place with --storage-uri"
        )
    if runtime == "mnistkit" and image is None:
        notes.append(f"the image is {IMAGE}: build it with the Containerfile, and name yours with --image")
    return InferenceServiceFile(Path(file), label, runtime, place, tuple(notes))


def check_kserve_file(
    file: str | os.PathLike[str],
    *,
    runtime: str,
    name: str,
    image: str | None = None,
    storage_uri: str | None = None,
) -> None:
    """Raise before a long export what `kserve_file` would raise after it.

    Raises:
        InputError: The runtime is unknown; or a name, the image or the URI cannot be one.
        OutputError: The file was changed or is another one, or cannot be written.
    """
    if runtime not in RUNTIMES:
        raise InputError(f"--kserve-runtime: expected one of {', '.join(RUNTIMES)}, got {runtime!r}")
    object_name(name)
    if image is not None:
        if runtime != "mnistkit":
            raise InputError("--image is for the runtime mnistkit; KServe has an image of Triton's. Leave --image out")
        check_image(image)
    if storage_uri is not None:
        check_storage_uri(storage_uri)
    check_writable(file)
    path = Path(file)
    if not path.exists():
        return
    head, _, text = path.read_bytes().decode("utf-8", "replace").replace("\r\n", "\n").partition("\n")
    if head != f"{_MARK}{_digest(text)}":
        raise OutputError(
            f"{path} is another file, or was changed since it was written; move it away, or name a new one"
        )


def _container(storage_uri: str, memory: Memory, image: str) -> dict[str, Any]:
    """Our server. KServe loads what ``STORAGE_URI`` names, and ends a container 30 seconds after it has asked it to."""
    container = {
        "name": "kserve-container",
        "image": image,
        "args": [
            "--host=0.0.0.0",
            f"--port={_PORT}",
            f"--model-repository={_PLACE}",
            f"--threads={THREADS}",
            "--grace=5",
            "--stop-timeout=20",
        ],
        "env": [{"name": "STORAGE_URI", "value": storage_uri}, {"name": "PROTOCOL", "value": "v2"}],
        "ports": [{"name": "http1", "containerPort": _PORT, "protocol": "TCP"}],
        "livenessProbe": probe("/v2/health/live", _PORT, period=10, failures=6),
        "readinessProbe": probe("/v2/health/ready", _PORT, period=2, failures=2),
        "resources": resources(memory),
        "securityContext": container_security(),
    }
    return {"containers": [container]}


def _triton(storage_uri: str, memory: Memory) -> dict[str, Any]:
    model = {
        "modelFormat": {"name": "triton", "version": "2"},
        "runtime": "kserve-tritonserver",
        "protocolVersion": "v2",
        "storageUri": storage_uri,
        "resources": resources(memory),
    }
    return {"model": model}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
