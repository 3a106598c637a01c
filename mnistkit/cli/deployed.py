"""The flags of ``mnistkit export`` that write what Triton, KServe and Kubernetes need; see `mnistkit.cli.published`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from mnistkit.publish.deploy import InferenceServiceFile, KubernetesFolder, TritonRepository

TRITON_OPTIONS: dict[str, dict[str, Any]] = {
    "--triton-version": {
        "type": int,
        "metavar": "N",
        "help": "with --triton: number of this version; others in the model's folder stay (default: 1)",
    },
}
KSERVE_OPTIONS: dict[str, dict[str, Any]] = {
    "--kserve-runtime": {
        "choices": ("mnistkit", "triton"),
        "help": "with --kserve: the container that serves, mnistkit's own or KServe's kserve-tritonserver "
        "(default: mnistkit)",
    },
    "--storage-uri": {
        "metavar": "URI",
        "help": "with --kserve: where the folder of --triton lies, such as s3://BUCKET/FOLDER "
        "(default: pvc://NAME/repository)",
    },
}
KUBERNETES_OPTIONS: dict[str, dict[str, Any]] = {
    "--claim": {
        "metavar": "NAME",
        "help": "with --kubernetes: PersistentVolumeClaim with the model file (default: a ConfigMap up to 1 MB, else "
        "the image)",
    },
}
SHARED: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "--name": (
        ("triton", "kserve", "kubernetes"),
        {
            "metavar": "NAME",
            "help": "with --triton, --kserve, --kubernetes: what clients call the model (default: the file's name)",
        },
    ),
    "--image": (
        ("kserve", "kubernetes"),
        {
            "metavar": "IMAGE",
            "help": "with --kserve, --kubernetes: the image (default: mnistkit:latest, of the Containerfile)",
        },
    ),
}
"""Flags that belong to several kinds, with their names."""


def check_triton(options: argparse.Namespace) -> None:
    """See `mnistkit.publish.deploy.triton.check_triton_repository`."""
    from mnistkit.publish.deploy.triton import check_triton_repository

    check_triton_repository(options.triton, name=_name(options), version=_version(options))


def make_triton(options: argparse.Namespace, file: Path, _: Path | None) -> TritonRepository:
    """Write a model repository."""
    from mnistkit.publish.deploy import triton_repository

    made = triton_repository(file, options.triton, name=_name(options), version=_version(options))
    _tell(options, made.notes)
    return made


def check_kserve(options: argparse.Namespace) -> None:
    """See `mnistkit.publish.deploy.kserve.check_kserve_file`."""
    from mnistkit.publish.deploy.kserve import check_kserve_file

    check_kserve_file(
        options.kserve,
        runtime=options.kserve_runtime or "mnistkit",
        name=_name(options),
        image=_kserve_image(options),
        storage_uri=options.storage_uri,
    )


def make_kserve(options: argparse.Namespace, file: Path, _: Path | None) -> InferenceServiceFile:
    """Write an InferenceService."""
    from mnistkit.publish.deploy import kserve_file

    made = kserve_file(
        file,
        options.kserve,
        runtime=options.kserve_runtime or "mnistkit",
        name=_name(options),
        image=_kserve_image(options),
        storage_uri=options.storage_uri,
    )
    _tell(options, made.notes)
    return made


def check_kubernetes(options: argparse.Namespace) -> None:
    """See `mnistkit.publish.deploy.kubernetes.check_kubernetes_folder`."""
    from mnistkit.publish.deploy.kubernetes import check_kubernetes_folder

    check_kubernetes_folder(options.kubernetes, name=_name(options), image=options.image, claim=options.claim)


def make_kubernetes(options: argparse.Namespace, file: Path, _: Path | None) -> KubernetesFolder:
    """Write Kubernetes' objects."""
    from mnistkit.publish.deploy import kubernetes_folder

    made = kubernetes_folder(file, options.kubernetes, name=_name(options), image=options.image, claim=options.claim)
    _tell(options, made.notes)
    return made


def _tell(options: argparse.Namespace, notes: Sequence[str]) -> None:
    for note in () if options.quiet else notes:
        print(f"mnistkit: {note}", file=sys.stderr)


def _kserve_image(options: argparse.Namespace) -> str | None:
    """The image, unless it can only be meant for ``--kubernetes``."""
    is_others = options.kserve_runtime == "triton" and options.kubernetes is not None
    return None if is_others else options.image


def _version(options: argparse.Namespace) -> int:
    return 1 if options.triton_version is None else int(options.triton_version)


def _name(options: argparse.Namespace) -> str:
    """What the model is called: the same whether ``--shrink`` finds a smaller file or not."""
    if options.name is not None:
        return str(options.name)
    named = options.out if options.out is not None else options.model
    return Path(named).stem
