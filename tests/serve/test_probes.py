"""The table of `benchmarks/serve_probes.py`: what it names is there, and what does not hold is told."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def probes():
    spec = importlib.util.spec_from_file_location("serve_probes", ROOT / "benchmarks" / "serve_probes.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look for it there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_every_test_of_the_table_is_there(probes):
    for probe in probes.PROBES:
        assert probe.severity in probes.SEVERITIES
        for test in probe.tests:
            file, _, name = test.partition("::")
            text = (ROOT / "tests" / file).read_text()
            assert re.search(rf"^def {name}\(" if name else "^def test_", text, re.MULTILINE), test


def test_every_probe_too_costly_for_each_change_is_in_the_table(probes):
    named = {test for probe in probes.PROBES for test in probe.tests}
    for name in re.findall(r"^def (test_\w+)", (ROOT / "tests" / "serve" / "probes.py").read_text(), re.MULTILINE):
        assert f"serve/probes.py::{name}" in named


def test_what_is_open_is_told_by_its_severity(probes, capsys):
    asked = [probes.Probe("TLS", "low", "x", ("a.py::t",)), probes.Probe("HTTP", "high", "y", ("b.py::t", "b.py::u"))]
    held = {"a.py::t[1]": "passed", "a.py::t[2]": "passed", "b.py::t": "passed", "b.py::u": "passed"}
    assert probes.report(asked, held) == 0
    assert "4 held, 0 open" in capsys.readouterr().out
    assert probes.report(asked, {**held, "a.py::t[2]": "failed"}) == 0
    assert re.search("3 held, 1 open\n  low: TLS: x: a.py::t.2. failed", capsys.readouterr().out)
    assert probes.report(asked, {**held, "b.py::u": "skipped"}) == 1
    del held["b.py::u"]
    assert probes.report(asked, held) == 1
    assert "high: b.py::u: not run" in capsys.readouterr().out
