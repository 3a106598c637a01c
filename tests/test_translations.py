"""A Chinese page has the sections, the code and the numbers of the English one; what is missing is named."""

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from doc_blocks import blocks

ROOT = Path(__file__).parent.parent
PAIRS = {"README.md": "README.zh-CN.md", "docs/tutorial.md": "docs/tutorial.zh-CN.md"}
_CHINESE = re.compile("[\u4e00-\u9fff]")
_FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands below it, up to the next one; what is compared is in `parts`."""

    heading: str
    level: int
    parts: tuple[tuple[str, str], ...]


def sections(text):
    """The sections of a page, in order."""
    heads = list(re.finditer(r"^(#+) (.+)$", _FENCED.sub(_blank, text), re.MULTILINE))
    ends = [*(match.start() for match in heads[1:]), len(text)]
    return [
        Section(head[2], len(head[1]), tuple(_parts(text[head.end() : end])))
        for head, end in zip(heads, ends, strict=True)
    ]


def _blank(match):
    return re.sub(r"[^\n]", " ", match[0])


def _parts(text):
    for block in blocks(text, ""):
        yield f"the {block.language} block", "\n".join(map(_bare, block.code.splitlines()))
    prose = _FENCED.sub("", text)
    for image in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", prose):
        yield "the picture", image
    rows = [line for line in prose.splitlines() if line.startswith("|")]
    if rows:
        yield "the table", "\n".join(_numbers(row) + f" in {row.count('|') - 1} cells" for row in rows)
    for name, words in re.findall(r"<!-- table: (.+?) -->\n(.*?)<!-- end", prose, re.DOTALL):
        yield f"the numbers of <!-- table: {name} -->", _numbers(words)


def _bare(line):
    """A line without a comment that may be in another language: of prose, not of what is printed."""
    code, mark, comment = line.partition("  # ")
    return f"{code}{mark}" if mark and not code.startswith("print(") else f"{code}{mark}{comment}"


def _numbers(text):
    return " ".join(sorted(re.findall(r"\d[\d,.]*\d|\d", text)))


def differences(english, chinese, *, names=("the English page", "the Chinese page")):
    """One line for each section that the translation has not, has too much, or has with other code or numbers."""
    one, two = sections(english), sections(chinese)
    matcher = difflib.SequenceMatcher(
        None, [(s.level, s.parts) for s in one], [(s.level, s.parts) for s in two], autojunk=False
    )
    found = []
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            continue
        if b - a == d - c:
            for left, right in zip(one[a:b], two[c:d], strict=True):
                found += [f"{names[1]}, «{right.heading}» (for «{left.heading}»): {why}" for why in _why(left, right)]
            continue
        there = ", ".join(f"«{section.heading}»" for section in two[c:d]) or "nothing"
        here = ", ".join(f"«{section.heading}»" for section in one[a:b]) or "nothing"
        found.append(f"{names[0]} has {here} where {names[1]} has {there}")
    return found


def _why(left, right):
    if left.level != right.level:
        yield f"level {right.level} of heading, not {left.level}"
    mine, other = [kind for kind, _ in left.parts], [kind for kind, _ in right.parts]
    if mine != other:
        yield f"it has {', '.join(other) or 'nothing'}; the English has {', '.join(mine) or 'nothing'}"
        return
    for (kind, said), (_, given) in zip(left.parts, right.parts, strict=True):
        if said != given:
            changed = [f"{line}" for line in difflib.ndiff(said.splitlines(), given.splitlines()) if line[0] in "+-"]
            yield f"{kind} differs:\n" + "\n".join(changed)


@pytest.mark.parametrize("page", PAIRS)
def test_a_translation_has_the_same_sections_code_and_numbers(page):
    english, chinese = ((ROOT / name).read_text(encoding="utf-8") for name in (page, PAIRS[page]))
    assert differences(english, chinese, names=(page, PAIRS[page])) == []
    assert len(_CHINESE.findall(chinese)) > 1000
    for name, text in ((page, chinese), (PAIRS[page], english)):
        assert f"]({Path(name).name})" in text  # each links to the other


@pytest.mark.parametrize("page", PAIRS)
def test_what_a_page_links_to_is_linked_in_its_translation(page):
    """All but anchors, which have the heading's language."""
    english, chinese = (
        {link.replace(".zh-CN", "").partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text)}
        for text in ((ROOT / name).read_text(encoding="utf-8") for name in (page, PAIRS[page]))
    )
    assert english == chinese


ENGLISH = """# Title

## Install

```console
$ pip install x
```

## Speed

<!-- table: speed -->
| a | b |
|---|---|
| jax | 2.9 times |
<!-- end: speed -->

## Use

```python
y = f(x)  # a word
print(y)  # 7
```

## End
"""
CHINESE = (
    ENGLISH.replace("Title", "标题").replace("a word", "一个词").replace("2.9 times", "2.9 倍").replace("End", "结束")
)
WRONG = {
    "a section is missing": (CHINESE.replace("## Install\n\n```console\n$ pip install x\n```\n\n", ""), "«Install»"),
    "a section is new": (CHINESE + "\n## 更多\n\n```text\nx\n```\n", "has nothing where the Chinese page has «更多»"),
    "another command": (CHINESE.replace("pip install x", "pip install y"), "the console block differs"),
    "another line of code": (CHINESE.replace("f(x)", "g(x)"), "the python block differs:\n- y = f(x)"),
    "another printed result": (CHINESE.replace("# 7", "# 8"), "the python block differs"),
    "a block is missing": (
        CHINESE.replace("```console\n$ pip install x\n```\n", ""),
        "it has nothing; the English has",
    ),
    "an older number": (CHINESE.replace("2.9", "2.8"), "the table differs"),
    "another level": (CHINESE.replace("## 结束", "### 结束"), "level 3 of heading, not 2"),
}


def test_a_right_translation_passes():
    assert differences(ENGLISH, CHINESE) == []


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_translation_is_found_and_named(case):
    chinese, told = WRONG[case]
    assert told in "\n".join(differences(ENGLISH, chinese))
