"""The InferenceService of ``mnistkit export --kserve``, held against KServe's own classes, and all flags together."""

import json
import re
import shlex
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from deploying import KUBERNETES, TUTORIAL, mebibytes, not_measured, objects, one_node, served_with, two_inputs

from mnistkit.core.errors import InputError, ModelFileError, OutputError
from mnistkit.publish import kserve_file


@pytest.fixture(scope="module", autouse=True)
def measured():
    """Measuring takes a second; tests/serve/test_kubernetes.py does it for real."""
    yield from not_measured()


@pytest.fixture(scope="module")
def inference_service(tmp_path_factory, python):
    """Read an InferenceService; each field has to be one of KServe's own classes, and of its type."""
    ran = python(Path(__file__).with_name("kserve_fields.py"), cwd=tmp_path_factory.mktemp("kserve"))
    assert ran.code == 0, ran.err
    classes = json.loads(ran.out)

    def read(path):
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        _check_fields(document, "V1beta1InferenceService", classes, "")
        return document

    return read


def _check_fields(value, kind, classes, place):
    """Hold a value against the type that a generated class gives a field.

    Raises:
        ValueError: The class has no such field, or it is of another type.
    """
    if inner := re.fullmatch(r"(?:list|dict)[\[(](?:str, )?(\w+)[\])]", kind, re.IGNORECASE):
        for one in value.values() if isinstance(value, dict) else value:
            _check_fields(one, inner[1], classes, place)
        return
    if kind not in classes:
        if not isinstance(value, {"str": str, "int": int, "bool": bool, "object": object}[kind]):
            raise ValueError(f"{place}: expected {kind}, got {value!r}")
        return
    for name, one in value.items():
        if name not in classes[kind]:
            raise ValueError(f"{place}.{name}: {kind} has no such field")
        _check_fields(one, classes[kind][name], classes, f"{place}.{name}")


def as_pod(predictor):
    """The pod that a custom predictor is, for Kubernetes' schema."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": predictor["containers"]},
    }


@pytest.mark.parametrize("make", [lambda _: TUTORIAL, lambda path: two_inputs(path / "two.onnx")])
def test_our_own_container_on_kserve(tmp_path, make, inference_service):
    model = make(tmp_path)
    made = kserve_file(model, tmp_path / "service.yaml", storage_uri="s3://models/all", image="r.example.com/m:1")
    assert made.notes == ()
    document = inference_service(tmp_path / "service.yaml")
    assert document["metadata"]["name"] == model.stem
    predictor = document["spec"]["predictor"]
    kubernetes_validate.validate(as_pod(predictor), KUBERNETES, strict=True)
    (container,) = predictor["containers"]
    assert container["name"] == "kserve-container"
    assert {one["name"]: one["value"] for one in container["env"]} == {
        "STORAGE_URI": "s3://models/all",
        "PROTOCOL": "v2",
    }
    settings = served_with(container)
    assert settings.model_repository == "/mnt/models"
    assert settings.grace + settings.stop_timeout < 30  # Kubernetes' own patience
    assert [port["containerPort"] for port in container["ports"]] == [settings.port] == [8080]
    assert container["readinessProbe"]["httpGet"] == {"path": "/v2/health/ready", "port": 8080}


def test_triton_on_kserve(tmp_path, inference_service):
    made = kserve_file(TUTORIAL, tmp_path / "service.yaml", runtime="triton", name="Digits.v2")
    (note,) = made.notes
    assert "is expected at pvc://digits-v2/repository; name another place with --storage-uri" in note
    model = inference_service(tmp_path / "service.yaml")["spec"]["predictor"]["model"]
    assert model["runtime"] == "kserve-tritonserver"
    assert (model["protocolVersion"], model["storageUri"]) == ("v2", "pvc://digits-v2/repository")
    assert mebibytes(model["resources"]["requests"]["memory"]) >= 1024
    with pytest.raises(ModelFileError, match="Triton does not take"):
        kserve_file(one_node(tmp_path / "x.onnx", shape=()), tmp_path / "x.yaml", runtime="triton")


def test_the_classes_of_kserve_do_find_what_is_wrong(tmp_path, inference_service):
    kserve_file(TUTORIAL, tmp_path / "service.yaml", runtime="triton")
    text = (tmp_path / "service.yaml").read_text()
    (tmp_path / "wrong.yaml").write_text(text.replace("storageUri", "storageURI"))
    with pytest.raises(ValueError, match="storageURI: V1beta1ModelSpec has no such field"):
        inference_service(tmp_path / "wrong.yaml")


def test_a_file_of_somebody_else_stays(tmp_path):
    path = tmp_path / "service.yaml"
    kserve_file(TUTORIAL, path)
    kserve_file(TUTORIAL, path, runtime="triton")
    path.write_text(path.read_text().replace("maxReplicas: 10", "maxReplicas: 20"))
    with pytest.raises(OutputError, match="is another file, or was changed since it was written"):
        kserve_file(TUTORIAL, path)
    assert "20" in path.read_text()
    path.write_text("kind: Ingress\n")
    with pytest.raises(OutputError, match="is another file"):
        kserve_file(TUTORIAL, path)


@pytest.mark.parametrize(("options", "told"), [
    ({"runtime": "torchserve"}, "--kserve-runtime: expected one of mnistkit, triton"),
    ({"storage_uri": "/mnt"}, "--storage-uri: expected one such as s3://"),
    ({"runtime": "triton", "image": "x"}, "--image is for the runtime mnistkit"),
])  # fmt: skip
def test_what_kserve_cannot_have(tmp_path, options, told):
    with pytest.raises(InputError) as raised:
        kserve_file(TUTORIAL, tmp_path / "service.yaml", **options)
    assert told in str(raised.value)


def test_all_in_one_command(cli, fails, tmp_path, monkeypatch, inference_service):
    monkeypatch.chdir(tmp_path)
    words = (
        "--triton repository --kserve service.yaml --kserve-runtime triton --kubernetes k8s --image m:1 --name digits"
    )
    ran = cli("export", TUTORIAL, *shlex.split(words), "--json")
    assert ran.code == 0, ran.err
    made = json.loads(ran.out)
    assert made["triton"]["name"] == made["kserve"]["name"] == made["kubernetes"]["name"] == "digits"
    objects(tmp_path / "k8s")
    inference_service(tmp_path / "service.yaml")
    for file in tmp_path.rglob("*"):
        assert str(tmp_path).encode() not in (file.read_bytes() if file.is_file() else b"")
    assert "--storage-uri belongs to --kserve" in fails(
        "export", TUTORIAL, "--triton", "t", "--storage-uri", "s3://a/b"
    )
    assert "--image belongs to --kserve and --kubernetes" in fails("export", TUTORIAL, "--triton", "t", "--image", "x")
    assert "--opset" in fails("export", TUTORIAL, "--kubernetes", "new", "--opset", "18")
    assert cli("export", TUTORIAL, "--kserve", "x.yaml", "--kserve-runtime", "tryton").code == 2
    quiet = cli("export", TUTORIAL, "--kubernetes", "quiet", "--quiet")
    assert (quiet.code, quiet.err) == (0, "")


def test_the_smaller_file_is_the_one_that_is_deployed(cli, tmp_path):
    ran = cli("export", TUTORIAL, "--shrink", "fp16", "--max-loss", "50", "-o",
              tmp_path / "small.onnx", "--triton", tmp_path / "repository", "--json")  # fmt: skip
    assert ran.code == 0, ran.err
    made = json.loads(ran.out)
    assert made["triton"]["name"] == "small"
    chosen = (tmp_path / "repository" / "small" / "1" / "model.onnx").read_bytes()
    assert chosen == (tmp_path / made["shrink"]["file"]).read_bytes()
