"""`predict --ray`: the same table as one process writes, whatever dies on the way."""

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from ray_processes import LOCAL, below, ray_of_two, workers_below

from mnistkit.core.errors import ClusterError, DataError, InputError, MissingExtraError
from mnistkit.digits.bulk import RayCluster, read_in_bulk
from mnistkit.digits.bulk.sources import ImageRows, PictureFiles

ROWS = 3000
pytestmark = pytest.mark.filterwarnings(
    "ignore:no worker of the Ray cluster has answered"
)  # a slow machine is no error


@pytest.fixture(scope="module")
def token():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", LOCAL["RAY_AUTH_MODE"])
        patch.setenv("RAY_AUTH_TOKEN", LOCAL["RAY_AUTH_TOKEN"])
        yield


@pytest.fixture(scope="module")
def cluster(token):  # noqa: ARG001  # which the cluster asks for
    with ray_of_two() as (pid, address):
        yield pid, RayCluster(address, workers=2)


@pytest.fixture(scope="module")
def rows(tmp_path_factory, mnist):
    """A Parquet file whose row groups do not end where chunks do."""
    import pyarrow as pa
    import pyarrow.parquet

    images = mnist.x_test[:ROWS]
    flat = pa.FixedSizeListArray.from_arrays(pa.array(images.ravel()), 784)
    path = tmp_path_factory.mktemp("rows") / "images.parquet"
    pa.parquet.write_table(pa.table({"image": flat}), path, row_group_size=701)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory, mnist):
    """Forty pictures; one is torn, one empty of ink, one has a name that is no UTF-8."""
    place = tmp_path_factory.mktemp("scans")
    for number, image in enumerate(mnist.x_test[:36]):
        inside = place / str(number % 3)
        inside.mkdir(exist_ok=True)
        Image.fromarray(255 - np.kron(image, np.ones((2, 2), np.uint8))).save(inside / f"{number} a.png")
    (place / "0" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    Image.new("L", (30, 30), 255).save(place / "1" / "empty.png")
    (place / "notes.txt").write_text("nothing to read")
    with open(os.fsencode(place) + b"/\xff.png", "wb") as stream:  # noqa: PTH123 - a name of bytes
        stream.write((place / "0" / "0 a.png").read_bytes())
    return place


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(ImageRows, "at_once", 100)
    monkeypatch.setattr(PictureFiles, "at_once", 4)


class StopError(Exception):
    pass


def stop(_):
    raise StopError


# -- the same table ---------------------------------------------------------------------------------------------------


def test_a_worker_that_is_killed_changes_nothing(cluster, rows, tmp_path):
    pid, ray = cluster
    killed = []

    def kill_one(seen):
        if seen.done >= ROWS // 2 and not killed:
            killed.append(workers_below(pid)[0])
            os.kill(killed[0], signal.SIGKILL)

    alone = read_in_bulk([rows], tmp_path / "alone.csv", min_confidence=0.9)
    report = read_in_bulk([rows], tmp_path / "ray.csv", min_confidence=0.9, ray=ray, progress=kill_one)
    assert killed
    assert (tmp_path / "ray.csv").read_bytes() == (tmp_path / "alone.csv").read_bytes()
    assert (report.count, report.failed, report.errors) == (ROWS, alone.failed, alone.errors)
    assert not (tmp_path / "ray.csv.part").exists()


def test_pictures_of_a_folder_begun_by_ray_and_ended_alone(cluster, folder, tmp_path):
    read_in_bulk([folder], tmp_path / "alone.parquet")
    with pytest.raises(StopError):
        read_in_bulk([folder], tmp_path / "ray.parquet", ray=cluster[1], progress=stop)
    assert not (tmp_path / "ray.parquet").exists()
    report = read_in_bulk([folder], tmp_path / "ray.parquet", ray=cluster[1])
    assert (report.count, report.failed, report.before) == (39, 2, 4)
    assert (tmp_path / "ray.parquet").read_bytes() == (tmp_path / "alone.parquet").read_bytes()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["alone.parquet", "ray.parquet"]


def test_urls_are_read_and_written(cluster, folder, tmp_path, monkeypatch):
    """``local://`` is fsspec's, ``file://`` is pyarrow's; one process answers the same as Ray."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "far").mkdir()
    out = f"file://{tmp_path}/far/answers.jsonl"
    inside = f"local://{folder}/1"
    assert read_in_bulk([inside], out, ray=cluster[1]).path == out
    read_in_bulk([inside], "alone.jsonl")
    found = (tmp_path / "far" / "answers.jsonl").read_text()
    assert found == (tmp_path / "alone.jsonl").read_text()
    told = [json.loads(line) for line in found.splitlines()]
    assert len(told) == 13
    assert all(row["source"].startswith(f"{inside}/") for row in told)
    empty = f"{inside}/empty.png: no digit found; nothing stands out from the background"
    assert [row["error"] for row in told if row["error"]] == [empty]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["alone.jsonl", "far"]


# -- what goes wrong --------------------------------------------------------------------------------------------------


def test_what_one_process_would_refuse(cluster, mnist, tmp_path):
    floats = mnist.x_test[:400].astype("float32") / 255
    floats[250] = 7
    np.save(tmp_path / "a.npy", floats)
    with pytest.raises(InputError, match=r"a.npy: rows 200 to 299: floats must lie in \[0, 1\]"):
        read_in_bulk([tmp_path / "a.npy"], tmp_path / "a.csv", ray=cluster[1])
    np.save(tmp_path / "b.npy", mnist.x_test[:400])
    (tmp_path / "b.npy").write_bytes((tmp_path / "b.npy").read_bytes()[:-100])
    with pytest.raises(DataError, match=r"b.npy: is damaged \(it ends too early\); get the file again"):
        read_in_bulk([tmp_path / "b.npy"], tmp_path / "b.csv", ray=cluster[1])
    assert not list(tmp_path.glob("[ab].csv"))


def test_a_warning_comes_through(cluster, mnist, tmp_path):
    np.save(tmp_path / "paper.npy", 255 - mnist.x_test[:200])
    with pytest.warns(UserWarning, match="they look like dark ink on light paper"):
        read_in_bulk([tmp_path / "paper.npy"], tmp_path / "a.csv", ray=cluster[1])


def test_a_cluster_that_is_not_there(rows, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ClusterError, match=rf"{address}: no Ray cluster answers .*; check --ray-address") as caught:
        read_in_bulk([rows], tmp_path / "a.csv", ray=RayCluster(address))
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="Ray's client is not enough"):
        read_in_bulk([rows], tmp_path / "a.csv", ray=RayCluster("ray://127.0.0.1:10001"))
    assert not list(tmp_path.iterdir())


def test_a_cluster_that_asks_for_another_token(cluster, rows, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    with pytest.raises(ClusterError, match="set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN as the cluster has"):
        read_in_bulk([rows], tmp_path / "a.csv", ray=cluster[1])


@pytest.mark.usefixtures("token")
def test_a_cluster_that_goes_away(rows, tmp_path, monkeypatch):
    """All its processes are killed; what was read stays, and the same call alone goes on."""
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "2")
    with ray_of_two() as (pid, address):

        def kill_all(_):
            for one, line in below(pid).items():
                if "raylet" in line or "gcs_server" in line or "ray::" in line:
                    try:
                        os.kill(one, signal.SIGKILL)
                    except ProcessLookupError:
                        continue

        with pytest.raises(ClusterError, match="what was read is kept, and the same command goes on"):
            read_in_bulk([rows], tmp_path / "a.csv", ray=RayCluster(address, 1), progress=kill_all)
        os.kill(pid, signal.SIGKILL)  # it waits for what is gone
    report = read_in_bulk([rows], tmp_path / "a.csv")
    assert report.before >= 100
    read_in_bulk([rows], tmp_path / "alone.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "alone.csv").read_bytes()


def test_interrupted(cluster, tmp_path, mnist):
    np.save(tmp_path / "many.npy", np.tile(mnist.x_test, (20, 1, 1)))
    command = [sys.executable, "-m", "mnistkit", "predict", tmp_path / "many.npy", "--out", tmp_path / "a.csv", "--ray"]
    command += ["--ray-address", cluster[1].address, "--workers", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    part = tmp_path / "a.csv.part"
    while not part.exists() or part.stat().st_size < 50_000:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGSTOP)  # or it may be done before all of /proc is read on a busy machine
    started = below(process.pid)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    out, err = process.communicate()
    assert (process.returncode, out) == (130, ""), err
    assert "are read; the same command goes on from there\n" in err
    assert err.endswith("mnistkit: interrupted; no file was half-written\n")
    assert [one for one in started if os.path.exists(f"/proc/{one}")] == []  # noqa: PTH110 - no file
    assert not (tmp_path / "a.csv").exists()


def test_without_ray(rows, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ray" else find(name))
    with pytest.raises(MissingExtraError, match=r"--ray needs ray; run `pip install \"\.\[ray\]\"`"):
        read_in_bulk([rows], tmp_path / "a.csv", ray=RayCluster())


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--ray"], "--ray goes with --out"),
        (["--out", "a.csv", "--workers", "2"], "--workers goes with --ray"),
        (["--out", "a.csv", "--ray-address", "h:1"], "--ray-address goes with --ray"),
        (["--out", "a.csv", "--ray", "--workers", "-1"], "workers must be at least 1, got -1"),
    ],
)
def test_flags_that_do_not_go_together(fails, rows, flags, words):
    assert words in fails("predict", rows, *flags)
