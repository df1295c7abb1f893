"""What logging in needs takes a fifth of a second to import: who is open to all does not wait for it."""

import subprocess
import sys
from collections.abc import Collection

from tests.support.server import ROOT

_LIGHT = (
    "registry.api.mounting",
    "registry.http.authentication",
    "registry.http.login",
    "registry.http.token",
    "registry.open_api",
    "registry.services.accounts",
    "registry.services.permissions",
    "registry.services.subjects",
    "registry.services.token_server",
)
_HEAVY = ("argon2", "bcrypt", "cryptography", "jwt", "registry.identity")


def _imported(module: str, some: Collection[str] = _HEAVY) -> set[str]:
    code = f"import sys, {module}; print(*(set({some!r}) & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_a_server_imports_it_only_where_people_log_in() -> None:
    assert _imported("registry.cli.serve") == set()
    assert _imported("registry.identity") == set(_HEAVY)


def test_a_server_in_mode_open_imports_nothing_that_is_about_people() -> None:
    assert _imported("registry.main", _LIGHT) == set()
