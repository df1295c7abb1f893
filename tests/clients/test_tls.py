"""A server that serves TLS itself, and what each client needs to trust it."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.clients.adapters import Client
from tests.clients.charts import push_chart
from tests.clients.cosign import Cosign, Keeping
from tests.clients.folders import Crane
from tests.clients.stored import stored_manifest
from tests.clients.tools import Tool
from tests.support.certificates import Certificate, make_certificate
from tests.support.images import Image
from tests.support.server import Server, new_client

_CHECKING = ["podman", "buildah", "ctr", "skopeo"]
"""Docker takes any certificate on loopback; crane and regctl try again for seconds before they give up."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """The server's certificate, signed by itself."""
    return make_certificate(tmp_path_factory.mktemp("tls") / "trusted")


@pytest.fixture(scope="module")
def secure(certificate: Certificate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with TLS."""
    settings = {
        "STOWAGE_HTTP__TLS__CERTIFICATE": str(certificate.certificate),
        "STOWAGE_HTTP__TLS__KEY": str(certificate.key),
    }
    with Server(tmp_path_factory.mktemp("secure"), settings) as running:
        yield running


@pytest.fixture(scope="module")
def secure_client(secure: Server) -> Iterator[httpx.Client]:
    """A client of that server."""
    with new_client(secure) as connected:
        yield connected


def test_an_image_survives_the_round_trip_through_tls(
    any_client: Client,
    secure: Server,
    secure_client: httpx.Client,
    certificate: Certificate,
    repository: str,
    image: Image,
) -> None:
    trusting = any_client.trusting(secure.address, certificate.certificate)
    reference = f"{secure.address}/{repository}:v1"
    trusting.load(image, reference)
    trusting.push(reference)
    trusting.remove(reference)
    assert stored_manifest(secure_client, repository, "v1").json()["config"]["digest"] == image.config_digest
    trusting.pull(reference)
    trusting.look(reference).is_same_as(image)


@pytest.mark.parametrize("name", _CHECKING)
def test_a_certificate_that_is_not_trusted_is_refused(
    name: str, request: pytest.FixtureRequest, secure: Server, repository: str, tmp_path: Path
) -> None:
    client: Client = request.getfixturevalue(name)
    other = make_certificate(tmp_path / "other")
    mistaken = client.trusting(secure.address, other.certificate)
    said = mistaken.tool.fail(*mistaken.pull_command(f"{secure.address}/{repository}:v1")).both
    assert "certificate" in said


def test_signatures_and_charts_go_through_tls(
    crane: Crane,
    cosign: Cosign,
    helm: Tool,
    secure: Server,
    certificate: Certificate,
    repository: str,
    image: Image,
    tmp_path: Path,
) -> None:
    trusting = crane.trusting(secure.address, certificate.certificate)
    trusting.load(image, f"{secure.address}/{repository}:v1")
    trusting.push(f"{secure.address}/{repository}:v1")
    signing = cosign.trusting(certificate.certificate)
    signing.sign(f"{secure.address}/{repository}@{image.digest}", Keeping.BUNDLE)
    signing.verify(f"{secure.address}/{repository}:v1", Keeping.BUNDLE)
    access = ("--ca-file", str(certificate.certificate))
    package = push_chart(helm, tmp_path, "1.0.0", f"{secure.address}/{repository}", access)
    (tmp_path / "back").mkdir()
    helm.run("pull", f"oci://{secure.address}/{repository}/sample", *access, "--destination", tmp_path / "back")
    assert (tmp_path / "back" / package.name).read_bytes() == package.read_bytes()
