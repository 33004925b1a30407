"""The dashboards ask for what the services tell Prometheus: each metric and each label by its name."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from tests.integration.cluster import NKICTL, Cluster
from tests.integration.recorded import TASK

DASHBOARDS = sorted((Path(__file__).parents[2] / "deploy" / "grafana").glob("*.json"))
SERVICES = ("orchestrator", "compile-service", "verify-service", "llm-gateway")

PASSES = """
import torch


class Model(torch.nn.Module):
    def forward(self, x):
        return torch.relu(x)


def get_inputs():
    return [torch.randn(128, 64)]


def get_init_inputs():
    return []
"""
BEYOND = PASSES.replace("torch.relu(x)", "torch.fft.rfft(x).abs()")

WORDS = {"by", "without", "on", "ignoring", "group_left", "group_right", "or", "and", "unless", "offset"}


def expressions(dashboard: Path) -> list[tuple[str, str]]:
    """PromQL and legend of every panel, Grafana's variables filled in."""
    found = []
    for panel in json.loads(dashboard.read_text())["panels"]:
        for target in panel["targets"]:
            expression = target["expr"].replace("$__rate_interval", "1m").replace("$__range", "1h")
            found.append((re.sub(r"\$\w+", ".*", expression), target["legendFormat"]))
    return found


def names_of(expression: str) -> tuple[set[str], set[str]]:
    """The metrics that an expression names, and the labels."""
    labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression))
    plain = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\"[^\"]*\"", " ", expression)
    for group in re.findall(r"\b(?:by|without)\s*\(([^)]*)\)", plain):
        labels |= set(re.findall(r"\w+", group))
    plain = re.sub(r"\b(?:by|without)\s*\([^)]*\)", " ", plain)
    words = re.findall(r"\b([A-Za-z_:][\w:]*)\b(?!\s*\()", plain)
    return {word for word in words if word not in WORDS}, labels


@pytest.fixture(scope="module")
def observed(cluster, tmp_path_factory) -> Cluster:
    """The cluster after a benchmark run with a pass and a failure, and a session of a model with tokens."""
    suite = tmp_path_factory.mktemp("suite") / "level1"
    suite.mkdir()
    (suite / "relu.py").write_text(PASSES)
    (suite / "fft.py").write_text(BEYOND)
    server = ["--server", cluster.grpc("orchestrator")]
    command = [NKICTL, *server, "bench", "run", "--suite", suite, "--name", "observed"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1/2" in done.stdout
    # builtin counts no tokens.
    task = cluster.folder / "counted.py"
    task.write_text(TASK)
    command = [NKICTL, *server, "run", task, "--model", "counted", "-o", cluster.folder / "counted.nki.py"]
    subprocess.run(command, capture_output=True, check=True, timeout=100)
    return cluster


@pytest.fixture(scope="module")
def samples(observed) -> dict[str, list[dict[str, str]]]:
    """The labels of all samples of the four services, by metric."""
    found: dict[str, list[dict[str, str]]] = {}
    for service in SERVICES:
        for line in observed.metrics(service).splitlines():
            sample = re.match(r"(\w+)(?:\{(.*)\})? \S+$", line)
            if sample and not line.startswith("#"):
                labels = dict(re.findall(r"(\w+)=\"([^\"]*)\"", sample[2] or ""))
                found.setdefault(sample[1], []).append(labels)
    return found


def test_each_metric_and_label_of_the_dashboards_is_exported(samples):
    assert DASHBOARDS
    for dashboard in DASHBOARDS:
        for expression, legend in expressions(dashboard):
            metrics, labels = names_of(expression)
            assert metrics, expression
            labels |= set(re.findall(r"\{\{(\w+)\}\}", legend))
            for metric in metrics:
                assert metric in samples, f"{dashboard.name}: no service exports {metric}"
            known = {label for metric in metrics for entry in samples[metric] for label in entry}
            assert labels <= known, f"{dashboard.name}: {labels - known} is no label of {metrics}"


def test_the_pass_rate_of_runs_is_told_by_level_mode_and_model(observed):
    text = observed.metrics("orchestrator")
    labels = 'level="1",mode="agent",model="builtin"'
    assert f"nkiagent_orchestrator_run_pass_ratio{{{labels}}} 0.5" in text
    for state in ("passed", "not_solved"):
        assert f'nkiagent_orchestrator_run_sessions_ended_total{{{labels},state="{state}"}} 1' in text


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="Debian's prometheus is not installed")
def test_prometheus_answers_each_expression(observed, tmp_path):
    targets = [observed.services[s]["metrics"].split("/")[2] for s in SERVICES]
    config = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [{"job_name": "nki-agent", "static_configs": [{"targets": targets}]}],
    }
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))
    port = 0
    with subprocess.Popen(
        ["prometheus", "--config.file=prometheus.yml", "--web.listen-address=127.0.0.1:0"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            for line in process.stderr:
                if found := re.search(r"Listening on.*address=127.0.0.1:(\d+)", line):
                    port = int(found[1])
                    break

            def ask(expression: str) -> dict:
                query = urllib.parse.urlencode({"query": expression})
                with urllib.request.urlopen(
                    f"http://127.0.0.1:{port}/api/v1/query?{query}", timeout=10
                ) as answer:
                    return json.load(answer)

            deadline = time.monotonic() + 60
            scraped = 'count_over_time(up{job="nki-agent"}[1m]) >= 2'
            while True:
                try:
                    if len(ask(scraped)["data"]["result"]) == len(targets):
                        break
                except OSError:
                    pass  # not yet listening
                assert time.monotonic() < deadline
                time.sleep(0.1)
            for dashboard in DASHBOARDS:
                for expression, _ in expressions(dashboard):
                    answer = ask(expression)
                    assert answer["status"] == "success"
                    assert answer["data"]["result"], f"{dashboard.name}: {expression} has no value"
        finally:
            process.terminate()
            process.stderr.close()
