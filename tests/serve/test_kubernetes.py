"""The objects of ``mnistkit export --kubernetes``, held against Kubernetes' own schema."""

import base64
import re

import kubernetes_validate
import numpy as np
import pytest
from deploying import (
    ROOT,
    TUTORIAL,
    TensorProto,
    mebibytes,
    not_measured,
    numpy_helper,
    objects,
    one_node,
    served_with,
    three_inputs,
    two_inputs,
)
from served import refused_start, tensor

from mnistkit.core.errors import InputError, ModelFileError, OutputError
from mnistkit.publish import kserve_file, kubernetes_folder
from mnistkit.publish.deploy import kubernetes, memory
from mnistkit.serve.settings import Settings

KINDS = {"configmap", "deployment", "service", "horizontalpodautoscaler", "poddisruptionbudget"}


@pytest.fixture(scope="module", autouse=True)
def measured():
    """Measuring takes a second; `test_memory` does it for real."""
    yield from not_measured()


def test_the_tutorials_model(tmp_path):
    made = kubernetes_folder(TUTORIAL, tmp_path / "k8s", image="registry.example.com/mnistkit:1")
    assert made.notes == ()
    found = objects(tmp_path / "k8s")
    assert set(found) == KINDS
    deployment = found["deployment"]["spec"]
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == "registry.example.com/mnistkit:1"
    settings = served_with(container)
    assert settings.host == "0.0.0.0"  # noqa: S104  # of the container
    assert settings.models == (("mnist-jax", "/models/mnist-jax.onnx"),)
    assert pod["terminationGracePeriodSeconds"] > settings.grace + settings.stop_timeout
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": settings.port, "admin": settings.admin_port}
    for name, path in (("liveness", "live"), ("readiness", "ready"), ("startup", "ready")):
        assert container[f"{name}Probe"]["httpGet"] == {"path": f"/v2/health/{path}", "port": "admin"}
    annotations = deployment["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(settings.admin_port)
    assert settings.threads == int(container["resources"]["requests"]["cpu"])
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["runAsNonRoot"] is pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False


def test_the_objects_belong_together(tmp_path):
    kubernetes_folder(TUTORIAL, tmp_path / "k8s")
    found = objects(tmp_path / "k8s")
    labels = found["deployment"]["spec"]["template"]["metadata"]["labels"]
    assert found["deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert found["service"]["spec"]["selector"] == labels
    assert found["poddisruptionbudget"]["spec"]["selector"]["matchLabels"] == labels
    target = found["horizontalpodautoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", found["deployment"]["metadata"]["name"])
    assert "replicas" not in found["deployment"]["spec"]  # each apply would undo what the autoscaler has done
    assert (
        found["horizontalpodautoscaler"]["spec"]["minReplicas"] > found["poddisruptionbudget"]["spec"]["maxUnavailable"]
    )
    pod = found["deployment"]["spec"]["template"]["spec"]
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert volumes == {mount["name"] for mount in pod["containers"][0]["volumeMounts"]} == {"tmp", "model"}
    assert {port["targetPort"] for port in found["service"]["spec"]["ports"]} == {"http", "admin"}


def test_the_model_is_in_a_config_map_whose_name_changes_with_it(tmp_path):
    names = []
    for model in (TUTORIAL, three_inputs(tmp_path / "mnist-jax.onnx")):
        kubernetes_folder(model, tmp_path / "k8s")
        found = objects(tmp_path / "k8s")
        content = found["configmap"]["binaryData"]
        assert base64.b64decode(content["mnist-jax.onnx"]) == model.read_bytes()
        assert found["configmap"]["immutable"] is True
        pod = found["deployment"]["spec"]["template"]["spec"]
        (source,) = [volume["configMap"]["name"] for volume in pod["volumes"] if "configMap" in volume]
        assert source == found["configmap"]["metadata"]["name"]
        names.append(source)
    assert names[0] != names[1]


def test_a_large_model_is_in_the_image_or_on_a_claim(tmp_path, monkeypatch):
    monkeypatch.setattr(kubernetes, "MOST_IN_CONFIG_MAP", 1000)
    made = kubernetes_folder(TUTORIAL, tmp_path / "image", image="mnistkit:2")
    assert "too large for a ConfigMap: put mnist-jax.onnx as mnist-jax.onnx into the image" in made.notes[0]
    found = objects(tmp_path / "image")
    assert set(found) == KINDS - {"configmap"}
    assert [one["name"] for one in found["deployment"]["spec"]["template"]["spec"]["volumes"]] == ["tmp"]
    made = kubernetes_folder(TUTORIAL, tmp_path / "claim", image="mnistkit:2", claim="models")
    assert made.notes == ("put mnist-jax.onnx as mnist-jax.onnx at the top of the claim models",)
    volumes = objects(tmp_path / "claim")["deployment"]["spec"]["template"]["spec"]["volumes"]
    assert {"name": "model", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}} in volumes


def test_weights_beside_the_file_are_named(tmp_path):
    import onnx

    model = onnx.load(one_node(tmp_path / "large.onnx"))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(4000, np.float32), "w"))
    onnx.save(model, tmp_path / "large.onnx", save_as_external_data=True, location="weights.bin")
    made = kubernetes_folder(tmp_path / "large.onnx", tmp_path / "k8s", claim="models", image="i")
    assert made.notes == ("put large.onnx as large.onnx and weights.bin at the top of the claim models",)
    assert "configmap" not in objects(tmp_path / "k8s")


def test_what_was_written_really_runs(tmp_path, started):
    """The container's own flags, but for where the model lies: two inputs, no labels, another origin."""
    model = two_inputs(tmp_path / "Two_inputs.v1.onnx")
    made = kubernetes_folder(model, tmp_path / "k8s")
    assert "the objects are named two-inputs-v1; the model is served as Two_inputs.v1" in made.notes
    deployment = objects(tmp_path / "k8s")["deployment"]
    assert deployment["metadata"]["name"] == made.name == "two-inputs-v1"
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    flags = [flag.replace("/models/Two_inputs.v1.onnx", str(model)) for flag in container["args"]]
    free = [re.sub(r"port=\d+", "port=0", flag) for flag in flags]
    with started(*free, "--grace", "0.2") as server:
        probes = {container[f"{name}Probe"]["httpGet"]["path"] for name in ("liveness", "readiness", "startup")}
        assert {server.admin(path).status for path in probes} == {200}
        assert b"mnistkit_in_flight" in server.admin("/metrics").body
        two = {"inputs": [tensor([[2.0]], name="scale"), tensor([[1.0, 2.0]], name="words")]}
        assert server.infer(two, model="Two_inputs.v1").json["outputs"][1]["data"] == [6.0]


@pytest.mark.parametrize(("options", "told"), [
    ({"name": "784"}, "Kubernetes takes no object named '784'"),
    ({"name": "a" * 51}, "at most 50 in all; give another name with --name"),
    ({"name": "ziffern-ü"}, "a model cannot be served as 'ziffern-ü'"),
    ({"image": "two words"}, "--image: expected a reference"),
    ({"image": "-flag"}, "--image: expected a reference"),
    ({"claim": "Models"}, "--claim: expected the name of a PersistentVolumeClaim"),
])  # fmt: skip
def test_names_that_cannot_be(tmp_path, options, told):
    with pytest.raises(InputError) as raised:
        kubernetes_folder(TUTORIAL, tmp_path / "k8s", **options)
    assert told in str(raised.value)
    assert not (tmp_path / "k8s").exists()


def test_words_are_left_to_triton(tmp_path):
    model = one_node(tmp_path / "words.onnx", kind=TensorProto.STRING)
    for write in (kubernetes_folder, kserve_file):
        with pytest.raises(
            ModelFileError, match=r"x is tensor\(string\), and mnistkit serve takes .* served by Triton"
        ):
            write(model, tmp_path / "new")
        assert not (tmp_path / "new").exists()
    kserve_file(model, tmp_path / "service.yaml", runtime="triton")
    code, said = refused_start(tmp_path, "--model", f"words={model}")
    assert code == 1
    assert "x is tensor(string), and the server takes and gives numbers alone; Triton serves words" in said


def test_what_somebody_changed_or_put_there_stays(tmp_path):
    folder = tmp_path / "k8s"
    kubernetes_folder(TUTORIAL, folder)
    kubernetes_folder(TUTORIAL, folder)
    (folder / "service.yaml").write_text((folder / "service.yaml").read_text() + "# mine\n")
    with pytest.raises(OutputError, match=r"service\.yaml was changed since it was written"):
        kubernetes_folder(TUTORIAL, folder)
    assert (folder / "service.yaml").read_text().endswith("# mine\n")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "ingress.yaml").write_text("kind: Ingress")
    with pytest.raises(OutputError, match="holds files that this command did not write"):
        kubernetes_folder(TUTORIAL, tmp_path / "mine")
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["ingress.yaml"]


def test_memory(tmp_path, monkeypatch, started):
    monkeypatch.undo()
    from mnistkit.publish.bench import bench

    monkeypatch.setattr(memory, "bench", bench)
    kubernetes_folder(TUTORIAL, tmp_path / "k8s")
    (container,) = objects(tmp_path / "k8s")["deployment"]["spec"]["template"]["spec"]["containers"]
    request, limit = (mebibytes(container["resources"][kind]["memory"]) for kind in ("requests", "limits"))
    with started("--model", TUTORIAL) as server:
        server.post("/predict", (ROOT / "examples" / "digit.png").read_bytes(), {"Content-Type": "image/png"})
        status = (tmp_path / "/proc" / str(server.process.pid) / "status").read_text()
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024
    assert peak < request < limit
    assert limit - request >= Settings().max_memory / 1024**2 + 200  # bodies, and pictures being decoded
    text = (tmp_path / "k8s" / "deployment.yaml").read_text()
    assert re.search(r"^# Memory: the server 128 MiB; the model \d+ MiB measured on the CPU", text, re.MULTILINE)


def test_memory_of_what_cannot_be_run_is_stated(tmp_path, monkeypatch):
    def cannot(*_, **__):
        raise InputError("no inputs")

    monkeypatch.setattr(memory, "bench", cannot)
    kubernetes_folder(TUTORIAL, tmp_path / "k8s")
    text = (tmp_path / "k8s" / "deployment.yaml").read_text()
    assert "the model three times the file's 0.1 MiB, not measured." in text


def test_the_schema_does_find_what_is_wrong(tmp_path):
    kubernetes_folder(TUTORIAL, tmp_path / "k8s")
    file = tmp_path / "k8s" / "deployment.yaml"
    file.write_text(file.read_text().replace("readinessProbe", "readyProbe"))
    with pytest.raises(kubernetes_validate.ValidationError):
        objects(tmp_path / "k8s")
