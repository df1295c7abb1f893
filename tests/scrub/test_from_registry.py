"""`stowage scrub --from URL`: the bytes of damaged blobs are taken from another registry, which is a real one."""

import base64
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.commands import refused, stowage
from tests.clients.tools import find_tool
from tests.factories import assert_error, digest_of, pull_blob, push_blob, random_bytes
from tests.scrub.conftest import QUIET, Site, flipped, missing
from tests.scrub.test_scrub import LARGE, SMALL, events
from tests.support.certificates import make_certificate
from tests.support.faulty_s3 import Fault, FaultyS3
from tests.support.ports import free_port
from tests.support.s3 import S3Server, server_settings
from tests.support.server import Connect, Server, ServerFactory


@pytest.fixture
def here(fresh_server: ServerFactory, connect: Connect) -> Site:
    """A registry on a folder."""
    server = fresh_server(**QUIET)
    return Site(server, connect(server), QUIET, server.data / "storage")


@pytest.fixture
def other(fresh_server: ServerFactory) -> Server:
    """The other registry."""
    return fresh_server(**QUIET)


def test_bytes_are_taken_from_another_registry(here: Site, other: Server, connect: Connect, repository: str) -> None:
    damaged = [random_bytes(size) for size in (SMALL, LARGE, SMALL)]
    for content, damage in zip(damaged, (flipped, flipped, missing), strict=True):
        damage(here.file(push_blob(here.client, repository, content)))
    lost = push_blob(here.client, "only/here", random_bytes(SMALL))
    wrong = random_bytes(SMALL)
    for content in (*damaged, wrong):
        push_blob(connect(other), repository, content)
    for digest in (lost, push_blob(here.client, repository, wrong)):
        flipped(here.file(digest))
    flipped(other.object_of(digest_of(wrong)))  # served as it is: nobody has scrubbed there

    done = stowage(*scrubbing(here, f"{other.url}/v2/"), **here.settings)
    assert done.returncode == 3
    assert "5 damaged, 3 of them repaired" in done.stdout
    assert f"the last was {digest_of(wrong)}: its bytes do not hash to its digest" in done.stdout
    for content in damaged:
        assert pull_blob(here.client, repository, digest_of(content)) == content
    for name, digest in (("only/here", lost), (repository, digest_of(wrong))):
        assert_error(here.client.get(f"/v2/{name}/blobs/{digest}"), 404, "BLOB_UNKNOWN")
    assert len(events(here.server, "recover")) == 3
    assert here.scrub("--quarantined", status=3)["summary"]["quarantined"] == 2
    assert here.fsck()["findings"] == []


def test_its_store_is_asked_where_it_redirects(
    s3: S3Server, fresh_server: ServerFactory, connect: Connect, repository: str
) -> None:
    """Both have their blobs in a bucket."""
    settings = {**QUIET, **server_settings(s3.url, "scrubbed")}
    server = fresh_server(**settings)
    here = Site(server, connect(server), settings, s3.data / "registry/scrubbed")
    other = fresh_server(**QUIET, **server_settings(s3.url, "redirecting", redirect="true"))
    content = random_bytes(LARGE)
    digest = push_blob(connect(other), repository, content)
    assert connect(other).get(f"/v2/{repository}/blobs/{digest}").status_code == 307
    flipped(here.file(push_blob(here.client, repository, content)))
    done = stowage(*scrubbing(here, other.url), **here.settings)
    assert (done.returncode, done.stderr) == (0, "")
    assert pull_blob(here.client, repository, digest) == content


def test_a_login_is_for_one_host(here: Site, connect: Connect, other: Server, repository: str, tmp_path: Path) -> None:
    """A proxy asks for a password, redirects to itself, and then to a host that takes nobody with a password."""
    content = random_bytes(LARGE)
    push_blob(connect(other), repository, content)
    flipped(here.file(push_blob(here.client, repository, content)))
    with asking(tmp_path / "nginx", other, "puller:s3cret:word") as url:
        said = refused(*scrubbing(here, url))
        assert f"{url} answers 401 Unauthorized to GET /v2/: it wants a login" in said
        said = refused(*scrubbing(here, url), STOWAGE_FROM_LOGIN="puller:f0rmer")
        assert said.endswith("it wants another name and password\n")
        assert "f0rmer" not in said
        done = stowage(*scrubbing(here, url), STOWAGE_FROM_LOGIN="puller:s3cret:word")
    assert (done.returncode, done.stderr) == (0, "")
    assert pull_blob(here.client, repository, digest_of(content)) == content


def test_its_certificate_has_to_be_trusted(
    here: Site, fresh_server: ServerFactory, connect: Connect, repository: str, tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path / "tls")
    tls = {
        "STOWAGE_HTTP__TLS__CERTIFICATE": str(certificate.certificate),
        "STOWAGE_HTTP__TLS__KEY": str(certificate.key),
    }
    other = fresh_server(**QUIET, **tls)
    content = random_bytes(SMALL)
    push_blob(connect(other), repository, content)
    flipped(here.file(push_blob(here.client, repository, content)))
    assert "certificate verify failed" in refused(*scrubbing(here, other.url))
    done = stowage(*scrubbing(here, other.url), SSL_CERT_FILE=str(certificate.certificate))
    assert (done.returncode, done.stderr) == (0, "")
    assert pull_blob(here.client, repository, digest_of(content)) == content


def test_what_is_no_registry_is_refused(here: Site) -> None:
    said = refused(*scrubbing(here, "https://puller:s3cret@registry.example.org"))
    assert "no name and no password" in said
    assert "s3cret" not in said
    for address in ("s3://bucket/prefix", "https://", "https://host/?query", "http://host:x"):
        assert "expected a registry's address" in refused(*scrubbing(here, address))
    assert "NAME:PASSWORD" in refused(*scrubbing(here, "https://host"), STOWAGE_FROM_LOGIN="s3cret")
    assert "can't be reached" in refused(*scrubbing(here, f"http://127.0.0.1:{free_port()}"))
    assert "answers 404 Not Found to GET /v2/" in refused(*scrubbing(here, f"{here.server.url}/elsewhere"))


def test_a_connection_that_breaks_brings_nothing(here: Site, connect: Connect, other: Server, repository: str) -> None:
    content = random_bytes(LARGE)
    digest = push_blob(connect(other), repository, content)
    flipped(here.file(push_blob(here.client, repository, content)))
    with FaultyS3(other.url) as relay:  # relays whatever is HTTP
        relay.fail(Fault(lambda asked: "/blobs/" in asked.name, cut_answer_at=LARGE // 2))
        done = stowage(*scrubbing(here, relay.url))
        assert done.returncode == 3
        assert f"the last was {digest}: the answer ended too early" in done.stdout
        assert list((here.server.data / "storage/uploads").iterdir()) == []
        assert_error(here.client.get(f"/v2/{repository}/blobs/{digest}"), 404, "BLOB_UNKNOWN")
        done = stowage(*scrubbing(here, relay.url))
    assert (done.returncode, done.stderr) == (0, "")
    assert pull_blob(here.client, repository, digest) == content


def scrubbing(here: Site, url: str) -> tuple[str, ...]:
    """The command's arguments."""
    return ("scrub", "--rate", "0", "--from", url, "--data", str(here.server.data))


_NGINX = """\
{user}
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxied;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        add_header WWW-Authenticate 'Basic realm="registry"' always;
        location / {{
            if ($http_authorization != "Basic {login}") {{ return 401; }}
            return 307 /kept$request_uri;
        }}
        location ~ ^/kept(/.*)$ {{
            if ($http_authorization != "Basic {login}") {{ return 401; }}
            return 307 http://127.0.0.1:{blobs_port}$1;
        }}
    }}
    server {{
        listen 127.0.0.1:{blobs_port};
        location / {{
            if ($http_authorization) {{ return 403; }}
            proxy_pass http://127.0.0.1:{behind};
        }}
    }}
}}
"""


@contextmanager
def asking(folder: Path, behind: Server, login: str) -> Iterator[str]:
    """Run nginx in front of a server, and give the address that asks for a login."""
    folder.mkdir()
    port = free_port()
    (folder / "nginx.conf").write_text(
        _NGINX.format(
            user="user root;" if os.geteuid() == 0 else "",  # or its workers could not read this folder
            folder=folder,
            port=port,
            blobs_port=free_port(),
            login=base64.b64encode(login.encode()).decode(),
            behind=behind.port,
        )
    )
    command = [str(find_tool("nginx")), "-p", str(folder), "-c", str(folder / "nginx.conf")]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 30
            while not _listens(port):
                assert process.poll() is None and time.monotonic() < deadline, (folder / "error.log").read_text()
                time.sleep(0.02)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0
