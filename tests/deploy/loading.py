"""What a deployment gives Stowage, read by Stowage's own loader."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from registry.settings import Settings, load_settings


def load(
    monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str], files: Mapping[str, Path] | None = None
) -> Settings:
    """Load settings from nothing but `environment`.

    Args:
        monkeypatch: undoes what this does to the environment.
        environment: the container's variables.
        files: where paths of the container lie here.

    Raises:
        SettingsError: as Stowage would.
    """
    for name in [one for one in os.environ if one.startswith("STOWAGE_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        if name.startswith("STOWAGE_"):
            monkeypatch.setenv(name, str((files or {}).get(value, value)))
    return load_settings()
