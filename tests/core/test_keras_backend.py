"""Which backend a process gets, and what is said when it cannot have it. Nothing here imports Keras."""

import sys

import pytest

from mnistkit.core import keras_backend as backend
from mnistkit.core.errors import BackendError, MissingExtraError

LOAD = (
    "import sys\nfrom mnistkit.core.keras_backend import load_keras\nfrom mnistkit.core.errors import MnistkitError\n"
)
LOAD += "try:\n    load_keras()\nexcept MnistkitError as error:\n    sys.exit(f'{type(error).__name__}: {error}')\n"


@pytest.fixture
def place(monkeypatch, tmp_path):
    """A process without Keras in it, where the given frameworks are installed and nothing is configured."""

    def make(*installed, environment=None, configured=None):
        monkeypatch.delitem(sys.modules, "keras", raising=False)
        monkeypatch.setattr(backend, "is_installed", lambda name: name in installed)
        monkeypatch.setenv("KERAS_HOME", str(tmp_path))
        monkeypatch.setenv("KERAS_BACKEND", environment or "")
        if configured is not None:
            (tmp_path / "keras.json").write_text(configured)

    return make


EVERY = ("jax", "torch", "tensorflow")


def test_a_name_wins(place):
    place(*EVERY, environment="torch", configured='{"backend": "jax"}')
    assert backend.select_backend("tensorflow") == "tensorflow"
    import os

    assert os.environ["KERAS_BACKEND"] == "tensorflow"


def test_then_the_environment(place):
    place(*EVERY, environment="torch", configured='{"backend": "tensorflow"}')
    assert backend.select_backend() == "torch"


def test_then_the_configuration(place):
    place(*EVERY, configured='{"backend": "tensorflow"}')
    assert backend.select_backend() == "tensorflow"


@pytest.mark.parametrize("installed", [EVERY, ("torch", "tensorflow"), ("tensorflow",), ("torch",)], ids=str)
def test_then_the_first_installed(place, installed):
    place(*installed)
    assert backend.select_backend() == installed[0]


def test_a_configuration_that_keras_wrote_for_a_framework_that_is_not_there_is_passed_over(place):
    place("torch", configured='{"floatx": "float32", "backend": "tensorflow"}')
    assert backend.select_backend() == "torch"


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"backend": null}'])
def test_an_unreadable_configuration_counts_as_none(place, content):
    place("torch", configured=content)
    assert backend.select_backend() == "torch"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"environment": "theano"}, "from KERAS_BACKEND"),
        ({"configured": '{"backend": "theano"}'}, r"from .*keras\.json"),
    ],
    ids=["environment", "configuration"],
)
def test_unknown_backends(place, source, words):
    place(*EVERY, **source)
    with pytest.raises(BackendError, match=rf"unknown backend 'theano' \({words}\); use one of jax, tensorflow, torch"):
        backend.select_backend()


def test_unknown_name(place):
    place(*EVERY)
    with pytest.raises(BackendError, match=r"unknown backend 'tensorflo' \(asked for by name\).*mean tensorflow\?"):
        backend.select_backend("tensorflo")


@pytest.mark.parametrize(("alias", "name"), [("pytorch", "torch"), ("PyTorch", "torch"), ("tf", "tensorflow")])
def test_other_spellings_of_a_name(place, alias, name):
    place(*EVERY)
    assert backend.select_backend(alias) == name


def test_the_command_line_knows_the_same_spellings():
    from mnistkit.cli import common

    assert common.BACKEND_ALIASES == backend.ALIASES
    assert sorted(common.BACKENDS) == sorted(backend.BACKENDS)


def test_keras_knows_no_other_spelling_so_the_variable_may_have_none(place):
    place(*EVERY, environment="pytorch")
    with pytest.raises(BackendError, match=r"'pytorch' \(from KERAS_BACKEND\); .* did you mean torch\?$"):
        backend.select_backend()


class FakeKeras:
    """A Keras that was imported earlier."""

    class backend:  # noqa: N801  # as Keras spells it
        @staticmethod
        def backend():
            return "jax"


@pytest.mark.parametrize(("name", "environment", "source"), [("torch", "", "asked for by name"),
                                                             (None, "torch", "from KERAS_BACKEND")])  # fmt: skip
def test_asked_for_after_keras_was_imported(place, monkeypatch, name, environment, source):
    place(*EVERY, environment=environment, configured='{"backend": "torch"}')
    monkeypatch.setitem(sys.modules, "keras", FakeKeras)
    words = rf"loaded with jax, so torch \({source}\) cannot be used .*; set KERAS_BACKEND=torch before"
    with pytest.raises(BackendError, match=words):
        backend.select_backend(name)


@pytest.mark.parametrize("environment", ["", "jax"])
def test_what_nobody_demands_is_no_obstacle(place, monkeypatch, environment):
    """Keras took another backend than its configuration names now, and nobody asked for one."""
    place(*EVERY, environment=environment, configured='{"backend": "torch"}')
    monkeypatch.setitem(sys.modules, "keras", FakeKeras)
    assert backend.select_backend() == "jax"


def test_a_user_without_a_home(place, monkeypatch):
    """As in a container that runs under a number: no HOME, and no entry in the list of users."""
    place("torch")
    for name in ("KERAS_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    if sys.platform != "win32":
        import pwd

        def unknown(_):
            raise KeyError

        monkeypatch.setattr(pwd, "getpwuid", unknown)
        with pytest.raises(RuntimeError):
            backend.Path.home()
    assert backend.select_backend() == "torch"


OLD = [("silence", "quiet_startup_logs"), ("active", "active_backend"), ("deterministic", "enable_determinism")]


@pytest.mark.parametrize(("old", "new"), OLD)
def test_old_names(old, new):
    with pytest.warns(DeprecationWarning, match=f"keras_backend.{old} is now mnistkit.core.keras_backend.{new};"):
        assert getattr(backend, old) is getattr(backend, new)
    with pytest.raises(AttributeError):
        _ = backend.nothing


def test_not_installed_with_the_cure_and_the_others(place):
    place("torch")
    with pytest.raises(BackendError, match=r'jax .* is not installed; run `pip install "\.\[jax\]"`') as e:
        backend.select_backend("jax")
    assert str(e.value).endswith("or use one that is: torch")


def test_none_installed(place):
    place()
    with pytest.raises(BackendError, match=r'no Keras backend is installed; run `pip install "\.\[jax\]"`'):
        backend.select_backend()


def test_keras_not_installed(place, monkeypatch):
    place(*EVERY)
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(MissingExtraError, match="Keras is not installed; run"):
        backend.load_keras()


def fake(folder, name, content, *, version=None):
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(content)
    if version:
        info = folder / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_a_broken_framework_is_not_a_missing_one(python, tmp_path):
    """A package whose import raises something else than ImportError: version, cause and cure in one line."""
    fake(tmp_path, "torch", "raise RuntimeError('libtorch.so:\\n undefined symbol')", version="9.8.7")
    fake(tmp_path, "keras", "import torch")
    ran = python("-c", LOAD, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path), "KERAS_BACKEND": "torch"})
    assert ran.code == 1
    assert ran.err == (
        "BackendError: torch 9.8.7 is installed but its import fails (RuntimeError: libtorch.so: undefined symbol); "
        'run `pip install --force-reinstall ".[torch]"` in mnistkit\'s source folder\n'
    )


def test_version_of():
    import numpy as np

    assert backend.version_of("numpy") == np.__version__
    assert backend.version_of("no-such-package") == "not installed"


LINES = """\
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795684912.103472   29610 port.cc:153] oneDNN custom operations are on.
E0000 00:00:1795684912.103472   29610 cuda.cc:12] no such device
I think this is bad
"""
NOISY = "import os\nos.write(2, {lines!r}.encode())\nimport sys\nprint('from python', file=sys.stderr)\n{more}"


def loaded(python, folder, *, more="", silent=True):
    """What reaches standard error of a process that loads a Keras with much to say."""
    fake(folder, "jax", "")
    fake(folder, "keras", NOISY.format(lines=LINES, more=more))
    quiet = "from mnistkit.core.keras_backend import quiet_startup_logs\nquiet_startup_logs()\n" if silent else ""
    code = quiet + LOAD + "print('after', file=sys.stderr)\n"
    ran = python("-c", code, cwd=folder, env={"PYTHONPATH": str(folder), "KERAS_BACKEND": "jax"})
    return ran.err.splitlines()


def test_an_imports_information_about_itself_is_held_back_and_nothing_else(python, tmp_path):
    assert loaded(python, tmp_path) == [*LINES.splitlines()[2:], "from python", "after"]


def test_a_library_holds_nothing_back(python, tmp_path):
    assert loaded(python, tmp_path, silent=False) == [*LINES.splitlines(), "from python", "after"]


def test_what_a_broken_import_writes_is_not_lost(python, tmp_path):
    *said, last = loaded(python, tmp_path, more="raise OSError('broken')\n")
    assert said == [*LINES.splitlines()[2:], "from python"]
    assert last.startswith("BackendError: ")


def test_a_closed_standard_error_is_no_obstacle(python, tmp_path):
    fake(tmp_path, "jax", "")
    fake(tmp_path, "keras", "")
    code = (
        "import os\nfrom mnistkit.core.keras_backend import quiet_startup_logs\nquiet_startup_logs()\nos.close(2)\n"
        + LOAD
        + "print('loaded')\n"
    )
    ran = python("-c", code, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path), "KERAS_BACKEND": "jax"})
    assert ran.out == "loaded\n"


def test_quiet_startup_logs_respects_what_is_set(monkeypatch):
    import os

    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    monkeypatch.setenv("GRPC_VERBOSITY", "x")
    monkeypatch.delenv("GRPC_VERBOSITY")
    monkeypatch.setattr(backend, "_quiet", False)
    backend.quiet_startup_logs()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"
    assert os.environ["GRPC_VERBOSITY"] == "ERROR"
