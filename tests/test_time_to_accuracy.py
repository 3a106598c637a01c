"""benchmarks/time_to_accuracy.py without training: the schedule, which processes run, what is kept, the table."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
sys.path.append(str(Path(__file__).parents[1] / "tools"))

import accuracy_recipe
import time_to_accuracy
from doc_pages import time_to_accuracy as page
from doc_pages import training

ROW = {
    "backend": "torch",
    "way": "mnistkit.fit",
    "seed": 0,
    "accuracy": 0.9912,
    "whole": 10.0,
    "processor": 18.0,
    "imports": 2.0,
    "data": 0.3,
    "training": 7.0,
    "load": 1.5,
}


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Where figures go; not the checkout's."""
    monkeypatch.setattr(time_to_accuracy, "RESULTS", tmp_path / "results" / "time_to_accuracy.json")
    return time_to_accuracy.RESULTS


@pytest.mark.parametrize("steps", [2, 5, 480, 960])
def test_the_rate_rises_to_the_peak_and_ends_near_zero(steps):
    rates = [accuracy_recipe.rate_at(step, steps) for step in range(steps + 1)]
    top = accuracy_recipe.rising_steps(steps)
    assert rates[0] == pytest.approx(accuracy_recipe.PEAK * accuracy_recipe.FIRST)
    assert rates[top] == max(rates) == accuracy_recipe.PEAK
    assert rates[steps] == pytest.approx(0, abs=1e-12)
    assert (np.diff(rates[: top + 1]) > 0).all()
    assert (np.diff(rates[top:]) < 0).all()


def test_each_epoch_takes_every_image_once():
    steps = accuracy_recipe.orders(3 * accuracy_recipe.BATCH, seed=1)
    assert len(steps) == 3 * accuracy_recipe.EPOCHS
    assert sorted(np.concatenate(steps[:3])) == list(range(3 * accuracy_recipe.BATCH))
    other = accuracy_recipe.orders(3 * accuracy_recipe.BATCH, seed=2)
    assert not np.array_equal(steps, other)


def test_the_batch_divides_the_images():
    assert (60_000 % accuracy_recipe.BATCH, 10_000 % accuracy_recipe.TEST_BATCH) == (0, 0)


def test_contenders_run_side_by_side_and_only_those_that_there_are():
    every = time_to_accuracy.wanted(time_to_accuracy.BACKENDS, time_to_accuracy.WAYS, None)
    assert [seed for _, _, seed in every] == sorted(seed for _, _, seed in every)
    assert len(every) == len(set(every)) == 3 * 3 + 3 * 5 + 2 * 5
    assert ("tensorflow", "hand-written", 0) not in every
    assert time_to_accuracy.wanted(["jax"], ["fit"], [7]) == [("jax", "fit", 7)]


def test_an_interrupted_run_goes_on(results):
    assert time_to_accuracy.kept() == []
    time_to_accuracy.keep(ROW)
    time_to_accuracy.keep({"backend": "jax", "way": "fit", "seed": 0, "failed": "out of memory"})
    rows = time_to_accuracy.kept()
    assert [row["backend"] for row in rows] == ["jax", "torch"]
    assert time_to_accuracy.is_kept(("torch", "mnistkit.fit", 0), rows)
    assert not time_to_accuracy.is_kept(("torch", "mnistkit.fit", 1), rows)
    assert not time_to_accuracy.is_kept(("jax", "fit", 0), rows)  # failed: is run again
    time_to_accuracy.keep({**ROW, "whole": 9.0})
    assert [row["whole"] for row in time_to_accuracy.kept() if "whole" in row] == [9.0]
    assert sorted(path.name for path in results.parent.iterdir()) == [results.name]


def test_figures_of_another_recipe_are_not_kept_beside(results, monkeypatch):
    time_to_accuracy.keep(ROW)
    monkeypatch.setitem(accuracy_recipe.RECIPE, "epochs", 99)
    assert time_to_accuracy.kept() == []
    time_to_accuracy.keep({**ROW, "seed": 3})
    assert [row["seed"] for row in json.loads(results.read_text())["rows"]] == [3]


def test_what_was_kept_is_not_run_again(results, monkeypatch, capsys):
    ran = []

    def run(*contender, bytecode, images=None):
        del bytecode
        ran.append((*contender, images))
        return {key: value for key, value in ROW.items() if key not in ("backend", "way", "seed")}

    monkeypatch.setattr(time_to_accuracy, "run", run)
    command = ["time_to_accuracy.py", "--backend", "torch", "--way", "mnistkit.fit", "--write", "--seeds", "0"]
    warm = ("torch", "mnistkit.fit", 0, time_to_accuracy.WARM_IMAGES)
    monkeypatch.setattr(sys, "argv", command)
    assert time_to_accuracy.main() == 0
    assert ran == [warm, ("torch", "mnistkit.fit", 0, None)]
    ran.clear()
    assert time_to_accuracy.main() == 0
    assert ran == []
    assert capsys.readouterr().out.count("| torch | mnistkit.fit | 1 of 1 |") == 2
    monkeypatch.setattr(sys, "argv", [*command, "--again"])
    assert time_to_accuracy.main() == 0
    assert len(ran) == 2
    monkeypatch.setattr(sys, "argv", [*command, "1"])
    monkeypatch.setitem(ROW, "accuracy", 0.98)
    assert time_to_accuracy.main() == 1  # 99 % was missed
    assert len(results.read_text().split('"seed"')) == 3


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("print('a greeting'); print('{\"accuracy\": 0.5}')", None),
        ("print('a greeting')", "exit 0"),
        ("raise SystemExit('no backend')", "no backend"),
        ("raise SystemExit(3)", "exit 3"),
        ("print('{\"accuracy\": 0.5}', flush=True); raise ValueError('late')", "ValueError: late"),
    ],
)
def test_a_process_that_fails_is_a_failure(script, found, tmp_path, monkeypatch):
    monkeypatch.setattr(time_to_accuracy, "SCRIPT", tmp_path / "child.py")
    time_to_accuracy.SCRIPT.write_text(script)
    row = time_to_accuracy.run("torch", "fit", 0, bytecode=str(tmp_path))
    assert row.get("failed") == found
    assert ("whole" in row) == (found is None)


def test_a_process_that_hangs_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(time_to_accuracy, "SCRIPT", tmp_path / "child.py")
    monkeypatch.setattr(time_to_accuracy, "PATIENCE", 0.2)
    time_to_accuracy.SCRIPT.write_text("import time\nwhile True: time.sleep(1)")
    assert time_to_accuracy.run("torch", "fit", 0, bytecode=str(tmp_path)) == {"failed": "took more than 0.2 s"}


def test_the_table_shows_what_was_measured_and_what_failed():
    rows = [
        {**ROW, "seed": 0, "whole": 9.0},
        {**ROW, "seed": 1, "whole": 12.0},
        {**ROW, "seed": 2, "accuracy": 0.9899, "whole": 1.0},
        {"backend": "jax", "way": "fit", "seed": 0, "failed": "out of memory"},
    ]
    _, _, jax, torch = page.table(rows)
    assert jax == "| jax | fit | 0 of 1 |  |  |  |  | out of memory |"
    assert torch == "| torch | mnistkit.fit | 2 of 3 | 10.5 (9.0 to 12.0) | 18.0 | 2.0 | 7.0 | 98.99% to 99.12% |"
    assert all(line.count("|") == len(page.HEADS) + 1 for line in page.table(rows))


def test_the_page_without_figures(tmp_path):
    missing = tmp_path / "time_to_accuracy.json"
    assert training._time_to_accuracy(missing) == "Not measured yet.\n"
    missing.write_text(json.dumps({"cores": 2, "recipe": accuracy_recipe.RECIPE, "rows": [ROW]}))
    assert "| torch | mnistkit.fit | 1 of 1 |" in training._time_to_accuracy(missing)
