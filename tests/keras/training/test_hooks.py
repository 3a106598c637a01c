"""Every private name that the trainer uses: it is there, and a missing one is named and sends the run to model.fit."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import keras
import pytest
from training_models import BATCH, mlp, pictures, without_copy_keyword

import mnistkit.training
from mnistkit.training import fit, keras_hooks
from mnistkit.training.hook import Hook, first_missing

BACKEND = keras.backend.backend()
OF_KERAS = [hook for hook in keras_hooks.HOOKS if hook.backend in (None, BACKEND)]
OF_BACKEND = list(importlib.import_module(f"mnistkit.training.{BACKEND}.hooks").HOOKS)
ROOT = Path(mnistkit.training.__file__).parent
pytestmark = without_copy_keyword


def name_of(hook):
    return hook.paths[0]


SINCE = {"keras:Model._initialize_ddp": (3, 16)}
"""Names that came with a version of Keras."""


@pytest.mark.parametrize("hook", [*OF_KERAS, *OF_BACKEND], ids=name_of)
def test_the_name_is_there(hook):
    if tuple(map(int, keras.__version__.split(".")[:2])) < SINCE.get(name_of(hook), (0,)):
        assert not hook.required
        assert hook.get_or_none() is None
        return
    model = mlp()
    owner, name = hook.owner(model=model, optimizer=model.optimizer)
    assert hasattr(owner, name)
    assert hook.purpose


@pytest.mark.parametrize("hook", [hook for hook in [*OF_KERAS, *OF_BACKEND] if hook.required], ids=name_of)
def test_a_missing_name_sends_the_run_to_model_fit_and_is_named(hook, monkeypatch, capsys):
    moved = Hook(tuple(f"{path}_moved" for path in hook.paths), hook.purpose, backend=hook.backend)
    for module in (keras_hooks, importlib.import_module(f"mnistkit.training.{BACKEND}.hooks")):
        monkeypatch.setattr(module, "HOOKS", tuple(moved if one is hook else one for one in module.HOOKS))
    history = fit(mlp(), *pictures(BATCH * 2), batch_size=BATCH, verbose=0, seed=0)
    assert history.epoch == [0]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mnistkit: training with model.fit, because ")
    assert f" has no {hook.paths[0]}_moved, which the trainer needs to {hook.purpose}" in line
    package = "keras" if hook in OF_KERAS else BACKEND
    assert f"because {package} {importlib.import_module(package).__version__}" in line


def test_nothing_is_missing_and_no_line_is_written(capsys):
    fit(mlp(), *pictures(BATCH * 2), batch_size=BATCH, verbose=0, seed=0)
    assert capsys.readouterr().err == ""


def test_the_first_place_that_has_the_name_counts():
    hook = Hook(("math:no_such_name", "math:sqrt"), "test")
    assert hook.get()(4) == 2
    with pytest.raises(AttributeError, match=r"math \(version unknown\) has no math:no_such_name, which the trainer"):
        Hook(("math:no_such_name",), "test").get()
    assert Hook(("no_such_module:name", "math:pi"), "test").get() == pytest.approx(3.14159, abs=1e-5)


def test_optional_names_may_be_missing():
    optional = Hook(("math:no_such_name",), "test", required=False)
    assert first_missing([optional]) is None
    assert "no_such_name" in first_missing([Hook(("math:no_such_name",), "test")])
    assert optional.get_or_none() is None


def private_names(source):
    """Names that begin with one underscore, looked up on something else than self, cls, super() or a module of ours."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            owner = node.value.func if isinstance(node.value, ast.Call) else node.value
            is_own = isinstance(owner, ast.Name) and owner.id in {"self", "cls", "super"}
            if not is_own and ast.unparse(node) != "os._exit":  # which is documented
                found.add(node.attr)
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]
            found.update(m for m in modules if m.startswith(("keras.src", "tensorflow.python")) or "._" in m)
            found.update(m for m in modules if "experimental" in m or m == "unittest.mock")
    return found


ALLOWED = {
    "untraceable.py": {"_unsafe_index"},  # an ATen operation, which has this name
}


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_private_names_stand_in_the_tables_alone(path):
    if path.name in {"keras_hooks.py", "hooks.py"}:
        return
    assert private_names(path.read_text(encoding="utf-8")) <= ALLOWED.get(path.name, set())


@pytest.mark.parametrize(
    "source",
    ["model._symbolic_build()", "import keras.src.backend", "from torch.fx.experimental.proxy_tensor import make_fx"],
)
def test_a_private_name_elsewhere_is_seen(source):
    assert private_names(source)
    assert not private_names("self._mine = keras.Model.fit\nsuper()._mine()\nos._exit(1)")
