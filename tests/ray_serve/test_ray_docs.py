"""What docs/how-to/ray.md says, done."""

import shutil

import doc_blocks
import pytest
import ray
import yaml
from ray import serve
from ray.serve.schema import ServeDeploySchema
from served import Served

from mnistkit.core.errors import InputError
from mnistkit.serve.ray.options import read

PAGE = "docs/how-to/ray.md"
BLOCKS = [block for block in doc_blocks.ALL if block.page == PAGE]


def test_the_python(server, tmp_path, asset):
    assert doc_blocks.python_pages("ray") == [PAGE]
    (tmp_path / "exports").mkdir()
    shutil.copy(asset, tmp_path / "exports" / "mnist.onnx")
    assert ray.cluster_resources()["CPU"] == 2
    try:
        assert doc_blocks.run(BLOCKS, tmp_path) == []
        found = Served(None, server.port, None, None).get("/digits/v2/models/mnist")
        assert found.json["name"] == "mnist"
    finally:
        serve.delete("digits")


def test_the_configuration():
    (text,) = [block.code for block in BLOCKS if block.language == "yaml"]
    config = ServeDeploySchema.model_validate(yaml.safe_load(text))
    (application,) = config.applications
    settings, scale = read(application.args, {})
    assert [name for name, _ in settings.models] == ["mnist", "cnn"]
    assert (settings.max_queue, settings.allowed_hosts, scale.max_replicas) == (64, "digits.example.org", 8)
    with pytest.raises(InputError):
        read({**application.args, "maxqueue": 1}, {})
