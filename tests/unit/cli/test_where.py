"""Where commands ask: which module answers at a path, and what is a name in one."""

import importlib

import pytest
import typer
from fastapi.routing import APIRoute

from registry.api.paths import MODULES, PREFIX, module_of, route_of
from registry.cli.client import at


@pytest.mark.parametrize("module", MODULES)
def test_a_path_is_answered_by_the_module_that_is_imported_for_it(module: str) -> None:
    routes = importlib.import_module(f"registry.api.{module}").router.routes
    assert routes
    for route in routes:
        assert isinstance(route, APIRoute)
        assert module_of(route.path) == module
        assert route_of(f"{PREFIX}{route.path}") == f"api.{route.path.split('/')[1]}"


@pytest.mark.parametrize("path", ["", "none", "nones/me"])
def test_a_path_that_nobody_answers(path: str) -> None:
    with pytest.raises(KeyError):
        module_of(path)
    assert route_of(f"{PREFIX}/{path}") == "api.other"


def test_names_stand_in_paths_encoded() -> None:
    assert at("users", "a b%?#@é") == "users/a%20b%25%3F%23%40%C3%A9"
    assert at("cn=dev/ops", slashes=True) == "cn%3Ddev/ops"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0", "a\n", "\udcff"])
def test_what_is_no_name_stands_in_none(name: str) -> None:
    with pytest.raises(typer.Exit):
        at("users", name)
    with pytest.raises(typer.Exit):
        at("a/../b", slashes=True)
