"""Helm's charts: pushed, found by version, pulled, installed as a dependency."""

import json
from pathlib import Path

import httpx
import yaml

from tests.clients.charts import push_chart, write_chart
from tests.clients.cosign import Cosign, Keeping
from tests.clients.stored import stored_manifest, stored_tags
from tests.clients.tools import Tool
from tests.support.images import digest_of
from tests.support.server import Server

_CONFIG = "application/vnd.cncf.helm.config.v1+json"
_CONTENT = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"


def test_a_chart_survives_the_round_trip(
    helm: Tool, server: Server, client: httpx.Client, repository: str, tmp_path: Path
) -> None:
    """The package comes back byte for byte; what `helm show` and `helm template` print is the chart's."""
    target = f"{server.address}/{repository}/of/charts"
    package = push_chart(helm, tmp_path, "1.2.3+build.5", target)
    stored = stored_manifest(client, f"{repository}/of/charts/sample", "1.2.3_build.5")  # a tag can't have a plus
    assert stored.json()["config"]["mediaType"] == _CONFIG
    assert [(layer["mediaType"], layer["digest"]) for layer in stored.json()["layers"]] == [
        (_CONTENT, digest_of(package.read_bytes()))
    ]
    chart = (f"oci://{target}/sample", "--plain-http", "--version", "1.2.3+build.5")
    (tmp_path / "back").mkdir()
    helm.run("pull", *chart, "--destination", tmp_path / "back")
    assert (tmp_path / "back" / package.name).read_bytes() == package.read_bytes()
    assert yaml.safe_load(helm.run("show", "chart", *chart).stdout)["version"] == "1.2.3+build.5"
    assert helm.run("show", "values", *chart).stdout.strip() == "greeting: hello from 1.2.3+build.5"
    rendered = yaml.safe_load(helm.run("template", "release", *chart).stdout)
    assert rendered["data"] == {"greeting": "hello from 1.2.3+build.5"}


def test_helm_finds_versions_in_the_list_of_tags(
    helm: Tool, server: Server, client: httpx.Client, repository: str, tmp_path: Path
) -> None:
    """The newest release by default, the newest that a range allows, one as a dependency of another chart."""
    versions = ["1.9.0", "1.10.0", "2.0.0-rc.1"]
    for version in versions:
        push_chart(helm, tmp_path, version, f"{server.address}/{repository}")
    assert sorted(stored_tags(client, f"{repository}/sample")) == sorted(versions)

    def shown(*options: str) -> str:
        printed = helm.run("show", "chart", f"oci://{server.address}/{repository}/sample", "--plain-http", *options)
        return str(yaml.safe_load(printed.stdout)["version"])

    assert shown() == "1.10.0"
    assert shown("--version", "~1.9") == "1.9.0"
    assert shown("--version", ">=2.0.0-0") == "2.0.0-rc.1"
    needs = [{"name": "sample", "version": "~1.9", "repository": f"oci://{server.address}/{repository}"}]
    umbrella = write_chart(tmp_path, "umbrella", "0.1.0", dependencies=needs)
    helm.run("dependency", "update", umbrella, "--plain-http")
    assert [file.name for file in (umbrella / "charts").iterdir()] == ["sample-1.9.0.tgz"]
    missing = ("pull", f"oci://{server.address}/{repository}/sample", "--plain-http", "--version")
    assert "not found" in helm.fail(*missing, "3.0.0").both


def test_a_chart_is_pulled_by_digest_and_signed(
    helm: Tool, cosign: Cosign, server: Server, client: httpx.Client, repository: str, tmp_path: Path
) -> None:
    """The digest keeps naming the first package when its version was pushed again."""
    first = push_chart(helm, tmp_path / "first", "1.0.0", f"{server.address}/{repository}").read_bytes()
    digest = stored_manifest(client, f"{repository}/sample", "1.0.0").headers["Docker-Content-Digest"]
    chart = f"{server.address}/{repository}/sample@{digest}"
    cosign.sign(chart, Keeping.BUNDLE)
    push_chart(helm, tmp_path / "second", "1.0.0", f"{server.address}/{repository}", keywords=["changed"])
    assert stored_manifest(client, f"{repository}/sample", "1.0.0").headers["Docker-Content-Digest"] != digest
    (tmp_path / "back").mkdir()
    helm.run("pull", f"oci://{chart}", "--plain-http", "--destination", tmp_path / "back")
    [package] = (tmp_path / "back").iterdir()
    assert package.read_bytes() == first
    cosign.verify(chart, Keeping.BUNDLE)
    config = json.loads(client.get(f"/v2/{repository}/sample/manifests/{digest}").content)["config"]
    assert client.get(f"/v2/{repository}/sample/blobs/{config['digest']}").json()["version"] == "1.0.0"
