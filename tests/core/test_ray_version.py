"""The oldest Ray: the same in the extra and in the message; Ray itself is not needed."""

import importlib.metadata
import re
from pathlib import Path

import pytest

from mnistkit.core.errors import MissingExtraError
from mnistkit.core.ray_cluster import OLDEST, check_version


@pytest.mark.parametrize("found", ["2.56.9", "1.99.0", "2.9"])
def test_an_older_ray_is_refused_with_the_cure(monkeypatch, found):
    monkeypatch.setattr(importlib.metadata, "version", lambda _: found)
    with pytest.raises(MissingExtraError, match=rf"Ray {found} is too old, {OLDEST} is needed; run `pip install"):
        check_version()


@pytest.mark.parametrize("found", [f"{OLDEST}.0", "2.60.0", "3.0.0.dev0", "10.1rc1"])
def test_this_one_and_later_ones_are_taken(monkeypatch, found):
    monkeypatch.setattr(importlib.metadata, "version", lambda _: found)
    check_version()


def test_the_extra_asks_for_the_same():
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert re.findall(r"ray\[[a-z,]+\]>=([0-9.]+)", project) == [OLDEST]
