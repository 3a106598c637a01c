"""What predicting needs stays light: no Keras, no framework, no onnx, not even lazily."""

import ast
from pathlib import Path

import pytest

import mnistkit

HEAVY = {"keras", "tensorflow", "jax", "torch", "onnx", "tf2onnx", "jax2onnx", "onnxscript", "scipy", "h5py"}
ROOT = Path(mnistkit.__file__).parent
LIGHT_FILES = (
    "__init__", "__main__", "cli/__init__", "cli/common", "cli/deployed", "cli/doctor", "cli/evaluate", "cli/examine",
    "cli/info", "cli/kinds", "cli/parser", "cli/predict", "cli/published", "cli/report", "cli/serve", "cli/shrunk",
    "cli/verify", "core/about",
    "core/comparison", "core/contract", "core/errors", "core/files", "core/folders", "core/fork_safety", "core/golden",
    "core/install", "core/modules", "core/runtime", "core/session_call", "core/tensors",
    "digits/classifier", "digits/data", "digits/numbers", "digits/pictures", "digits/plain_arrays", "digits/profile",
    "digits/readings", "digits/segmentation", "digits/show", "publish/__init__", "publish/onnxruntime_web",
    "publish/web", "publish/web_model", "publish/web_parts",
    "publish/deploy/__init__", "publish/deploy/kserve", "publish/deploy/kubernetes",
    "publish/deploy/kubernetes_objects", "publish/deploy/memory", "publish/deploy/model", "publish/deploy/names",
    "publish/deploy/pods", "publish/deploy/text_format", "publish/deploy/triton", "publish/deploy/triton_batch",
    "publish/deploy/triton_config", "publish/deploy/triton_warmup", "publish/deploy/yaml_text",
)  # fmt: skip

SHOW = "\nimport sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"

USES = {
    "import mnistkit": "import mnistkit",
    "a classifier": "import numpy, mnistkit; mnistkit.Classifier(MODEL).predict(numpy.zeros((28, 28)))",
    "verify": "import mnistkit; mnistkit.verify(MODEL)",
    "evaluate": "import mnistkit; mnistkit.evaluate(MODEL)",
    "data": "import mnistkit; mnistkit.load_data()",
    "predict": "from mnistkit.cli import main; assert main(['predict', '--model', MODEL, 'seven.png']) == 0",
    "a number": "from mnistkit.cli import main; "
    "assert main(['predict', '--number', '--show', '--model', MODEL, 'seven.png']) == 0",
    "info": "from mnistkit.cli import main; assert main(['info', MODEL]) == 0",
    "verify, as a verb": "from mnistkit.cli import main; assert main(['verify', MODEL]) == 0",
    "the report's numbers": "from mnistkit.publish.report.collect import collect; collect(MODEL)",
    "what is deployed": "from mnistkit.cli import main; assert main(['export', MODEL, '--triton', 'repository', "
    "'--kubernetes', 'objects', '--kserve', 'service.yaml', '--quiet']) == 0",
    "help": "import mnistkit; help(mnistkit)",
    "every name": "from mnistkit import *",
    "the parser": "from mnistkit.cli.parser import build_parser; build_parser().format_help()",
    "the Keras half, before it is used": "import mnistkit.digits.train, mnistkit.core.keras_backend, mnistkit.export",
}


@pytest.fixture
def modules_after(python, asset, tmp_path, seven):
    def run(code):
        seven.save(tmp_path / "seven.png")
        ran = python("-c", f"MODEL = {str(asset)!r}\n{code}{SHOW}", cwd=tmp_path)
        assert ran.code == 0, ran.err
        return set(ran.out.splitlines()[-1].split())

    return run


@pytest.mark.parametrize("use", USES)
def test_nothing_heavy_is_imported(modules_after, use):
    loaded = modules_after(USES[use])
    assert "mnistkit" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize("name", sorted(HEAVY))
def test_the_check_above_can_fail(python, tmp_path, name):
    """Its twin: a heavy import is seen, whatever is installed here."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    ran = python("-c", f"import {name}{SHOW}", cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    assert set(ran.out.split()) & HEAVY == {name}


def test_importing_mnistkit_does_not_even_import_onnxruntime(modules_after):
    assert "onnxruntime" not in modules_after("import mnistkit")


def test_importing_mnistkit_changes_nothing_around_it(python, tmp_path):
    code = (
        "import logging, os, warnings, numpy\n"
        "def state(): return dict(os.environ), list(warnings.filters), logging.root.level, logging.root.handlers[:]\n"
        "numpy.random.seed(3); first = numpy.random.random(); numpy.random.seed(3)\n"
        "before = state()\n"
        "import mnistkit, mnistkit.train, mnistkit.export, mnistkit.core.keras_backend, mnistkit.cli\n"
        "assert state() == before\n"
        "assert numpy.random.random() == first\n"
    )
    ran = python("-c", code, cwd=tmp_path)
    assert (ran.code, ran.out, ran.err) == (0, "", "")


@pytest.mark.parametrize("arguments", ["", "'--help'", "'train', '--help'", "'predict', '--help'"])
def test_help_loads_no_numpy(modules_after, arguments):
    """It is printed in a tenth of a second."""
    code = f"from mnistkit.cli import main\ntry:\n    main([{arguments}])\nexcept SystemExit: pass"
    assert not modules_after(code) & {"numpy", "onnxruntime", "PIL"}


def test_a_verb_loads_its_own_module_alone(python, asset, tmp_path):
    code = (
        f"import sys\nfrom mnistkit.cli import main\nmain(['info', {str(asset)!r}])\n"
        "print(*sorted(name for name in sys.modules if name.startswith('mnistkit.cli.')))"
    )
    ran = python("-c", code, cwd=tmp_path)
    assert ran.out.splitlines()[-1].split() == [f"mnistkit.cli.{name}" for name in ("common", "info", "parser")]


def imported(path):
    """Top-level packages that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add((node.module or "").partition(".")[0])
    return names


@pytest.mark.parametrize("name", LIGHT_FILES)
def test_light_files_name_no_heavy_package_in_an_import(name):
    assert not imported(ROOT / f"{name}.py") & HEAVY


def test_the_import_finder_finds(tmp_path):
    path = tmp_path / "module.py"
    path.write_text("def f():\n    from keras import ops\n    import jax.numpy\n")
    assert imported(path) & HEAVY == {"keras", "jax"}


def test_only_the_files_that_may_import_a_framework_do():
    frameworks = {"tensorflow", "jax", "torch"}
    found = {path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py") if imported(path) & frameworks}
    allowed = {"core/keras_backend.py", "export/fallback/exporters.py"}
    assert {name for name in found if not name.startswith("training/")} <= allowed
