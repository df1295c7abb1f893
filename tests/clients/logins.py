"""Clients that log in, each with a place of its own for what it keeps of that."""

import copy
from dataclasses import replace
from pathlib import Path

from tests.clients.adapters import Client
from tests.clients.tools import Output, Tool

_PLAIN_HTTP = ("--tls-verify=false",)


def apart(tool: Tool, folder: Path) -> Tool:
    """The same program, which keeps credentials in this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "auth.json").write_text("{}")
    places = {
        "DOCKER_CONFIG": str(folder),
        "REGISTRY_AUTH_FILE": str(folder / "auth.json"),
        "HELM_REGISTRY_CONFIG": str(folder / "helm.json"),
    }
    return replace(tool, environment={**tool.environment, **places})


class Account:
    """A client in somebody's hands.

    Args:
        folder: for what it keeps of logging in; made when missing.
        access: options of `login` that say how the registry is reached, for those clients that ask.
    """

    def __init__(self, client: Client, folder: Path, access: tuple[str, ...] = _PLAIN_HTTP) -> None:
        self.client = copy.copy(client)
        self.client.tool = apart(client.tool, folder)
        self._access = access if client.name in {"podman", "skopeo", "buildah"} else ()

    def login(self, address: str, who: tuple[str, str]) -> None:
        """Log in; whether the password is right, most clients ask at once."""
        self.client.tool.run(*self._login(address, who))

    def fail_to_login(self, address: str, who: tuple[str, str]) -> Output:
        return self.client.tool.fail(*self._login(address, who))

    def _login(self, address: str, who: tuple[str, str]) -> tuple[str, ...]:
        verb = ("auth", "login") if self.client.name == "crane" else ("login", *self._access)
        return (*verb, "--username", who[0], "--password", who[1], address)

    def refused(self, *command: str | Path) -> str:
        """Run a command that must fail for want of permission, and return what the client says of it."""
        said = self.client.tool.fail(*command).both
        assert any(word in said.lower() for word in ("unauthorized", "denied", "authentication required")), said
        return said
