"""Pull secrets: a token in the forms in which clusters and machines keep it."""

import base64
import json
import re
from enum import StrEnum

_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?").fullmatch
_LONGEST_NAME = 63
_LONGEST_LABEL = 100


class Format(StrEnum):
    """How it is written."""

    DOCKERCONFIGJSON = "dockerconfigjson"
    DOCKERCFG = "dockercfg"
    KUBERNETES = "kubernetes"


def is_host(text: str) -> bool:
    """Say whether names of images may begin so: HOST or HOST:PORT."""
    return _HOST(text) is not None


def label_for(host: str) -> str:
    """Return what a token is known by that is made for a pull secret."""
    return f"pull secret for {host}"[:_LONGEST_LABEL]


def written(form: Format, host: str, user: str, token: str) -> str:
    """Return a pull secret in one of the forms.

    Source: docker's `config.json` ("auths"), and Kubernetes' Secrets of the types `kubernetes.io/dockerconfigjson` and
    `kubernetes.io/dockercfg`.
    """
    both = base64.b64encode(f"{user}:{token}".encode()).decode()
    entry = {"username": user, "password": token, "auth": both}
    if form is Format.DOCKERCFG:
        return json.dumps({host: entry}, indent=2)
    content = {"auths": {host: entry}}
    if form is Format.DOCKERCONFIGJSON:
        return json.dumps(content, indent=2)
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": _secret_name(user)},
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": base64.b64encode(json.dumps(content).encode()).decode()},
    }
    return json.dumps(secret, indent=2)


def _secret_name(user: str) -> str:
    """Return a name that Kubernetes takes (RFC 1123): of the account's and the project's."""
    project, _, account = user.partition("/")
    return re.sub(r"[^a-z0-9-]", "-", f"{account}-{project}")[:_LONGEST_NAME].strip("-")
