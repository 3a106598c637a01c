"""What people get of an exported file beside the file itself: a page, a hub folder, a report, a smaller file.

And what several machines need to serve it (`mnistkit.publish.deploy`).
Everything here begins with an ``.onnx`` file and needs neither Keras nor a backend.
"""

from mnistkit.publish.deploy import (
    InferenceServiceFile,
    KubernetesFolder,
    TritonRepository,
    kserve_file,
    kubernetes_folder,
    triton_repository,
)
from mnistkit.publish.hub import HubFolder, hub_folder, verify_hub_folder
from mnistkit.publish.shrink import Candidate, Shrunk
from mnistkit.publish.web import WebFolder, web_folder

__all__ = [
    "Candidate",
    "HubFolder",
    "InferenceServiceFile",
    "KubernetesFolder",
    "Shrunk",
    "TritonRepository",
    "WebFolder",
    "hub_folder",
    "kserve_file",
    "kubernetes_folder",
    "triton_repository",
    "verify_hub_folder",
    "web_folder",
]
