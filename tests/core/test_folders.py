"""A folder is written completely or not at all, and only its own writer replaces it."""

import json
import signal
import subprocess
import sys

import pytest

from mnistkit.core.errors import OutputError
from mnistkit.core.folders import check_folder, digest, replacing_folder

KIND = "test"


def write(target, **files):
    with replacing_folder(target, kind=KIND) as new:
        for name, text in files.items():
            (new / name).write_text(text)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_new_folder_takes_the_place_of_the_old(tmp_path):
    target = tmp_path / "a" / "page"
    write(target, one="1", two="2")
    write(target, two="two")
    assert names(target) == ["mnistkit-folder.json", "two"]
    assert names(target.parent) == ["page"]
    found = json.loads((target / "mnistkit-folder.json").read_text())
    assert found == {"kind": KIND, "files": {"two": digest(target / "two")}}


def test_an_empty_folder_is_taken_and_the_current_one_is_not(tmp_path, monkeypatch):
    write(tmp_path, one="1")
    assert names(tmp_path) == ["mnistkit-folder.json", "one"]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="it is the current folder"):
        write(tmp_path, one="2")


REFUSED = {
    "a file": (lambda path: path.write_text("mine"), "there is a file or link of this name"),
    "a link": (lambda path: path.symlink_to(path.parent), "there is a file or link of this name"),
    "another file": (
        lambda path: (write(path, one="1"), (path / "mine").write_text("")),
        r"holds files that this command did not write \(mine\)",
    ),
    "a changed file": (lambda path: (write(path, one="1"), (path / "one").write_text("2")), "one was changed since"),
    "another's folder": (
        lambda path: (path.mkdir(), (path / "mine").write_text("")),
        r"holds files that this command did not write \(mine\)",
    ),
    "a damaged manifest": (
        lambda path: (write(path, one="1"), (path / "mnistkit-folder.json").write_text('{"kind": "test"}')),
        r"did not write \(mnistkit-folder.json, one\)",
    ),
    "another command's": (
        lambda path: (write(path, one="1"), (path / "mnistkit-folder.json").write_text('{"kind": "x", "files": {}}')),
        r"did not write \(mnistkit-folder.json, one\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_its_own_is_left_alone(tmp_path, case):
    make, words = REFUSED[case]
    make(tmp_path / "page")
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    with pytest.raises(OutputError, match=words):
        write(tmp_path / "page", one="new")
    assert {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
def test_after_a_failure_the_old_folder_stands_alone(tmp_path, error):
    write(tmp_path / "page", one="1")

    def write_half():
        with replacing_folder(tmp_path / "page", kind=KIND) as new:
            (new / "one").write_text("ha")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert names(tmp_path) == ["page"]
    assert (tmp_path / "page" / "one").read_text() == "1"


def test_what_is_changed_meanwhile_is_left_alone(tmp_path):
    write(tmp_path / "page", one="1")

    def write_meanwhile():
        with replacing_folder(tmp_path / "page", kind=KIND) as new:
            (new / "one").write_text("2")
            (tmp_path / "page" / "one").write_text("mine")

    with pytest.raises(OutputError, match="was changed since"):
        write_meanwhile()
    assert (tmp_path / "page" / "one").read_text() == "mine"
    assert names(tmp_path) == ["page"]


def test_a_killed_process_leaves_the_old_folder(tmp_path):
    write(tmp_path / "page", one="1")
    code = (
        "import os, signal, sys\nfrom mnistkit.core.folders import replacing_folder\n"
        "with replacing_folder(sys.argv[1], kind='test') as new:\n"
        "    (new / 'one').write_text('ha')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, tmp_path / "page"], check=False)
    assert ended.returncode == -signal.SIGKILL
    check_folder(tmp_path / "page", kind=KIND)
    assert (tmp_path / "page" / "one").read_text() == "1"
    write(tmp_path / "page", one="2")
    assert (tmp_path / "page" / "one").read_text() == "2"
