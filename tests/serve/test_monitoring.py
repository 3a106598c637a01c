"""The Grafana dashboard and the Prometheus rules, held against the metrics of a running server and by promtool."""

import itertools
import json
import re
import shutil
import signal
import subprocess

import numpy as np
import pytest
import yaml
from deploying import ROOT, read_json
from served import tensor, wait_for

FOLDER = ROOT / "mnistkit" / "publish" / "deploy" / "monitoring"
RULES, DASHBOARD = FOLDER / "prometheus-rules.yaml", FOLDER / "grafana-dashboard.json"
_OURS = re.compile(r"\bmnistkit_[a-z_]+(?:\{([^}]*)\})?")
VARIABLES = {"$__rate_interval": "5m", "$instance": "a:1|b:1", "$route": "infer|predict"}


@pytest.fixture(scope="module")
def promtool():
    """Run promtool on a file; gives whether it is content, and what it says."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is missing: install the package prometheus; names and labels are checked without it")

    def run(kind, path):
        ended = subprocess.run([program, *kind, str(path)], capture_output=True, text=True, check=False)
        return ended.returncode == 0, ended.stdout + ended.stderr

    return run


@pytest.fixture(scope="module")
def exposed(tmp_path_factory, asset):
    """Labels by the name of each metric of a server that has answered, refused and reloaded."""
    from served import serving

    with serving(tmp_path_factory.mktemp("monitored"), "--model", f"mnist={asset}") as server:
        server.infer({"inputs": [tensor(np.zeros((1, 784)))]})
        server.infer({"inputs": []})
        server.signal(signal.SIGHUP)
        wait_for(lambda: server.metric("mnistkit_reloads_total") > 0)
        text = server.get("/metrics").body.decode()
    found = {}
    for line in text.splitlines():
        if sample := re.match(r"(\w+)(?:\{(.*)\})? ", line):
            found.setdefault(sample[1], set()).update(re.findall(r'(\w+)="', sample[2] or ""))
    return found


def expressions():
    """Every expression of the rules and the dashboard, by where it stands."""
    found = {
        rule.get("alert") or rule["record"]: rule["expr"]
        for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    }
    for panel in read_json(DASHBOARD)["panels"]:
        for target in panel["targets"]:
            text = target["expr"]
            for name, value in VARIABLES.items():
                text = text.replace(name, value)
            found[f"{panel['title']} {target['refId']}"] = text
    return found


def unknown(expression, exposed, recorded=()):
    """Metrics and labels in an expression that no server shows."""
    text = re.sub("|".join(map(re.escape, sorted(recorded, key=len, reverse=True))) or "$^", "", expression)
    wrong, labels = set(), {"instance", "job"}
    for match in _OURS.finditer(text):
        name = match[0].split("{")[0]
        known = exposed.get(name)
        if known is None:
            wrong.add(name)
            continue
        labels |= known
        wrong |= {f"{name}.{label}" for label in re.findall(r"(\w+)\s*[!=]", match[1] or "")} - {
            f"{name}.{label}" for label in known | {"instance", "job"}
        }
    if not recorded or text == expression:
        for group in re.findall(r"\bby \(([^)]*)\)", text):
            wrong |= {f"by {label.strip()}" for label in group.split(",")} - {f"by {label}" for label in labels}
    return wrong


@pytest.mark.parametrize("place", expressions())
def test_each_expression_asks_for_what_a_server_shows(place, exposed):
    recorded = [name for name in expressions() if ":" in name]
    assert unknown(expressions()[place], exposed, recorded) == set()


def test_an_expression_that_asks_for_something_else_is_found(exposed):
    assert unknown("sum(mnistkit_request_total)", exposed) == {"mnistkit_request_total"}
    assert unknown('mnistkit_requests_total{code="200"}', exposed) == {"mnistkit_requests_total.code"}
    assert unknown("sum by (path) (mnistkit_requests_total)", exposed) == {"by path"}


def test_every_metric_of_the_server_is_on_the_dashboard(exposed):
    text = " ".join(target["expr"] for panel in read_json(DASHBOARD)["panels"] for target in panel["targets"])
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in exposed}
    assert {name for name in families if name not in text} == set()


def test_the_dashboard_is_one():
    dashboard = read_json(DASHBOARD)
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, two in itertools.combinations(places, 2):  # none lies on another
        assert (
            one["x"] + one["w"] <= two["x"] or two["x"] + two["w"] <= one["x"]
            or one["y"] + one["h"] <= two["y"] or two["y"] + two["h"] <= one["y"]
        ), (one, two)  # fmt: skip
    variables = {one["name"] for one in dashboard["templating"]["list"]}
    text = json.dumps(panels)
    assert set(re.findall(r"\$\{?(\w+)", text)) <= variables | {"__rate_interval"}
    assert {target["datasource"]["uid"] for panel in panels for target in panel["targets"]} == {"${datasource}"}
    assert all(panel["title"] and panel["fieldConfig"]["defaults"]["unit"] for panel in panels)


def test_the_rules_are_some():
    (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    alerts = [rule for rule in group["rules"] if "alert" in rule]
    assert len({rule["alert"] for rule in alerts}) == len(alerts) >= 7
    for rule in alerts:
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]


def test_promtool_takes_the_rules(promtool, tmp_path):
    good, said = promtool(("check", "rules"), RULES)
    assert good, said
    (tmp_path / "wrong.yaml").write_text(
        RULES.read_text().replace("absent(mnistkit_in_flight)", "absent(mnistkit_in_flight")
    )
    assert not promtool(("check", "rules"), tmp_path / "wrong.yaml")[0]


def test_promtool_takes_the_expressions_of_the_dashboard(promtool, tmp_path):
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(expressions().values())]
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    good, said = promtool(("check", "rules"), tmp_path / "panels.yaml")
    assert good, said


REQUESTS = 'mnistkit_requests_total{route="infer",instance="a:8001",status='
BUCKET = 'mnistkit_request_seconds_bucket{route="infer",instance="a:8001",le='
ALIVE = {"series": 'mnistkit_in_flight{instance="a:8001"}', "values": "0x60"}
INFO = 'mnistkit_model_info{model="m",version="1",provider="CPUExecutionProvider",weights='
CASES = {
    "MnistkitAbsent": ([{"series": "other", "values": "0x60"}], [ALIVE]),
    "MnistkitBugs": (
        [{"series": f'{REQUESTS}"500"}}', "values": "0+1x60"}],
        [{"series": f'{REQUESTS}"200"}}', "values": "0+1x60"}],
    ),
    "MnistkitRefusing": (
        [{"series": f'{REQUESTS}"200"}}', "values": "0+90x60"}, {"series": f'{REQUESTS}"429"}}', "values": "0+10x60"}],
        [{"series": f'{REQUESTS}"200"}}', "values": "0+999x60"}, {"series": f'{REQUESTS}"429"}}', "values": "0+1x60"}],
    ),
    "MnistkitSlow": (
        [{"series": f'{BUCKET}"1"}}', "values": "0+90x60"}, {"series": f'{BUCKET}"2.5"}}', "values": "0+100x60"},
         {"series": f'{BUCKET}"+Inf"}}', "values": "0+100x60"}],
        [{"series": f'{BUCKET}"1"}}', "values": "0+100x60"}, {"series": f'{BUCKET}"+Inf"}}', "values": "0+100x60"}],
    ),
    "MnistkitQueueFilling": (
        [{"series": 'mnistkit_queue_depth{model="m"}', "values": "65x60"}],
        [{"series": 'mnistkit_queue_depth{model="m"}', "values": "64x60"}],
    ),
    "MnistkitReloadRefused": (
        [{"series": 'mnistkit_reloads_total{model="m",result="refused"}', "values": "0x40 1x20"}],
        [{"series": 'mnistkit_reloads_total{model="m",result="done"}', "values": "0x40 1x20"}],
    ),
    "MnistkitWeightsDiffer": (
        [{"series": f'{INFO}"a"}}', "values": "1x60"}, {"series": f'{INFO}"b"}}', "values": "1x60"}],
        [{"series": f'{INFO}"a",instance="{one}"}}', "values": "1x60"} for one in ("a", "b")],
    ),
}  # fmt: skip


def test_each_alert_has_a_case():
    assert set(CASES) == {name for name in expressions() if name.startswith("Mnistkit")}


@pytest.mark.parametrize("alert", CASES)
def test_an_alert_fires_when_it_should_and_not_otherwise(alert, promtool, tmp_path):
    for series, fires in zip(CASES[alert], (True, False), strict=True):
        test = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [{
            "interval": "1m", "input_series": series,
            "promql_expr_test": [{
                "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)', "eval_time": "50m",
                "exp_samples": [{"labels": "{}", "value": int(fires)}],
            }],
        }]}  # fmt: skip
        (tmp_path / "test.yaml").write_text(yaml.safe_dump(test))
        good, said = promtool(("test", "rules"), tmp_path / "test.yaml")
        assert good, said
