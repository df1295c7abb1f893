"""What the chart's objects say of each other holds: labels, ports, names, hooks."""

import json
import re
from dataclasses import fields
from typing import Any

import pytest
import yaml

from registry import __version__
from registry.http.server import Serving
from tests.deploy.charts import CHART, NAMESPACE, VALUES, Object, Rendered, changed, rendered
from tests.support.server import ROOT

SETS = ["", *sorted(file.stem for file in VALUES.glob("*.yaml"))]


def selectors(whole: Rendered) -> list[dict[str, str]]:
    """All that is to select the servers' pods."""
    found = [one["spec"]["selector"] for one in whole.of("Service")]
    found += [one["spec"]["selector"]["matchLabels"] for one in [whole.one("Deployment")]]
    found += [one["spec"]["selector"]["matchLabels"] for one in whole.of("PodDisruptionBudget")]
    found += [one["spec"]["podSelector"]["matchLabels"] for one in whole.of("NetworkPolicy")]
    spread = whole.pod["spec"].get("topologySpreadConstraints", [])
    return found + [one["labelSelector"]["matchLabels"] for one in spread]


def ports(whole: Rendered) -> dict[str, int]:
    """The ports of the server's container, by name."""
    [container] = whole.pod["spec"]["containers"]
    return {one["name"]: one["containerPort"] for one in container["ports"]}


@pytest.mark.parametrize("values", SETS)
def test_selectors_find_the_servers_and_nothing_else(values: str) -> None:
    whole = rendered(values)
    servers = whole.pod["metadata"]["labels"].items()
    assert len(selectors(whole)) >= 3
    for selector in selectors(whole):
        assert selector.items() <= servers
        for job in whole.of("Job"):
            assert not selector.items() <= job["spec"]["template"]["metadata"]["labels"].items()


def test_releases_do_not_find_each_other() -> None:
    """The release's name is in every selector."""
    assert all(one["app.kubernetes.io/instance"] == "prod" for one in selectors(rendered("everything")))


@pytest.mark.parametrize("values", SETS)
def test_ports_that_are_named_are_there(values: str) -> None:
    whole = rendered(values)
    known = ports(whole)
    configured = configuration(whole)
    assert known == {"registry": configured["http"]["port"], "operations": configured["operations"]["port"]}
    [container] = whole.pod["spec"]["containers"]
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: one["path"] for name, one in probes.items()} == {
        "startup": "/healthz",
        "liveness": "/healthz",
        "readiness": "/readyz",
    }
    assert all(one["port"] == "operations" for one in probes.values())  # where they are, once that port is set
    targets = [one["targetPort"] for service in whole.of("Service") for one in service["spec"]["ports"]]
    policies = [one for policy in whole.of("NetworkPolicy") for one in policy["spec"]["ingress"]]
    allowed = [one["port"] for rule in policies for one in rule["ports"]]
    assert sorted(targets) == sorted(known)
    assert sorted(allowed) in ([], sorted(known))


def test_the_ingress_leads_to_the_registry_alone() -> None:
    whole = rendered("everything")
    paths = [one for rule in whole.one("Ingress")["spec"]["rules"] for one in rule["http"]["paths"]]
    assert [one["path"] for one in paths] == ["/v2", "/token", "/auth", "/api/v1"] * 2
    for one in paths:
        backend = one["backend"]["service"]
        service = whole.one("Service", backend["name"])
        assert [port["targetPort"] for port in service["spec"]["ports"]] == ["registry"]
        assert [port["name"] for port in service["spec"]["ports"]] == [backend["port"]["name"]]


def test_the_ingress_does_what_the_shipped_nginx_does() -> None:
    """Each directive of deploy/nginx that ingress-nginx has an annotation for, in the same value."""
    text = (ROOT / "deploy" / "nginx" / "stowage.conf").read_text()
    directives = dict(re.findall(r"^ +((?:client|proxy)_[a-z_]+) +([^;]+);", text, re.MULTILINE))
    annotations = rendered("", "ingress.enabled=true", 'ingress.hosts=["a"]').one("Ingress")["metadata"]["annotations"]
    own = {key.removeprefix("nginx.ingress.kubernetes.io/"): value for key, value in annotations.items()}
    assert own.pop("proxy-body-size") == directives["client_max_body_size"]
    assert own.pop("proxy-buffering") == "on"  # nginx' own default, and not ingress-nginx'
    assert own.pop("proxy-buffers-number") == directives["proxy_buffers"].split()[0]
    assert own.pop("proxy-next-upstream") == "error timeout"  # here there are others to ask
    assert own.pop("proxy-next-upstream-timeout") == "10"
    for name, value in own.items():
        assert directives[name.replace("-", "_")].removesuffix("s") == value, name


def test_figures_are_read_from_their_own_service() -> None:
    whole = rendered("everything")
    monitor = whole.one("ServiceMonitor")["spec"]
    found = [
        one
        for one in whole.of("Service")
        if monitor["selector"]["matchLabels"].items() <= one["metadata"]["labels"].items()
    ]
    assert [[port["name"] for port in one["spec"]["ports"]] for one in found] == [["operations"]]
    assert found[0]["spec"]["clusterIP"] == "None"  # never a load balancer's
    assert [one["port"] for one in monitor["endpoints"]] == ["operations"]
    assert found[0]["metadata"]["labels"][monitor["jobLabel"]] == "images"  # nameOverride
    [job] = set(re.findall(r'job="(\w+)"', (ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text()))
    assert rendered().pod["metadata"]["labels"][monitor["jobLabel"]] == job


def test_the_autoscaler_scales_the_deployment() -> None:
    whole = rendered("everything")
    target = whole.one("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    deployment = whole.one("Deployment")
    assert target == {
        "apiVersion": deployment["apiVersion"],
        "kind": "Deployment",
        "name": deployment["metadata"]["name"],
    }


@pytest.mark.parametrize("values", SETS)
def test_what_pods_refer_to_is_there(values: str) -> None:
    whole = rendered(values)
    given = yaml.safe_load((VALUES / f"{values}.yaml").read_text()) if values else {}
    by_hand = {"default", *re.findall(r"[\w-]+", json.dumps(given))}  # "default": a ServiceAccount of every namespace
    made = {(one["kind"], one["metadata"]["name"]) for one in whole.objects}
    for pod in whole.pods():
        for kind, name in references(pod["spec"]):
            assert (kind, name) in made or name in by_hand, (kind, name)
        volumes = [one["name"] for one in pod["spec"]["volumes"]]
        [container] = pod["spec"]["containers"]
        assert sorted(volumes) == sorted(one["name"] for one in container["volumeMounts"])
        assert len({one["mountPath"] for one in container["volumeMounts"]}) == len(volumes)


@pytest.mark.parametrize("values", ["fleet", "single", "everything"])
def test_the_migration_needs_nothing_that_comes_after_it(values: str) -> None:
    """Hooks are made before everything else, in the order of their weights."""
    whole = rendered(values)
    hooks = {
        (one["kind"], one["metadata"]["name"]): one["metadata"]["annotations"]
        for one in whole.objects
        if "helm.sh/hook" in one["metadata"].get("annotations", {})
    }
    job = whole.one("Job")
    own = hooks["Job", job["metadata"]["name"]]
    assert {one["helm.sh/hook"] for one in hooks.values()} == {"pre-install,pre-upgrade"}
    made = {(one["kind"], one["metadata"]["name"]) for one in whole.objects}
    needed = {one for one in references(job["spec"]["template"]["spec"]) if one in made}
    assert {kind for kind, _ in needed} >= {"ConfigMap"}
    for one in needed:
        assert int(hooks[one]["helm.sh/hook-weight"]) < int(own["helm.sh/hook-weight"])


@pytest.mark.parametrize("values", ["fleet", "single", "everything"])
def test_the_migration_is_told_what_the_servers_are_told(values: str) -> None:
    whole = rendered(values)
    name = whole.one("Deployment")["metadata"]["name"]
    maps = {one["metadata"]["name"]: one["data"] for one in whole.of("ConfigMap")}
    assert maps[name] == maps[f"{name}-migration"]
    server, job = (pod["spec"]["containers"][0] for pod in whole.pods())
    assert (server["image"], server["env"]) == (job["image"], job["env"])
    assert (server["args"][0], job["args"]) == ("serve", ["migrate"])


def references(spec: Object) -> set[tuple[str, str]]:
    """Kind and name of all that a pod needs."""
    found = {("ServiceAccount", spec["serviceAccountName"])} if "serviceAccountName" in spec else set()
    for volume in spec["volumes"]:
        found |= {("ConfigMap", volume["configMap"]["name"])} if "configMap" in volume else set()
        found |= {("Secret", volume["secret"]["secretName"])} if "secret" in volume else set()
        claim = volume.get("persistentVolumeClaim")
        found |= {("PersistentVolumeClaim", claim["claimName"])} if claim else set()
    for container in spec["containers"]:
        found |= {("Secret", one["secretRef"]["name"]) for one in container.get("envFrom", [])}
    return found


@pytest.mark.parametrize("values", SETS)
def test_pods_may_do_nothing_that_they_need_not(values: str) -> None:
    for pod in rendered(values).pods():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]
            writable = {one["mountPath"] for one in container["volumeMounts"] if not one.get("readOnly")}
            assert writable == {"/var/lib/stowage", "/tmp"}


@pytest.mark.parametrize("values", SETS)
def test_a_server_has_the_time_to_end(values: str) -> None:
    [drain] = [field.default for field in fields(Serving) if field.name == "drain"]
    assert isinstance(drain, int | float)
    spec = rendered(values).pod["spec"]
    lifecycle = json.dumps(spec["containers"][0].get("lifecycle", "sleep(0)"))
    [before] = re.findall(r"sleep\((\d+)\)", lifecycle)
    assert spec["terminationGracePeriodSeconds"] >= int(before) + drain + 5


@pytest.mark.parametrize(
    ("change", "rolls"),
    [
        ({"settings": {"logs": {"level": "debug"}}}, True),
        ({"secret.values.STOWAGE_DATABASE__PASSWORD": "another"}, True),
        ({"service.annotations": {"a": "b"}}, False),
    ],
)
def test_a_change_of_what_servers_read_replaces_them(change: dict[str, Any], rolls: bool) -> None:
    assert (changed("single", **change).pod != rendered("single").pod) is rolls


def test_versions_are_the_programs() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
    assert rendered().pod["spec"]["containers"][0]["image"].endswith(f":{__version__}")
    assert "@sha256:" in rendered("everything").pod["spec"]["containers"][0]["image"]


def test_the_network_policy_lets_in_whom_it_should() -> None:
    def rules(whole: Rendered) -> Any:
        return whole.one("NetworkPolicy")["spec"]["ingress"][0]["from"]

    assert rules(rendered()) == [{"podSelector": {}}]
    behind = rules(rendered("", "ingress.enabled=true", 'ingress.hosts=["a"]'))
    assert {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}} in behind
    assert rules(rendered("everything")) == [{"ipBlock": {"cidr": "10.0.0.0/8"}}]
    assert rendered("everything").one("NetworkPolicy")["spec"]["policyTypes"] == ["Ingress", "Egress"]


def test_the_readme_names_every_value() -> None:
    names = set(yaml.safe_load((CHART / "values.yaml").read_text()))
    schema = set(json.loads((CHART / "values.schema.json").read_text())["properties"]) - {"global"}
    rows = [line for line in (CHART / "README.md").read_text().splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row.split(" | ")[0])} == names == schema


def configuration(whole: Rendered) -> Any:
    name = whole.one("Deployment")["metadata"]["name"]
    return yaml.safe_load(whole.one("ConfigMap", name)["data"]["stowage.yaml"])


def test_objects_name_no_namespace_of_their_own() -> None:
    assert not any("namespace" in one["metadata"] for one in rendered("everything").objects)
    assert NAMESPACE not in json.dumps(rendered("everything").objects)
