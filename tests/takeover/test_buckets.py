"""What is different where the storage that is taken over lies in a bucket: how it is reached, and who is asked."""

import httpx
import pytest

from tests.cli.commands import stowage
from tests.factories import digest_of
from tests.support.s3 import ACCESS_KEY_ID, BUCKET, SECRET_ACCESS_KEY, S3Server, server_settings
from tests.support.server import Connect, ServerFactory
from tests.takeover.conftest import Ours
from tests.takeover.storages import Storage

pytestmark = pytest.mark.parametrize("there", ["bucket"], indirect=True)

_ENVIRONMENT = {"AWS_ACCESS_KEY_ID": ACCESS_KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY}


def test_endpoint_and_region_are_remembered_and_no_secret_is(ours: Ours, s3: S3Server) -> None:
    image = Storage(ours.there.root).image("app", "v1")
    data = ("--data", str(ours.data))
    first = stowage(
        "import", "--from", ours.there.source, *data, "--endpoint", s3.url, "--region", "eu", **_ENVIRONMENT
    )
    assert first.returncode == 0, first.stderr
    place = f"{ours.there.source}?endpoint={s3.url}&region="
    assert ours.rows("SELECT name, place FROM stores") == [("imported-1", f"{place}eu")]
    # A later run is the same storage's, whatever it is called, and may say how it is reached now.
    for arguments in (
        ("--from", ours.there.source, "--endpoint", f"{s3.url}/"),
        ("--from", f"{place}us-east-1"),
    ):
        again = stowage("import", *arguments, *data, **_ENVIRONMENT)
        assert again.returncode == 0, again.stderr
    assert ours.rows("SELECT name, place FROM stores") == [("imported-1", f"{place}us-east-1")]
    assert ours.rows("SELECT count(*) FROM blobs") == [(len(image.blobs),)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--from", "s3://"), "expected s3://BUCKET/PREFIX"),
        (("--from", "s3://bucket/prefix?secret=x"), "expected endpoint, region, path_style, profile"),
        (("--from", "s3://bucket", "--endpoint", "minio:9000"), "expected an endpoint of http:// or https://"),
        (("--from", "/var/lib/registry", "--endpoint", "http://minio"), "--endpoint is for buckets"),
    ],
)
def test_what_makes_no_sense_is_refused(ours: Ours, arguments: tuple[str, ...], said: str) -> None:
    done = stowage("import", *arguments, "--data", str(ours.data))
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_a_bucket_that_is_not_there_and_a_profile_that_is_not_there_are_said(ours: Ours, s3: S3Server) -> None:
    ours_there, data = ours.there, ("--data", str(ours.data))
    missing = stowage("import", "--from", "s3://no-such-bucket/x", *data, **ours_there.settings)
    assert (missing.returncode, len(missing.stderr.splitlines())) == (1, 1)
    assert "there is no such bucket" in missing.stderr
    unknown = stowage("import", *ours.between, "--profile", "nobody", **ours_there.settings)
    assert (unknown.returncode, len(unknown.stderr.splitlines())) == (1, 1)
    assert "nobody" in unknown.stderr
    assert ours.rows("SELECT count(*) FROM stores") == [(0,)]


@pytest.mark.anyio
async def test_a_listing_has_more_than_a_page(ours: Ours) -> None:
    """A page has a thousand names."""
    folder = ours.there.root / "docker/registry/v2/repositories"
    names = {f"empty{number}" for number in range(1010)}
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "object").touch()
    (folder / "no-folder").touch()
    foreign = ours.there.foreign()
    try:
        pages = [page async for page in foreign.folders("repositories")]
    finally:
        await foreign.close()
    assert len(pages) == 2
    assert {name for page in pages for name in page} == names
    assert sum(map(len, pages)) == len(names)


def test_clients_are_redirected_where_the_own_store_redirects(
    ours: Ours, s3: S3Server, fresh_server: ServerFactory, connect: Connect
) -> None:
    """The registry's own storage is the same S3 server here, under another prefix."""
    large = bytes(range(256)) * 1024
    storage = Storage(ours.there.root)
    storage.image("app", "v1")
    storage.blob(large)
    storage.link("app/_layers", large)
    settings = {**server_settings(s3.url, prefix=f"own-{ours.there.folder.name}", redirect="true"), **_ENVIRONMENT}
    server = fresh_server("--workers", "1", **settings)
    done = stowage("import", "--from", ours.there.source, "--data", str(server.data), **settings)
    assert done.returncode == 0, done.stderr
    answer = connect(server).get(f"/v2/app/blobs/{digest_of(large)}")
    assert answer.status_code == 307
    assert f"/{BUCKET}/{ours.there.folder.name}/docker/registry/v2/blobs/" in answer.headers["location"]
    assert httpx.get(answer.headers["location"], trust_env=False).content == large
