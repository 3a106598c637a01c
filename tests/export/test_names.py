"""What `mnistkit.export` offers: visible without Keras, loaded when it is used."""

import ast
from pathlib import Path

import pytest

import mnistkit.export


def test_all_is_what_editors_see_and_what_is_looked_up():
    assert mnistkit.export.__all__ == sorted(mnistkit.export.__all__)
    assert set(mnistkit.export._MODULES) == set(mnistkit.export.__all__)
    tree = ast.parse(Path(mnistkit.export.__file__).read_text(encoding="utf-8"))
    block = next(n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    imported = {alias.name: node.module.removeprefix("mnistkit.export.") for node in block.body for alias in node.names}
    assert imported == mnistkit.export._MODULES
    assert set(mnistkit.export.__all__) <= set(dir(mnistkit.export))


def test_profiles_need_no_keras(python, tmp_path):
    code = (
        "import sys; from mnistkit.export import LabeledClassifier, Profile, ProfileSample, register_profile; "
        "print('keras' in sys.modules)"
    )
    ran = python("-c", code, cwd=tmp_path)
    assert (ran.code, ran.out.strip()) == (0, "False"), ran.err


def test_an_unknown_name():
    with pytest.raises(AttributeError, match="has no attribute 'export_onxx'"):
        mnistkit.export.export_onxx  # noqa: B018  # looked up
