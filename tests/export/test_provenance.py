"""The JSON beside a file: found under its new and its old name, and never in the place of somebody's own."""

import json

import pytest

from mnistkit.core.errors import InputError, ModelFileError
from mnistkit.export.provenance import check_replaceable, provenance_path, read_provenance

OURS = {"file": "cifar.onnx", "sha256": "0", "exporter": {}, "exported_under": {}}


def test_it_lies_beside_the_file(tmp_path):
    assert provenance_path(tmp_path / "cifar.onnx") == tmp_path / "cifar.onnx.json"


def test_it_is_read_under_both_names(tmp_path):
    file = tmp_path / "cifar.onnx"
    file.with_suffix(".json").write_text(json.dumps(OURS | {"proof": {"atol": 1}}))
    assert read_provenance(file) == OURS | {"verification": {"atol": 1}}
    provenance_path(file).write_text(json.dumps(OURS | {"verification": {"atol": 2}}))
    assert read_provenance(file)["verification"] == {"atol": 2}


@pytest.mark.parametrize("content", ["{}", "[]", "no", json.dumps(OURS | {"file": "other.onnx"})])
def test_another_json_is_no_provenance(tmp_path, content):
    (tmp_path / "cifar.json").write_text(content)
    with pytest.raises(ModelFileError, match="no export left its provenance beside it"):
        read_provenance(tmp_path / "cifar.onnx")


def test_only_our_own_is_replaced(tmp_path):
    path = tmp_path / "cifar.onnx.json"
    check_replaceable(path)
    path.write_text(json.dumps(OURS))
    check_replaceable(path)
    for content in ("", "{}", '{"file": "cifar.onnx"}', "[1]"):
        path.write_text(content)
        with pytest.raises(InputError, match=r"cifar\.onnx\.json: .* this file is not mnistkit's; move it"):
            check_replaceable(path)
