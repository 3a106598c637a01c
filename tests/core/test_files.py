"""A file is written completely or not at all."""

import errno
import json
import os
import stat
import sys
import threading

import pytest

from mnistkit.core.errors import OutputError
from mnistkit.core.files import check_writable, replacing, sniff_kind, write_json


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_new_content_takes_the_place_of_the_old(tmp_path):
    target = tmp_path / "model.onnx"
    target.write_text("old")
    with replacing(target) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".onnx"
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert names(tmp_path) == ["model.onnx"]


def test_the_temporary_name_can_have_another_ending(tmp_path):
    with replacing(tmp_path / "model", suffix=".keras") as temporary:
        assert temporary.suffix == ".keras"
    assert names(tmp_path) == ["model"]


def test_folders_are_made(tmp_path):
    with replacing(tmp_path / "a" / "b" / "model.onnx") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "a" / "b" / "model.onnx").read_text() == "new"


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
def test_after_a_failure_the_old_file_stands_alone(tmp_path, error):
    target = tmp_path / "model.onnx"
    target.write_text("old")

    def write_half():
        with replacing(target) as temporary:
            temporary.write_text("ha")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert target.read_text() == "old"
    assert names(tmp_path) == ["model.onnx"]


def test_the_file_gets_the_permissions_of_any_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "model.onnx") as temporary:
            temporary.write_text("new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model.onnx").stat().st_mode) == 0o640


def test_the_umask_of_the_process_is_never_touched(tmp_path, monkeypatch):
    """Another thread may create a file at any moment."""

    def refuse(*_):
        raise AssertionError("the umask was changed")

    monkeypatch.setattr("os.umask", refuse)
    write_json(tmp_path / "a.json", 1)
    assert names(tmp_path) == ["a.json"]


def test_a_temporary_name_that_is_taken_is_not_used(tmp_path, monkeypatch):
    tokens = iter(["taken", "free"])
    monkeypatch.setattr("secrets.token_hex", lambda _: next(tokens))
    (tmp_path / ".a.taken.json").write_text("somebody else's")
    write_json(tmp_path / "a.json", 1)
    assert (tmp_path / ".a.taken.json").read_text() == "somebody else's"
    assert names(tmp_path) == [".a.taken.json", "a.json"]


KINDS = {
    b"": "an empty file",
    b"version https://git-lfs.github.com/spec/v1\n": "a Git LFS pointer",
    b"\n <!DOCTYPE html><html>": "a web page",
    b"<html>": "a web page",
    b"<svg xmlns=''>": "an SVG drawing",
    b"<?xml version='1.0'?>": "an XML document",
    b"%PDF-1.7": "a PDF document",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b\x08": "gzip data",
    b"\x93NUMPY\x01": "a single .npy array",
}


@pytest.mark.parametrize("head", KINDS)
def test_kinds_of_files(head):
    assert sniff_kind(head).name == KINDS[head]


@pytest.mark.parametrize("head", [b"\x08\x08\x12\x08mnistkit", b"\x89PNG\r\n\x1a\n", b"hello", b" PK\x03\x04", b"html"])
def test_files_of_no_kind_that_is_told_apart(head):
    assert sniff_kind(head) is None


def test_a_file_in_place_of_a_folder(tmp_path):
    (tmp_path / "exports").write_text("")
    with pytest.raises(OutputError, match=r"cannot write into .*exports: .*; choose another place with --out"):
        write_json(tmp_path / "exports" / "mnist.json", {})
    assert names(tmp_path) == ["exports"]


def test_a_folder_in_place_of_a_file(tmp_path):
    with pytest.raises(OutputError, match="it is a folder; name a file"):
        check_writable(tmp_path)


def test_check_writable_leaves_nothing(tmp_path):
    check_writable(tmp_path / "model.onnx")
    assert names(tmp_path) == []


def test_a_folder_that_may_not_be_written(tmp_path, monkeypatch):
    """As root no folder is read-only, so the refusal comes from the call itself."""

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(OutputError, match="Permission denied; choose another place with --out"):
        check_writable(tmp_path / "model.onnx")


def test_a_failing_rename_keeps_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "model.onnx"
    target.write_text("old")

    def refuse(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def write():
        with replacing(target) as temporary:
            temporary.write_text("new")

    monkeypatch.setattr("pathlib.Path.replace", refuse)
    with pytest.raises(OutputError, match="Read-only file system"):
        write()
    assert target.read_text() == "old"
    assert names(tmp_path) == ["model.onnx"]


@pytest.mark.skipif(sys.platform == "win32", reason="no RLIMIT_FSIZE there")
def test_a_full_disk(tmp_path, python):
    """The kernel refuses to let the file grow, as on a full disk: one line, the old file kept, nothing left behind."""
    (tmp_path / "out.json").write_text("old")
    ran = python(
        "-c",
        "import resource, signal, sys\n"
        "from mnistkit.core.errors import OutputError\n"
        "from mnistkit.core.files import write_json\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n    write_json('out.json', ['x' * 100_000])\n"
        "except OutputError as error:\n    sys.exit(f'told: {error}')\n",
        cwd=tmp_path,
    )
    assert ran.code == 1
    assert ran.err.startswith("told: cannot write out.json: File too large; choose another place with --out")
    assert (tmp_path / "out.json").read_text() == "old"
    assert names(tmp_path) == ["out.json"]


def test_json_is_exact_and_ends_with_a_newline(tmp_path):
    write_json(tmp_path / "a.json", {"name": "zwölf", "value": 0.1})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert text.endswith("}\n")
    assert "zwölf" in text
    assert json.loads(text) == {"name": "zwölf", "value": 0.1}


def test_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", float("nan"))
    assert names(tmp_path) == []


def test_writers_side_by_side_never_mix(tmp_path):
    """The last one wins; a reader sees one whole text or another."""
    texts = [str(number) * 50_000 for number in range(4)]
    threads = [threading.Thread(target=write_json, args=(tmp_path / "a.json", text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert json.loads((tmp_path / "a.json").read_text()) in texts
    assert names(tmp_path) == ["a.json"]
