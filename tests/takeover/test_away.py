"""A storage that was taken over and is not there any more: who says so, and that nothing counts as missing."""

import json
from pathlib import Path

from tests.cli.commands import stowage
from tests.factories import digest_of
from tests.takeover.conftest import Serving
from tests.takeover.storages import Storage


def test_a_store_that_is_gone_is_named(serving: Serving, tmp_path: Path) -> None:
    there = serving.there
    image = Storage(there.root).image("app", "v1")
    layer = f"/v2/app/blobs/{digest_of(image.layers[0])}"
    serving.take_over()
    there.root.rename(tmp_path / "unmounted")

    ready = serving.client.get("/readyz")
    assert (ready.status_code, ready.json()["storage"]) == (503, "ok")
    assert f"imported-1, taken over from {there.source}" in ready.json()["imported"]
    assert serving.client.get(layer).status_code == 503
    checked = stowage("check", "--data", str(serving.data), "--json", **there.settings)
    assert checked.returncode == 1
    (problem,) = [one for one in json.loads(checked.stdout)["problems"] if one["reason"] == "ImportedStoreUnavailable"]
    assert f"imported-1, taken over from {there.source}" in problem["message"]

    (tmp_path / "unmounted").rename(there.root)
    assert serving.client.get(layer).content == image.layers[0]
    healthy = stowage("check", "--data", str(serving.data), "--json", **there.settings)
    assert "ImportedStoreUnavailable" not in healthy.stdout


def test_a_store_that_was_copied_may_go(serving: Serving, tmp_path: Path) -> None:
    Storage(serving.there.root).image("app", "v1")
    serving.take_over()
    serving.take_over("--copy")
    serving.there.root.rename(tmp_path / "removed")
    assert serving.client.get("/readyz").status_code == 200
