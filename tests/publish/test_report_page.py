"""The report as people get it: one whole page, its figures, the verb and its errors."""

import itertools
import json
import re
import shutil
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from mnistkit.publish.report import drawing
from mnistkit.publish.report.curves_file import write_curves
from mnistkit.publish.report.write import write_report

EXPORTS = Path(__file__).parents[2] / "exports"
UNKNOWN = (
    "no test results: nothing says which test data this model is for; give --data PATH (an .npz with x_test, as the "
    "model takes it, and y_test, class numbers)"
)
VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """A page that is well-formed, or an assertion fails."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs), [one for one, _ in self.open]))
        if tag not in VOID:
            self.open.append((tag, dict(attrs)))

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs), [one for one, _ in self.open]))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if not self.open or self.open[-1][0] != "style":
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes, _ in self.tags if name == tag]


def test_the_reader_of_pages_finds_what_is_wrong():
    with pytest.raises(AssertionError):
        Page("<p><b></p></b>")
    with pytest.raises(AssertionError):
        Page("<p>")


@pytest.fixture(scope="module", autouse=True)
def _hasty():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mnistkit.publish.speed._SECONDS", 0.01)
        yield


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The report of a committed model, with its figures as PNG."""
    folder = tmp_path_factory.mktemp("digits")
    for path in EXPORTS.glob("mnist-jax.*"):
        shutil.copy(path, folder)
    report, written = write_report(folder / "mnist-jax.keras", png=folder / "png", device="cpu")
    return report, written, written[0].read_text(encoding="utf-8")


def assert_good(text):
    """What holds for each page."""
    assert len(text.encode()) <= 1_000_000
    page = Page(text)
    ids = Counter(attributes["id"] for _, attributes, _ in page.tags if "id" in attributes)
    assert [name for name, count in ids.items() if count > 1] == []
    links = [attributes["href"] for name, attributes, _ in page.tags if "href" in attributes]
    assert all(link[0] == "#" and link[1:] in ids for link in links)
    assert all(image["alt"] for image in page.all("img"))
    assert all(image["src"].startswith("data:image/png;base64,") for image in page.all("img"))
    labeled = [one for one in page.all("div") if one.get("role") == "img"]
    assert len(labeled) == len(page.all("svg"))
    assert all(one["aria-label"] for one in labeled)
    assert all("scope" in cell for cell in page.all("th"))
    levels = [int(name[1]) for name, _, _ in page.tags if re.fullmatch(r"h[1-6]", name)]
    assert levels[0] == 1
    assert all(two - one <= 1 for one, two in itertools.pairwise(levels))
    assert levels.count(1) == 1
    assert "script" not in [name for name, _, _ in page.tags]
    assert not re.search(r"https?:|@import|url\((?!#)", text)
    (policy,) = [one["content"] for one in page.all("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    return page


def test_the_page(digits):
    report, written, text = digits
    page = assert_good(text)
    assert written[0].name == "mnist-jax.report.html"
    assert report.missing == ()
    assert len(page.all("svg")) == 5  # loss, accuracy, confusion, reliability, graph
    assert len(page.all("img")) == 24
    first = report.quality.mistakes[0]
    assert f"Test sample {first.index}: {first.true}, read as {first.read}, {100 * first.score:.1f} % sure" in text
    assert f"{report.quality.calibration.error:.4f}" in page.text
    assert "Keras against onnxruntime" in page.text
    assert str(Path.home()) not in text
    assert str(written[0].parent) not in text


def test_its_figures_follow_light_and_dark(digits):
    text = digits[2]
    figures = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    assert "var(--ink)" in figures
    assert "var(--blue)" in figures
    assert set(re.findall(r"#[0-9a-f]{6}\b", figures)) == set()
    assert "prefers-color-scheme: dark" in text


def test_figures_for_slides(digits):
    from PIL import Image

    names = ["curve-0", "curve-1", "confusion", "calibration", "mistakes", "graph"]
    assert [path.name for path in digits[1][1:]] == [f"mnist-jax.{name}.png" for name in names]
    for path in digits[1][1:]:
        with Image.open(path) as image:
            assert min(image.size) > 500
            assert image.convert("RGB").getpixel((1, 1)) == (255, 255, 255)


def test_the_same_model_gives_the_same_page_apart_from_times(digits, tmp_path):
    for path in digits[1][0].parent.glob("mnist-jax.*"):
        shutil.copy(path, tmp_path)
    _, written = write_report(tmp_path / "mnist-jax.onnx", tmp_path / "other.html", device="cpu")

    def timeless(text):
        text = re.sub(r"<table><caption>Latency of one run.*?</table>", "", text)
        return re.sub(r"<dt>latency.*?</dd>", "", text)

    assert timeless(written[0].read_text(encoding="utf-8")) == timeless(digits[2])
    assert written[0].name == "other.html"


def test_a_model_without_anything_beside_it(scores_model, cli, tmp_path):
    ran = cli("report", scores_model)
    assert ran.code == 0
    assert ran.err.splitlines() == [
        "mnistkit: no training history: scores.train.json is missing; `mnistkit train` writes it",
        f"mnistkit: {UNKNOWN}",
        "mnistkit: no parity table: scores.onnx.json is missing; `mnistkit export` writes it",
    ]
    assert ran.out.splitlines()[-1].startswith(f"wrote {tmp_path / 'scores.report.html'} (")
    text = (tmp_path / "scores.report.html").read_text(encoding="utf-8")
    page = assert_good(text)
    for words in ("no training history", "no test results", "no parity table", "drawn inputs"):
        assert words in page.text


def test_names_that_try_to_break_the_page(scores_model, cli, tmp_path):
    """Labels, names of nodes and metadata with markup; letters that the font of the figures lacks."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "test.npz", x_test=rng.random((40, 4), np.float32), y_test=rng.integers(0, 3, 40))
    ran = cli("report", scores_model, "--data", tmp_path / "test.npz", "--png", tmp_path / "png", "--quiet")
    assert (ran.code, ran.err) == (0, "")
    text = (tmp_path / "scores.report.html").read_text(encoding="utf-8")
    page = assert_good(text)
    assert "<script>alert(1)</script>" in page.text
    assert "alert('node')" in page.text
    assert "</td>\"'<b>" in page.text
    assert "数字" in page.text
    assert "no calibration: the model's answers are no probabilities" in page.text
    assert "<script" not in text


def test_what_lies_beside_the_file_may_be_anything(scores_model):
    """Numbers that no axis holds, markup, and lists without end in the two JSON files."""
    import hashlib

    row = {
        "sample": "<script>" * 99,
        "batch_size": 10**99,
        "rows": -1,
        "agreement": 0,
        "allowed": np.inf,
        "largest": np.nan,
    }
    provenance = {
        "file": "scores.onnx",
        "sha256": hashlib.sha256(scores_model.read_bytes()).hexdigest(),
        "exporter": {"name": "<b>" * 999},
        "exported_under": {"name": 1, "version": None, "keras_version": [3]},
        "verification": {"rows": [row] * 1000},
    }
    scores_model.with_name("scores.onnx.json").write_text(json.dumps(provenance))
    history = {"loss": [1e308, -1e308, np.nan, np.inf], "nan": [np.nan] * 3, "<b>$\\frac": [1] * 50_000}
    training = {"history": history, "settings": {"<i>": ["x"] * 9999}, "test": {"<u>": 1e300}}
    scores_model.with_name("scores.train.json").write_text(json.dumps(training))
    report, written = write_report(scores_model, device="cpu")
    page = assert_good(written[0].read_text(encoding="utf-8"))
    assert len(report.parity.rows) == 60
    assert report.history.epochs == 50_000
    assert "<b>$" in page.text
    json.dumps(report.as_json(), allow_nan=False)


def test_json(scores_model, cli, tmp_path):
    ran = cli("report", scores_model, "--json", "--quiet", "-o", tmp_path / "page.html")
    told = json.loads(ran.out)
    assert (ran.code, ran.err) == (0, "")
    assert told["quality"]["reason"].startswith("no test results")
    assert told["speed"]["latencies"][0]["batch_size"] == 1
    assert told["graph"]["boxes"][1]["title"] == "Gather"
    assert (tmp_path / "page.html").is_file()


def test_a_huge_graph_stays_within_the_limit(make_model):
    """Thousands of operations, each with a long name, and none like its neighbor."""
    from onnx import helper

    rng = np.random.default_rng(0)
    kinds = rng.choice(["Neg", "Abs", "Sin", "Floor", "Ceil", "Sign", "Tanh"], 1500)
    nodes = [
        helper.make_node(kind, [f"t{n - 1}" if n else "x"], [f"t{n}" if n < 1499 else "y"], name=f"{'long ' * 200}{n}")
        for n, kind in enumerate(kinds)
    ]
    report, written = write_report(make_model("huge", nodes=nodes), device="cpu")
    text = written[0].read_text(encoding="utf-8")
    assert_good(text)
    assert report.graph.operations == 1500
    assert "boxes are drawn" in text


def test_a_page_that_would_be_too_large_does_without_the_drawing(digits, monkeypatch):
    from mnistkit.publish.report import page
    from mnistkit.publish.report.figures import draw_all

    report = digits[0]
    charts = list(draw_all(report, drawing.PAGE))
    monkeypatch.setattr(page, "LARGEST", len(digits[2].encode()) - 1000)
    text = page.make_page(report, charts)
    assert len(assert_good(text).all("svg")) == 4
    assert "The drawing is left out" in text
    assert "Boxes of the drawing" in text


def test_a_model_that_answers_nan(exports_nan, cli):
    ran = cli("report", exports_nan)
    assert ran.code == 0
    assert "mnistkit: no test results: " in ran.err
    assert "NaN or infinity; export it again" in ran.err
    assert_good(exports_nan.with_suffix(".report.html").read_text(encoding="utf-8"))


@pytest.fixture
def exports_nan(tmp_path):
    from onnxfile import classes_bias, read, replaced

    content = (EXPORTS / "mnist-jax.onnx").read_bytes()
    name = classes_bias(content)
    path = tmp_path / "nan.onnx"
    path.write_bytes(replaced(content, name, read(content, name) * np.nan))
    return path


ERRORS = {
    "no file": (["none.onnx"], "none.onnx: no such file"),
    "no onnx": (["MODEL.keras"], "is missing; run `mnistkit export"),
    "no model": (["bad.onnx"], "bad.onnx: a web page, not an ONNX model"),
    "no page": (["MODEL.onnx", "-o", "report.pdf"], "report.pdf: a report is a page; give a name that ends in .html"),
    "a folder": (["MODEL.onnx", "-o", "folder.html"], "folder.html: it is a folder; name a file"),
    "data": (["MODEL.onnx", "--data", "none.npz"], "none.npz: no such file"),
    "png": (["MODEL.onnx", "--png", "bad.onnx"], "bad.onnx"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_leave_nothing(fails, scores_model, tmp_path, monkeypatch, case):
    arguments, words = ERRORS[case]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.onnx").write_text("<html>")
    (tmp_path / "folder.html").mkdir()
    assert words in fails("report", *[word.replace("MODEL.onnx", str(scores_model)) for word in arguments])
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".html"] == ["folder.html"]


def test_without_matplotlib_the_extra_is_named(fails, scores_model, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert 'matplotlib is not installed; run `pip install ".[report]"`' in fails("report", scores_model)
    line = fails("train", "--plot", "--out", tmp_path / "m.keras")
    assert 'matplotlib is not installed; run `pip install ".[report]"`' in line
    assert [path.name for path in tmp_path.iterdir()] == ["scores.onnx"]


def test_a_plot_is_a_png(fails, tmp_path):
    assert "--plot x.jpg: the curves are a PNG; give a name that ends in .png" in fails("train", "--plot", "x.jpg")
    assert "it is a folder; name a file" in fails("train", "--plot", _folder(tmp_path / "a.png"))


def _folder(path):
    path.mkdir()
    return path


def test_curves_of_a_training(tmp_path):
    from PIL import Image

    path = tmp_path / "curves.png"
    write_curves({"loss": [1.0], "accuracy": [0.5]}, path)
    first = path.read_bytes()
    write_curves({"loss": [1.0, 0.5], "val_loss": [1.0, 0.6], "accuracy": [0.5, 0.7], "val_accuracy": [0.5, 0.6]}, path)
    assert path.read_bytes() != first
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]
    with Image.open(path) as image:
        assert image.size == pytest.approx((1840, 620), abs=1)
    write_curves({}, path)
    assert path.is_file()


def test_users_own_settings_of_matplotlib_change_nothing(digits):
    """Neither are they changed by a drawing."""
    import matplotlib as mpl

    from mnistkit.publish.report.charts import draw_curve

    curve = digits[0].history.curves[0]
    plain = drawing.as_svg(draw_curve(curve, drawing.PAGE, name="a"))
    with mpl.rc_context({"font.size": 30, "axes.grid": True, "text.usetex": True}):
        before = dict(mpl.rcParams)
        assert drawing.as_svg(draw_curve(curve, drawing.PAGE, name="a")) == plain
        assert dict(mpl.rcParams) == before
