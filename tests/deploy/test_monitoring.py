import importlib
import json
import pkgutil
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import prometheus_client
import yaml
from prometheus_client.registry import CollectorRegistry

import spegel_gossip
from spegel_gossip.gossip.metrics import GossipCollector, GossipStatus
from spegel_gossip.swim.introspection import SwimCounters

CHART = Path(__file__).resolve().parents[2] / "deploy" / "chart"
ALERTS = CHART / "alerts" / "spegel-gossip.yaml"
DASHBOARD = CHART / "dashboards" / "spegel-gossip.json"
NAME = re.compile(r"spegel_gossip_[a-z_]+")
ENDINGS = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}


def exported() -> set[str]:
    """The names of everything a node exports."""
    for module in pkgutil.walk_packages(spegel_gossip.__path__, "spegel_gossip."):
        if module.name.endswith(".metrics"):
            importlib.import_module(module.name)
    membership = CollectorRegistry()
    empty = GossipStatus(members=[], local_health=0, queue_length=0, streams_open=0, counters=SwimCounters())
    membership.register(GossipCollector(lambda: empty))
    families = [*prometheus_client.REGISTRY.collect(), *membership.collect()]
    return {family.name + ending for family in families for ending in ENDINGS.get(family.type, [""])}


def test_the_alerts_and_the_dashboard_speak_of_what_is_exported() -> None:
    named = set(NAME.findall(ALERTS.read_text())) | set(NAME.findall(DASHBOARD.read_text()))

    assert named - exported() == set()
    assert len(named) > 15


def test_the_alerts_are_rules(promtool: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = promtool("check", "rules", str(ALERTS))

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_panels_are_queries(
    promtool: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    for variable, value in (("$__rate_interval", "5m"), ("$__range", "6h"), ("$job", ".*")):
        expressions = [one.replace(variable, value) for one in expressions]
    rules = [{"record": f"panel:{number}", "expr": one} for number, one in enumerate(expressions)]
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))

    done = promtool("check", "rules", "--lint=none", str(tmp_path / "panels.yaml"))

    assert done.returncode == 0, done.stdout + done.stderr
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_an_alert_fires_when_it_is_meant_to_and_not_before(
    promtool: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    def series(name: str, values: str, **labels: str) -> dict[str, str]:
        text = ",".join(f'{key}="{value}"' for key, value in {"job": "spegel-gossip", **labels}.items())
        return {"series": f"{name}{{{text}}}", "values": values}

    def expect(alert: str, at: str, *nodes: str) -> dict[str, object]:
        return {
            "alertname": alert,
            "eval_time": at,
            "exp_alerts": [{"exp_labels": {"severity": "warning", **node_labels(node)}} for node in nodes],
        }

    def node_labels(node: str) -> dict[str, str]:
        return {"job": "spegel-gossip", "node": node, "instance": node} if node else {"job": "spegel-gossip"}

    a, b = {"node": "a", "instance": "a"}, {"node": "b", "instance": "b"}
    tests = [
        {
            "interval": "1m",
            "input_series": [
                series("spegel_gossip_members", "2x10 1x30", state="alive", **a),
                series("spegel_gossip_members", "2x40", state="alive", **b),
                series("spegel_gossip_hosts_blocked", "0x10 2x30", **a),
                series("spegel_gossip_store_connected", "1x10 0x30", **b),
                series("spegel_gossip_store_tags", "5+1x200", **a),
                series("spegel_gossip_store_tags", "5+1x200", **b),
                series("spegel_gossip_registry_requests_total", "0x200", **a),
                series("spegel_gossip_registry_requests_total", "0+3x200", **b),
            ],
            "alert_rule_test": [
                expect("SpegelGossipSplit", "20m"),
                expect("SpegelGossipSplit", "30m", ""),
                expect("SpegelGossipHostsBlocked", "20m"),
                expect("SpegelGossipHostsBlocked", "30m", "a"),
                expect("SpegelGossipStoreUnreadable", "30m", "b"),
                expect("SpegelGossipNotAsked", "2h30m", "a"),
            ],
        }
    ]
    # What an alert says is compared too, and is not what this is about.
    rules = yaml.safe_load(ALERTS.read_text())
    for rule in rules["groups"][0]["rules"]:
        del rule["annotations"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": tests}))

    done = promtool("test", "rules", str(tmp_path / "tests.yaml"))

    assert done.returncode == 0, done.stdout + done.stderr
