"""Every object that the chart makes is one that Kubernetes takes, field by field."""

import copy
import re
from typing import Any

import jsonschema
import pytest

from tests.deploy import kubernetes
from tests.deploy.charts import CHART, KUBERNETES, VALUES, Object, Rendered, changed, helm, rendered

SETS = ["", *sorted(file.stem for file in VALUES.glob("*.yaml"))]
KINDS = {
    "ConfigMap",
    "Deployment",
    "HorizontalPodAutoscaler",
    "Ingress",
    "Job",
    "NetworkPolicy",
    "PersistentVolumeClaim",
    "PodDisruptionBudget",
    "Secret",
    "Service",
    "ServiceAccount",
    "ServiceMonitor",
}
NEWEST = kubernetes.newest()
_LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?")


def closed(**properties: Any) -> dict[str, Any]:
    """The schema of an object that must have these fields, and no other."""
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


# What the chart uses of it, as the Prometheus operator documents it (monitoring.coreos.com/v1).
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_DURATION = {"type": "string", "pattern": "^([0-9]+(ms|s|m|h|d|w|y))+$"}
_ENDPOINT = closed(
    port={"type": "string"}, path={"type": "string", "pattern": "^/"}, interval=_DURATION, scrapeTimeout=_DURATION
)
SERVICE_MONITOR = closed(
    apiVersion={"const": "monitoring.coreos.com/v1"},
    kind={"const": "ServiceMonitor"},
    metadata=closed(name={"type": "string"}, labels=_TEXTS),
    spec=closed(
        jobLabel={"type": "string"},
        selector=closed(matchLabels=_TEXTS),
        endpoints={"type": "array", "minItems": 1, "items": _ENDPOINT},
    ),
)


def check(one: Object, version: str) -> None:
    """Raise jsonschema's ValidationError for an object that Kubernetes would refuse or not understand."""
    if one["kind"] == "ServiceMonitor":
        jsonschema.validate(one, SERVICE_MONITOR)
    else:
        kubernetes.check(one, version)


def test_every_kind_is_rendered_by_some_values() -> None:
    assert {one["kind"] for values in SETS for one in rendered(values).objects} == KINDS


@pytest.mark.parametrize("values", SETS)
def test_helm_finds_nothing_wrong(values: str) -> None:
    files = ["--values", str(VALUES / f"{values}.yaml")] if values else []
    done = helm("lint", "--strict", "--kube-version", f"{KUBERNETES}.0", CHART, *files)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout


@pytest.mark.parametrize("version", [KUBERNETES, NEWEST])
@pytest.mark.parametrize("values", SETS)
def test_objects_are_as_kubernetes_wants_them(values: str, version: str) -> None:
    for one in rendered(values).objects:
        check(one, version)


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", ("spec", "template", "spec", "containers", 0, "readynessProbe"), {}),
        ("Deployment", ("spec", "template", "spec", "containers", 0, "ports", 0, "containerPort"), "5000"),
        ("Deployment", ("spec", "template", "spec", "containers", 0, "readinessProbe", "httpGet", "url"), "/"),
        ("Deployment", ("spec", "template", "spec", "securityContext", "runAsNonRoot"), "true"),
        ("Deployment", ("spec", "strategy", "rollingUpdates"), {}),
        ("Job", ("spec", "backofLimit"), 3),
        ("Ingress", ("spec", "rules", 0, "http", "paths", 0, "backend", "serviceName"), "a"),
        ("Service", ("spec", "ports", 0, "port"), "http"),
        ("NetworkPolicy", ("spec", "podSelector", "matchLabel"), {}),
        ("HorizontalPodAutoscaler", ("spec", "targetCPUUtilizationPercentage"), 60),
        ("PodDisruptionBudget", ("spec", "maxUnavailble"), 1),
        ("ConfigMap", ("data", "a"), 1),
        ("ServiceMonitor", ("spec", "endpoints", 0, "scheme "), "http"),
        ("ServiceMonitor", ("spec", "endpoints", 0, "interval"), 15),
    ],
)
def test_a_wrong_field_would_be_noticed(kind: str, path: tuple[str | int, ...], value: Any) -> None:
    wrong = copy.deepcopy(rendered("everything").of(kind)[0])
    check(wrong, NEWEST)
    place: Any = wrong
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        check(wrong, NEWEST)


def test_a_missing_field_would_be_noticed() -> None:
    wrong = copy.deepcopy(rendered("everything").one("Deployment"))
    del wrong["spec"]["selector"]
    with pytest.raises(jsonschema.ValidationError):
        check(wrong, NEWEST)


def quantities(value: Any) -> list[str]:
    """All amounts below `resources` and `sizeLimit`, which the schemas take any text for."""
    if isinstance(value, list):
        return [one for item in value for one in quantities(item)]
    if not isinstance(value, dict):
        return []
    found = [str(value["sizeLimit"])] if "sizeLimit" in value else []
    for key in ("requests", "limits"):
        found += [str(one) for one in value.get(key, {}).values()] if isinstance(value.get(key), dict) else []
    return found + [one for item in value.values() for one in quantities(item)]


@pytest.mark.parametrize("values", SETS)
def test_names_labels_and_amounts_have_the_right_form(values: str) -> None:
    whole = rendered(values)
    named = [(one["kind"], one["metadata"]["name"]) for one in whole.objects]
    assert len(set(named)) == len(named)
    for one in whole.objects:
        assert _NAME.fullmatch(one["metadata"]["name"])
    for labels in [one["metadata"]["labels"] for one in [*whole.objects, *whole.pods()]]:
        assert [text for text in labels.values() if not _LABEL.fullmatch(text)] == []
    assert quantities(whole.objects)
    assert [text for text in quantities(whole.objects) if not _QUANTITY.fullmatch(text)] == []


def test_a_long_name_is_cut() -> None:
    whole = changed("everything", fullnameOverride=53 * "a" + "-" + 10 * "b")
    assert all(len(one["metadata"]["name"]) <= 63 for one in whole.objects)


def test_defaults_are_one_server_with_a_volume() -> None:
    whole = rendered()
    deployment = whole.one("Deployment")["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    assert whole.one("PersistentVolumeClaim")["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert kinds(whole) == KINDS - {"HorizontalPodAutoscaler", "Ingress", "Job", "Secret", "ServiceMonitor"}


def test_replicas_have_no_volume_and_are_replaced_one_after_the_other() -> None:
    whole = rendered("fleet")
    deployment = whole.one("Deployment")["spec"]
    assert deployment["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert "PersistentVolumeClaim" not in kinds(whole)
    assert {"Job", "PodDisruptionBudget"} <= kinds(whole)


def test_the_autoscaler_alone_counts_replicas() -> None:
    assert "replicas" not in rendered("everything").one("Deployment")["spec"]


def kinds(whole: Rendered) -> set[str]:
    return {one["kind"] for one in whole.objects}
