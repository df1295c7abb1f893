"""The files of deploy/compose, put together as Compose does it."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from tests.support.server import ROOT

FOLDER = ROOT / "deploy" / "compose"
SECRETS = {
    "STOWAGE_DATABASE__PASSWORD": "not-to-be-seen-1",
    "STOWAGE_STORAGE__S3__SECRET_ACCESS_KEY": "not-to-be-seen-2",
    "STOWAGE_AUTH__SECRET": "not-to-be-seen-3, and long enough to seal keys",
    "STOWAGE_ADMIN_PASSWORD": "not-to-be-seen-4",
}
TLS = {"STOWAGE_TLS_CERTIFICATE": "/etc/tls.pem", "STOWAGE_TLS_KEY": "/etc/tls.key"}
_VARIABLE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?:(?P<how>:[-?])(?P<rest>[^}]*))?\})")

Service = dict[str, Any]


def example() -> dict[str, str]:
    """The variables of env.example, secrets filled in."""
    lines = (FOLDER / "env.example").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert {name for name, value in given.items() if not value} == set(SECRETS)
    return given | SECRETS


def filled(value: Any, variables: Mapping[str, str]) -> Any:
    """Put variables into all texts, as the Compose specification says ("Interpolation")."""
    if isinstance(value, dict):
        return {key: filled(one, variables) for key, one in value.items()}
    if isinstance(value, list):
        return [filled(one, variables) for one in value]

    def found(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        text = variables.get(match["name"], "")
        if match["how"] is None:
            return variables[match["name"]]
        if not text and match["how"] == ":?":
            raise KeyError(f"{match['name']}: {match['rest']}")
        return text or match["rest"]

    return _VARIABLE.sub(found, value) if isinstance(value, str) else value


def read(name: str) -> dict[str, Any]:
    """A file as it stands, with YAML's anchors followed."""
    found: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return found


def services(variables: Mapping[str, str] | None = None) -> dict[str, Service]:
    """The services of compose.yaml, for env.example unless other variables are given."""
    found: dict[str, Service] = filled(read("compose.yaml"), example() if variables is None else variables)["services"]
    return found


def environment(service: Service, variables: Mapping[str, str]) -> dict[str, str]:
    """What a container gets: its env_file, which is .env, and before it its own."""
    from_file = variables if service.get("env_file") == [".env"] else {}
    return {**from_file, **{name: str(value) for name, value in service["environment"].items()}}
