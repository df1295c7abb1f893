"""Kubernetes' own schemas, which allow no unknown field. The package kubernetes-validate has them."""

import functools
import json
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from tests.deploy.charts import Object

_SCHEMAS = files("kubernetes_validate") / "kubernetes-json-schema"


def newest() -> str:
    """The newest version that there are schemas of, like 1.37."""
    versions = {one.name.split("-")[0].removeprefix("v") for one in _SCHEMAS.iterdir()}
    return max((one.rpartition(".")[0] for one in versions), key=lambda text: [int(part) for part in text.split(".")])


def check(one: Object, version: str) -> None:
    """Raise jsonschema's ValidationError for an object that Kubernetes would refuse or not understand."""
    group, _, of_group = one["apiVersion"].rpartition("/")
    name = "-".join(filter(None, [one["kind"].lower(), group.split(".")[0], of_group]))
    Draft202012Validator(_read(version, name), registry=_definitions(version)).validate(one)


@functools.cache
def _read(version: str, name: str) -> Any:
    return json.loads((_SCHEMAS / f"v{version}.0-local-strict" / f"{name}.json").read_text())


@functools.cache
def _definitions(version: str) -> Registry[Any]:
    definitions: Resource[Any] = Resource.from_contents(_read(version, "_definitions"))
    return definitions @ Registry()
