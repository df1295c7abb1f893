"""Pulling at a moment, with clients that know nothing of it."""

from pathlib import Path

import httpx
import pytest

from tests.cli.commands import printed
from tests.clients.folders import Crane, Skopeo
from tests.support.images import Image, build_image, build_layer, read_directory
from tests.support.moments import moment
from tests.support.server import Server


@pytest.fixture
def images() -> tuple[Image, Image]:
    """What the tag was, and what it is."""
    return build_image([build_layer({"which": b"first"})]), build_image([build_layer({"which": b"second"})])


def test_clients_pull_what_a_tag_was(
    crane: Crane,
    skopeo: Skopeo,
    server: Server,
    client: httpx.Client,
    repository: str,
    images: tuple[Image, Image],
    tmp_path: Path,
) -> None:
    """After the tag moved, and after what it was is deleted; then the bad push is undone."""
    first, second = images
    reference = f"{server.address}/{repository}:latest"
    crane.load(first, reference)
    crane.push(reference)
    then = moment()
    bad = f"{server.address}/{repository}:bad"
    crane.load(second, bad)
    crane.push(bad)
    crane.tool.run("tag", bad, "latest")
    past = f"{server.address}/{then}/{repository}"

    def pulled(name: str) -> None:
        assert crane.tool.run("digest", f"{past}:latest").stdout.strip() == first.digest
        folder = tmp_path / name
        skopeo.tool.run("copy", "--src-tls-verify=false", f"docker://{past}:latest", f"dir:{folder}")
        assert read_directory(folder).digest == first.digest
        crane.tool.run("pull", f"{past}:latest", tmp_path / f"{name}.tar")

    pulled("moved")
    assert client.delete(f"/v2/{repository}/manifests/{first.digest}").status_code == 202
    pulled("deleted")
    assert crane.tool.run("digest", reference).stdout.strip() == second.digest
    assert crane.tool.run("ls", past).stdout.split() == ["latest"]
    assert "what was there then" in crane.tool.fail("tag", f"{past}:latest", "new").both
    printed("rollback", f"{repository}:latest", "--to", "previous", "--data", str(server.data))
    assert crane.tool.run("digest", reference).stdout.strip() == first.digest
