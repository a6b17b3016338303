"""Prometheus takes each configuration, each alert fires when it must and not before, each picture can be drawn."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.projects import DEPLOY, Form, forms
from tests.parts import require

_ETC = "/etc/prometheus"
_HERE = Path(__file__).parent
FORMS = [form for form in forms() if "prometheus" in form.declared.components]
every_form = pytest.mark.parametrize("form", FORMS, ids=str)
STACKS = sorted({form.stack for form in FORMS})


def _promtool(*words: str, cwd: Path | None = None) -> None:
    command = [str(require("prometheus")["promtool"]), *words]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _mounted(form: Form, folder: Path) -> Path:
    """The files that Prometheus sees, below `folder` in place of /etc/prometheus."""
    for mount in form.services["prometheus"]["volumes"]:
        if mount["type"] == "bind" and mount["target"].startswith(_ETC):
            at = folder / Path(mount["target"]).relative_to(_ETC)
            at.parent.mkdir(parents=True, exist_ok=True)
            at.write_text(Path(mount["source"]).read_text().replace(_ETC, str(folder)))
    for secret in form.services["prometheus"].get("secrets") or ():
        (folder / secret["source"]).write_text("a-key")
    config = folder / "prometheus.yml"
    config.write_text(config.read_text().replace("/run/secrets", str(folder)))
    return config


@every_form
def test_prometheus_takes_the_configuration(form: Form, tmp_path: Path) -> None:
    _promtool("check", "config", str(_mounted(form, tmp_path)))


ALERTMANAGERS = sorted(DEPLOY.glob("*/alertmanager/*.yml"))
ROUTES = {
    "severity=critical": "webhook,pagerduty,mail,slack",
    "severity=warning": "webhook,slack",
}
"""Of Aphrodite's profile production: whom an alert of each severity reaches."""


def _amtool(*words: str) -> str:
    command = [str(require("amtool")["amtool"]), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("file", ALERTMANAGERS, ids=lambda file: f"{file.parts[-3]}-{file.name}")
def test_alertmanager_takes_the_configuration(file: Path) -> None:
    _amtool("check-config", str(file))


@pytest.mark.parametrize("labels", ROUTES)
def test_alerts_reach_those_whom_they_concern(labels: str) -> None:
    config = DEPLOY / "aphrodite" / "alertmanager" / "all.yml"
    assert _amtool("config", "routes", "test", f"--config.file={config}", labels) == ROUTES[labels]


@every_form
def test_what_is_scraped_is_a_service_with_that_port(form: Form, tmp_path: Path) -> None:
    config = yaml.safe_load(_mounted(form, tmp_path).read_text())
    for job in config["scrape_configs"]:
        groups: list[dict[str, Any]] = list(job.get("static_configs", ()))
        for pattern in (one for sd in job.get("file_sd_configs", ()) for one in sd["files"]):
            files = list(tmp_path.glob(str(Path(pattern).relative_to(tmp_path))))
            assert files, f"{job['job_name']}: no file is mounted at {pattern}"
            groups += [group for file in files for group in yaml.safe_load(file.read_text())]
        targets = [target for group in groups for target in group["targets"]]
        found = [f"{name}:{sd['port']}" for sd in job.get("dns_sd_configs", ()) for name in sd["names"]]
        possible = form.project(("*",))["services"]
        assert {one.partition(":")[0] for one in found} <= set(possible), job
        targets += [one for one in found if one.partition(":")[0] in form.services]
        assert targets or found, job
        for target in targets:
            host, _, port = target.partition(":")
            component = form.declared.components.get("prometheus" if host == "127.0.0.1" else host)
            assert component is not None, target
            if component.address is None:
                assert int(port) in component.ports.values(), target
                reached = set(form.services["prometheus"]["networks"])
                name = "prometheus" if host == "127.0.0.1" else host
                assert reached & set(form.services[name]["networks"]), f"{target} is on another network"


@pytest.mark.parametrize("stack", STACKS)
def test_alerts_fire_when_they_must(stack: str) -> None:
    _promtool("test", "rules", f"{stack}.yaml", cwd=_HERE / "rules")


@pytest.mark.parametrize("stack", STACKS)
def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not(stack: str) -> None:
    rules = yaml.safe_load((DEPLOY / stack / "prometheus" / "rules.yml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    cases = yaml.safe_load((_HERE / "rules" / f"{stack}.yaml").read_text())["tests"]
    asked = [case for test in cases for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in asked if case["exp_alerts"]} == alerts
    assert {case["alertname"] for case in asked if not case["exp_alerts"]} == alerts
    for group in rules["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                assert rule["labels"]["severity"] in ("critical", "warning"), rule["alert"]
                assert {"summary", "action"} <= rule["annotations"].keys(), rule["alert"]


@pytest.mark.parametrize("stack", STACKS)
def test_pictures_ask_what_prometheus_understands(stack: str, tmp_path: Path) -> None:
    files = sorted((DEPLOY / stack / "grafana" / "dashboards").glob("*.json"))
    assert files
    asked = []
    for file in files:
        board = json.loads(file.read_text())
        assert board["uid"]
        asked += [
            one["expr"]
            for panel in board["panels"]
            for one in panel["targets"]
            if panel["datasource"]["type"] == "prometheus"
        ]
    records = [{"record": f"asked:{index}", "expr": expr} for index, expr in enumerate(asked)]
    rules = tmp_path / "rules.yml"
    rules.write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": records}]}))
    _promtool("check", "rules", str(rules))
    assert not [expr for expr in asked if "histogram_quantile" in expr and "rate(" not in expr]


@every_form
def test_grafana_finds_what_it_is_given(form: Form) -> None:
    mounts = [one for one in form.services["grafana"]["volumes"] if one["type"] == "bind"]
    targets = {one["target"] for one in mounts}
    boards = [path for path in targets if path.endswith(".json")]
    assert boards
    assert all(path.startswith("/etc/grafana/dashboards/") for path in boards)
    for mount in mounts:
        if "/datasources/" in mount["target"]:
            for source in yaml.safe_load(Path(mount["source"]).read_text())["datasources"]:
                host = source["url"].removeprefix("http://").partition(":")[0]
                assert host in form.services, source
