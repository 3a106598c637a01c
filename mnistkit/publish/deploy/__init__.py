"""What several machines need to serve a file: a Triton model repository, Kubernetes objects, a KServe InferenceService.

    model        the file, and what these need to know of it
    names        names that Triton and Kubernetes take
    triton       the repository; triton_config, triton_batch and triton_warmup are its parts
    pods         the container as the server wants it, for Kubernetes and KServe alike
    memory       how much memory to ask for, measured
    kubernetes   Deployment, Service, HorizontalPodAutoscaler, PodDisruptionBudget, ConfigMap
    kserve       InferenceService
    text_format, yaml_text   protobuf's text format and YAML, written
    monitoring/  a Grafana dashboard and Prometheus rules, for the metrics of the server

Both texts are written here and not by protobuf or PyYAML: what is written is a small part of either format, and so
these exports need nothing that serving itself does not need. The tests read the results with protobuf and PyYAML.
"""

from mnistkit.publish.deploy.kserve import RUNTIMES, InferenceServiceFile, kserve_file
from mnistkit.publish.deploy.kubernetes import KubernetesFolder, kubernetes_folder
from mnistkit.publish.deploy.triton import TritonRepository, triton_repository

__all__ = [
    "RUNTIMES",
    "InferenceServiceFile",
    "KubernetesFolder",
    "TritonRepository",
    "kserve_file",
    "kubernetes_folder",
    "triton_repository",
]
