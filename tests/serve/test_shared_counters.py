import json
import os

import pytest

from mnistkit.serve.metrics import Metrics
from mnistkit.serve.shared_counters import SharedCounters, forget


def other(folder, process, **tables):
    (folder / f"{process}.json").write_text(json.dumps(tables))


def test_a_process_alone_writes_nothing(tmp_path):
    counters = SharedCounters()
    counters.tables["rows"]["m"] = [1, 2]
    assert counters.total()["rows"] == {"m": [1, 2]}
    assert list(tmp_path.iterdir()) == []


def test_the_sum_over_processes(tmp_path):
    counters = SharedCounters(tmp_path)
    counters.tables["rows"]["m"] = [1, 2]
    other(tmp_path, 1, rows={"m": [10, 20], "n": [5, 5]}, queue={"m": [3]})
    total = counters.total()
    assert total["rows"] == {"m": [11, 22], "n": [5, 5]}
    assert total["queue"] == {"m": [3]}
    assert json.loads((tmp_path / f"{os.getpid()}.json").read_text())["rows"] == {"m": [1, 2]}


def test_the_dead_leave_what_they_counted_and_nothing_else(tmp_path):
    counters = SharedCounters(tmp_path)
    for process in (1, 2, 3):
        other(tmp_path, process, rows={"m": [process]}, queue={"m": [3]}, connections={"": [9]})
        forget(tmp_path, process)
        forget(tmp_path, process)  # a second time changes nothing
    assert sorted(path.name for path in tmp_path.glob("*.json")) == ["dead.json"]
    total = counters.total()
    assert total["rows"] == {"m": [6]}
    assert total["queue"] == total["connections"] == {}


def test_lists_of_different_lengths_are_a_bug_and_not_cut(tmp_path):
    counters = SharedCounters(tmp_path)
    counters.tables["rows"]["m"] = [1, 2]
    other(tmp_path, 1, rows={"m": [1]})
    with pytest.raises(ValueError, match="argument 2 is"):  # longer or shorter: files are read in any order
        counters.total()


def test_the_text_is_what_prometheus_reads():
    from prometheus_client.parser import text_string_to_metric_families

    metrics = Metrics()
    for seconds in (0.0001, 0.0002, 0.003, 99.0):
        metrics.answered("infer", 200, seconds)
    metrics.answered("grpc ModelInfer", 400, 0.5)
    metrics.ran("m", 3)
    metrics.set("queue", 2, "m")
    metrics.reloaded("m", good=False)
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for sample in family.samples
    }
    assert samples["mnistkit_requests_total", ("route", "infer"), ("status", "200")] == 4
    assert samples["mnistkit_requests_total", ("route", "grpc ModelInfer"), ("status", "400")] == 1
    seconds = {name[1][1]: value for name, value in samples.items()
               if name[0] == "mnistkit_request_seconds_bucket" and name[2] == ("route", "infer")}  # fmt: skip
    assert (seconds["0.0002"], seconds["0.005"], seconds["30.0"], seconds["+Inf"]) == (2, 3, 3, 4)
    assert samples["mnistkit_request_seconds_count", ("route", "infer")] == 4
    assert samples["mnistkit_request_seconds_sum", ("route", "infer")] == pytest.approx(99.0033)
    assert samples["mnistkit_batch_rows_bucket", ("le", "4.0"), ("model", "m")] == 1
    assert samples["mnistkit_batch_rows_bucket", ("le", "2.0"), ("model", "m")] == 0
    assert samples["mnistkit_queue_depth", ("model", "m")] == 2
    assert samples["mnistkit_reloads_total", ("model", "m"), ("result", "refused")] == 1
