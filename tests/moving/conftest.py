"""A registry with something of everything in it."""

import io
import json
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pysqlite3 as sqlite3
import pytest

from tests.factories import (
    PushedImage,
    artifact_manifest,
    descriptor,
    digest_of,
    image_manifest,
    index_manifest,
    new_image,
    push_artifact,
    push_blob,
    push_image,
    push_manifest,
)
from tests.support.images import OCI_INDEX, OCI_MANIFEST
from tests.support.server import Server, new_client


@dataclass(frozen=True)
class Filled:
    """A running registry: `team/app` has tags, an index, referrers and a signature's tag; `other` has one image."""

    server: Server
    client: httpx.Client
    single: PushedImage
    index: bytes
    references: dict[str, list[str]]

    @property
    def data(self) -> tuple[str, str]:
        """Options that name it."""
        return ("--data", str(self.server.data))


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """The registry, which tests leave as they found it."""
    with Server(tmp_path_factory.mktemp("filled")) as server, new_client(server) as client:
        yield _fill(server, client)


def _fill(server: Server, client: httpx.Client) -> Filled:
    single = push_image(client, "team/app", "v1", layers=2)
    push_manifest(client, "team/app", single.manifest, "latest")
    platforms = [push_image(client, "team/app") for _ in range(2)]
    index = index_manifest([descriptor(one.manifest, OCI_MANIFEST) for one in platforms])
    push_manifest(client, "team/app", index, "multi", media_type=OCI_INDEX)
    nested = index_manifest([descriptor(index, OCI_INDEX)])
    push_manifest(client, "team/app", nested, "nested", media_type=OCI_INDEX)
    note = artifact_manifest(single.manifest)
    push_artifact(client, "team/app", note)
    on_note = artifact_manifest(note)
    push_artifact(client, "team/app", on_note)
    on_child = artifact_manifest(platforms[0].manifest)
    push_artifact(client, "team/app", on_child)
    signature = f"{single.digest.replace(':', '-')}.sig"
    signed = push_image(client, "team/app", signature)
    untagged = push_image(client, "team/app")
    strong = b"strong"
    push_blob(client, "other", strong, algorithm="sha512")
    layer = descriptor(strong, "text/plain", algorithm="sha512")
    config = push_image(client, "other", "v1").config
    push_manifest(client, "other", _with_layer(config, layer), "strong")
    digests = [digest_of(one) for one in (note, on_note, on_child)]
    references = {
        "team/app": ["v1", "latest", "multi", "nested", signature, *digests, untagged.digest, signed.digest],
        "other": ["v1", "strong"],
    }
    return Filled(server, client, single, index, references)


def _with_layer(config: bytes, layer: Mapping[str, Any]) -> bytes:
    manifest = json.loads(image_manifest(config))
    manifest["layers"] = [dict(layer)]
    return json.dumps(manifest).encode()


@dataclass(frozen=True)
class Empty:
    """A registry that no server runs on."""

    data_folder: Path

    @property
    def data(self) -> tuple[str, str]:
        """Options that name it."""
        return ("--data", str(self.data_folder))

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the database."""
        raw = sqlite3.connect(self.data_folder / "stowage.sqlite3")
        found: list[tuple[Any, ...]] = raw.execute(query).fetchall()
        raw.close()
        return found

    def is_untouched(self) -> bool:
        """Whether there is nothing in it: no rows, no files."""
        counted = "SELECT (SELECT count(*) FROM repositories) + (SELECT count(*) FROM blobs) + count(*) FROM outbox"
        return self.rows(counted) == [(0,)] and not [
            file for file in (self.data_folder / "storage").rglob("*") if file.is_file()
        ]


@pytest.fixture
def empty(tmp_path: Path, new_data: Path) -> Empty:
    """The registry."""
    return Empty(Path(shutil.copytree(new_data, tmp_path / "empty")))


class Archive:
    """An archive in the making, of which everything can be spoilt."""

    def __init__(self, annotations: Mapping[str, str]) -> None:
        self.image = new_image()
        self.files: dict[str, bytes] = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}
        for content in (*self.image.blobs, self.image.manifest):
            self.add(content)
        self.more: list[tuple[tarfile.TarInfo, bytes]] = []
        named = {"org.opencontainers.image.ref.name": "v1", **annotations}
        self.entries = [descriptor(self.image.manifest, OCI_MANIFEST, annotations=named)]

    def add(self, content: bytes) -> None:
        """Add a blob."""
        self.files[f"blobs/{digest_of(content).replace(':', '/')}"] = content

    def spoil(self, content: bytes, other: bytes | None) -> None:
        """Put other bytes where these belong, or take them away."""
        path = f"blobs/{digest_of(content).replace(':', '/')}"
        if other is None:
            del self.files[path]
        else:
            self.files[path] = other

    def special(self, name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"", **fields: Any) -> None:
        """Add an entry of another kind."""
        info = tarfile.TarInfo(name)
        info.type, info.size = kind, len(content)
        for field, value in fields.items():
            setattr(info, field, value)
        self.more.append((info, content))

    def write(self, file: Path) -> Path:
        """Write it."""
        index = {"schemaVersion": 2, "manifests": self.entries}
        files = {**self.files, "index.json": self.files.get("index.json", json.dumps(index).encode())}
        with tarfile.open(file, "w") as archive:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            for info, content in self.more:
                archive.addfile(info, io.BytesIO(content))
        return file
