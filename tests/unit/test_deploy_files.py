"""The files in deploy/: alerts and dashboard name metrics that exist, and units keep their servers in."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pura import errors
from pura_server.metrics import Metrics

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD = DEPLOY / "grafana" / "pura.json"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
LABELS = {"job", "le"}
"""Those that Prometheus adds itself."""


def queries(path: Path) -> list[str]:
    if path == DASHBOARD:
        panels = json.loads(path.read_text())["panels"]
        return [target["expr"] for panel in panels for target in panel["targets"]]
    return re.findall(r"expr: (?:>-\n\s*)?(.+)", path.read_text())


@pytest.fixture(scope="module")
def families() -> dict[str, set[str]]:
    """The labels of every sample that a server can export."""
    metrics = Metrics()
    metrics.watch_levels(lambda: {"entries": 1.0})
    metrics.watch_dropped(lambda: 0)
    metrics.calls.labels("Identify", "ok").inc()
    metrics.refused.labels("expired").inc()
    metrics.rounds.labels("Identify").inc()
    metrics.bytes.labels("Identify", "sent").inc()
    metrics.seconds.labels("Identify").observe(1)
    metrics.waited.labels("Identify").observe(1)
    metrics.expires("own", lambda: 1.0)
    metrics.open.labels("question").set(1)
    found: dict[str, set[str]] = {}
    for family in metrics.registry.collect():
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.mark.parametrize("path", [ALERTS, DASHBOARD], ids=["alerts", "dashboard"])
def test_every_metric_and_label_exists(path: Path, families: dict[str, set[str]]) -> None:
    asked = queries(path)
    assert len(asked) >= 10
    for query in asked:
        for name, _, matchers in re.findall(r"\b(pura_\w+)(\{([^}]*)\})?", query):
            assert name in families, query
            assert set(re.findall(r"(\w+)(?:=|!=|=~|!~)\"", matchers)) <= families[name] | LABELS, query


@pytest.mark.parametrize("path", [ALERTS, DASHBOARD], ids=["alerts", "dashboard"])
def test_every_code_exists(path: Path) -> None:
    codes = {kind.code for kind in errors.PuraError.__subclasses__()} | {"internal", "ok", "cancelled"}
    named = {
        code
        for query in queries(path)
        for found in re.findall(r'code!?[=~]+"([^"]+)"', query)
        for code in found.split("|")
    }
    assert named
    assert named <= codes


def test_the_alerts_are_rules_of_prometheus() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    done = subprocess.run(["promtool", "check", "rules", ALERTS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_says_what_to_do() -> None:
    text = ALERTS.read_text()
    alerts = text.split("- alert: ")[1:]
    assert all("summary:" in alert and "action:" in alert and "severity:" in alert for alert in alerts)


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_units_keep_their_servers_in(unit: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", unit]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr


def test_units_wait_longer_than_a_drain_and_name_both_servers() -> None:
    assert [unit.name for unit in UNITS] == ["pura-s1@.service", "pura-s2@.service"]
    for unit in UNITS:
        (seconds,) = re.findall(r"TimeoutStopSec=(\d+)", unit.read_text())
        assert int(seconds) > 25
