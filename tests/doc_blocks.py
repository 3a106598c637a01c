"""The code blocks of the pages, and what it takes for each kind to be right."""

import configparser
import contextlib
import io
import json
import re
import shlex
import tomllib
from dataclasses import dataclass
from pathlib import Path

from mnistkit.cli.parser import VERBS, Parser, build_parser

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
    if not path.read_text(encoding="utf-8").startswith("--8<--")  # shows another page
)
_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>.+) -->\n)?^(?P<indent> *)```(?P<language>[^\n]*)\n(?P<code>.*?)^ *```$",
    re.DOTALL | re.MULTILINE,
)
_COMMAND = re.compile(
    rf"(?:python -m mnistkit\.|\bmnistkit )((?:{'|'.join(VERBS)})\b.*?)(?= &&| \||;| > |`|$)", re.MULTILINE
)
_NUMBER = re.compile(r"\d+\.\d+(?!\d*e)")
_MAY_DIFFER = 0.03
"""How far a printed decimal may be from the page's: losses and accuracies of other backends."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block; `output` is a ``text`` block right below it."""

    page: str
    line: int
    language: str
    code: str
    reason: str | None
    output: str | None = None

    def __str__(self):
        return f"{self.page}:{self.line}"


def blocks(text, page):
    """Every block of a page, in order."""
    found = []
    matches = list(_BLOCK.finditer(text))
    for place, match in enumerate(matches):
        after = matches[place + 1] if place + 1 < len(matches) else None
        output = None
        if after and after["language"] == "text" and not text[match.end() : after.start()].strip():
            output = after["code"]
        line = text.count("\n", 0, match.start("language")) + 1
        found.append(Block(page, line, match["language"], match["code"], match["reason"], output))
    return found


def read(page):
    return (ROOT / page).read_text(encoding="utf-8")


ALL = [block for page in PAGES for block in blocks(read(page), page)]


def room(page):
    """Where the Python of a page can run: ``keras``, ``ray``, ``serve`` or ``light``; its blocks run in order."""
    code = "\n".join(block.code for block in ALL if block.page == page and block.language == "python")
    if re.search(r"keras|mnistkit\.export|export_onnx|\bfit\b", code):
        return "keras"
    if re.search(r"\b(import|from) ray\b", code):
        return "ray"
    return "serve" if "mnistkit.serve" in code else "light"


def python_pages(where):
    """The pages under docs/ with Python for a room. README.md has tests of its own: its blocks run one by one."""
    pages = {block.page for block in ALL if block.language == "python" and block.reason is None}
    return sorted(page for page in pages if page.startswith("docs/") and room(page) == where)


def run(some, folder):
    """Run Python blocks in one namespace, in a folder; a line for each that prints otherwise than its page says."""
    faults, names = [], {"__name__": "page"}
    with contextlib.chdir(folder):
        for block in some:
            if block.language != "python" or block.reason is not None:
                continue
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile("\n" * block.line + block.code, block.page, "exec"), names)  # noqa: S102  # our own page
            comments = re.findall(r"print\(.*\)  # (.+)", block.code)
            said = "".join(f"{words}\n" for words in comments) if block.output is None else block.output
            if (said or block.output) and not same(said, printed.getvalue()):
                faults.append(f"{block}: the page says\n{said}and the code prints\n{printed.getvalue()}")
    return faults


def same(said, printed):
    """Whether the words are equal, and each decimal number is within `_MAY_DIFFER`."""
    one, two = _NUMBER.findall(said), _NUMBER.findall(printed)
    if _NUMBER.sub("#", said) != _NUMBER.sub("#", printed):
        return False
    return all(abs(float(a) - float(b)) <= _MAY_DIFFER for a, b in zip(one, two, strict=True))


def commands(text):
    """The mnistkit commands in a text, each as its words."""
    joined = re.sub(r"\\\n\s*", " ", text)
    return [shlex.split(words.split("  #")[0]) for words in _COMMAND.findall(joined)]


def check_words(page, text):
    """The commands with flags in the prose of a page.

    Raises:
        ValueError: One cannot be parsed.
    """
    for span in re.findall(r"`([^`\n]+)`", _BLOCK.sub("", text)):
        if re.match(r"(python -m mnistkit\.|mnistkit )[a-z]+ .*-", span):
            try:
                _parse_commands(span)
            except ValueError as error:
                raise ValueError(f"{page}, `{span}`: {error}") from error


def check(block):
    """Whatever a block is, short of running it.

    Raises:
        ValueError: It cannot be right, or nobody says why it is not tested.
    """
    if block.reason is not None:
        return
    kind = block.language
    try:
        if kind in {"console", "sh", "powershell", "yaml", "ini", "dockerfile"}:
            _parse_commands(block.code)
        if kind == "python":
            compile(block.code, block.page, "exec")
        elif kind == "json":
            json.loads(block.code)
        elif kind == "toml":
            tomllib.loads(block.code)
        elif kind == "ini":
            configparser.ConfigParser(strict=False, interpolation=None).read_string(block.code)
        elif kind == "yaml":
            import yaml

            yaml.safe_load(block.code)
        elif kind == "dockerfile":
            for words in re.findall(r'\["mnistkit", (.*)\]', block.code):
                _parse(json.loads(f"[{words}]"))
        elif kind not in {"text", "console", "sh", "powershell"}:
            _refuse_kind(kind)
    except Exception as error:
        raise ValueError(f"{block}: {error}") from error


def _refuse_kind(kind):
    raise ValueError(f"nothing tests a block of {kind!r}: give `text`, or a line <!-- not run: REASON --> above it")


def _parse_commands(text):
    for words in commands(text):
        _parse(words)


def _parse(words):
    words = [re.sub(r"\$\d", "FILE", word) for word in words]
    parser = build_parser(verbs=words[:1])
    kept, Parser.error = Parser.error, _refuse
    try:
        _, extra = parser.parse_known_args(words)
    finally:
        Parser.error = kept
    if extra:
        raise ValueError(f"unknown: {' '.join(extra)}")


def _refuse(self, message):
    raise ValueError(f"{self.prog}: {message}")
