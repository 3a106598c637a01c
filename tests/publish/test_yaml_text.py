"""YAML as `mnistkit.publish.deploy` writes it, read by PyYAML."""

import pytest
import yaml

from mnistkit.publish.deploy.yaml_text import yaml_text

WORDS = [
    "plain", "a-b.c/d_e", "", " ", "yes", "No", "ON", "off", "null", "~", "true", "y", "1", "1.5", "1e3", "0x1f",
    "1:30", ".5", "12e03", "2026-01-01", "- a", "a: b", "a #b", "#a", "&a", "*a", "!a", "{a}", "[a]", "a\nb", "\t",
    "\x07", "\x7f", "\x85", "\u2028", "\ufeff", "ü 数 😀", '"', "'", "\\", "=", "<<", "-", "---", "...", "|", ">", "%a",
    "@a",
    "`a`", "null\n", "/a:", ".inf", ".nan",
]  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_yaml_gives_back_each_text(word):
    document = {word: word, "list": [word, [word], {word: [word, {}]}, [], {}], "rest": [1, 1.5, True, None]}
    assert yaml.safe_load(yaml_text(document, comment="two\nlines")) == document
    assert list(yaml.safe_load_all(yaml_text(document, {"b": word}))) == [document, {"b": word}]
