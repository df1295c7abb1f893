"""Helm charts made on the spot."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from tests.clients.tools import Tool

_MAP = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}
data:
  greeting: {{ .Values.greeting }}
"""


def write_chart(folder: Path, name: str, version: str, **about: object) -> Path:
    """Write a chart's sources into a new folder, which is returned.

    Args:
        folder: where the chart's folder goes; made when missing.
        about: more for `Chart.yaml`.
    """
    chart = folder / name
    (chart / "templates").mkdir(parents=True, exist_ok=True)
    (chart / "Chart.yaml").write_text(yaml.safe_dump({"apiVersion": "v2", "name": name, "version": version, **about}))
    (chart / "values.yaml").write_text(f"greeting: hello from {version}\n")
    (chart / "templates" / "map.yaml").write_text(_MAP)
    return chart


def push_chart(
    helm: Tool, folder: Path, version: str, target: str, access: Sequence[str] = ("--plain-http",), **about: object
) -> Path:
    """Package the chart `sample`, push it to HOST:PORT/NAME/sample, and return the package.

    Args:
        access: options that say how the registry is reached.
    """
    helm.run("package", write_chart(folder, "sample", version, **about), "--destination", folder)
    package = folder / f"sample-{version}.tgz"
    helm.run("push", package, f"oci://{target}", *access)
    return package
