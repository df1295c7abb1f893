"""The chart in deploy/helm, rendered by helm."""

import base64
import functools
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.clients.tools import find_tool
from tests.support.server import ROOT

CHART = ROOT / "deploy" / "helm" / "stowage"
VALUES = Path(__file__).parent / "values"
RELEASE, NAMESPACE = "prod", "registries"
KUBERNETES = "1.27"
"""The oldest that the chart takes."""

Object = dict[str, Any]


class Rendered:
    """What an installation with some values would make.

    Args:
        objects: as helm printed them.
    """

    def __init__(self, objects: list[Object]) -> None:
        self.objects = objects

    def of(self, kind: str) -> list[Object]:
        """All objects of a kind."""
        return [one for one in self.objects if one["kind"] == kind]

    def one(self, kind: str, name: str | None = None) -> Object:
        """The only object of a kind, or of a kind and name."""
        [found] = [one for one in self.of(kind) if name in {None, one["metadata"]["name"]}]
        return found

    @property
    def pod(self) -> Object:
        """The Deployment's template: `metadata` and `spec`."""
        template: Object = self.one("Deployment")["spec"]["template"]
        return template

    def pods(self) -> Iterator[Object]:
        """The templates of the Deployment and the Job."""
        for one in [*self.of("Deployment"), *self.of("Job")]:
            yield one["spec"]["template"]

    def secret(self, name: str) -> dict[str, str]:
        """What a Secret of the chart holds."""
        return {key: base64.b64decode(value).decode() for key, value in self.one("Secret", name)["data"].items()}


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run helm."""
    return subprocess.run(
        [find_tool("helm"), *arguments], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def template(*arguments: str | Path, chart: Path = CHART) -> subprocess.CompletedProcess[str]:
    """Run `helm template` on the chart."""
    told = ("--namespace", NAMESPACE, "--kube-version", f"{KUBERNETES}.0")
    return helm("template", RELEASE, chart, *told, *arguments)


@functools.cache
def rendered(values: str = "", *settings: str) -> Rendered:
    """Return the objects for a file of tests/deploy/values, or for the defaults, and for `--set-json` KEY=JSON."""
    arguments = ["--values", str(VALUES / f"{values}.yaml")] if values else []
    for one in settings:
        arguments += ["--set-json", one]
    done = template(*arguments)
    assert done.returncode == 0, done.stderr
    return Rendered([one for one in yaml.safe_load_all(done.stdout) if one is not None])


def changed(values: str, **settings: Any) -> Rendered:
    """Return the same with some values set: `changed("fleet", replicas=2)`."""
    return rendered(values, *(f"{key}={json.dumps(value)}" for key, value in settings.items()))
