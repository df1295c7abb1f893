"""A server's data with many tags and repositories in it: rows written straight into the database, in bulk.

No server may run on the data meanwhile. The rows are those that pushes would have left, but for the events of the last
days; the manifests share a config and, without `own_layers`, a layer. Only layers of their own are rows without files.
"""

import hashlib
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pysqlite3

from bench.contents import CONFIG, LAYER, MANIFEST, Content
from bench.servers import Stowage
from registry.db.migrate import migrate_sqlite

_BATCH = 20_000
"""Tags whose rows are written at a time."""
_BEFORE = (
    "PRAGMA journal_mode = DELETE",  # from WAL there is no other way to OFF
    "PRAGMA journal_mode = OFF",
    "PRAGMA synchronous = OFF",
    "PRAGMA foreign_keys = OFF",  # checked at the end, all at once
    "PRAGMA cache_size = -524288",
)
_INSERT = {
    "repositories": "INSERT INTO repositories (id, name, created_at) VALUES (?, ?, ?)",
    "blobs": "INSERT INTO blobs (id, digest, size, store, key, created_at) VALUES (?, ?, ?, ?, ?, ?)",
    "links": "INSERT INTO links (repository_id, blob_id, linked_at, held_until) VALUES (?, ?, ?, ?)",
    "manifests": "INSERT INTO manifests (id, repository_id, digest, media_type, size, artifact_type, pushed_at,"
    " content) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    "manifest_blobs": "INSERT INTO manifest_blobs (manifest_id, role, repository_id, blob_id) VALUES (?, ?, ?, ?)",
    "tags": "INSERT INTO tags (repository_id, name, manifest_id, updated_at) VALUES (?, ?, ?, ?)",
    "tag_history": "INSERT INTO tag_history (repository_id, tag, manifest_id, digest, started_at, started_by)"
    " VALUES (?, ?, ?, ?, ?, 'system:anonymous')",
}
"""Tables in the order of their references."""


class Inconsistent(Exception):
    """What was written breaks a foreign key: a defect here, or a schema that this module does not know yet."""


class Filled(NamedTuple):
    """A repository to be: `tags` manifests, each with a tag of its own (`tag_name`)."""

    name: str
    tags: int


class _Blob(NamedTuple):
    """A blob's row, as far as it matters here."""

    id: int
    digest: str
    size: int


def tag_name(number: int) -> str:
    """Return the name of a filled repository's tag."""
    return f"t{number:07}"


def filled_server(folder: Path, repositories: Iterable[Filled], *, own_layers: bool = False) -> Stowage:
    """Return a server, not started, with data of its own that was filled. Raises Inconsistent."""
    server = Stowage(folder)
    fill(folder / "data", repositories, own_layers=own_layers)
    return server


def fill(data: Path, repositories: Iterable[Filled], *, own_layers: bool = False) -> None:
    """Make the data of a server.

    Args:
        data: its folder, which does not exist yet.
        repositories: what is to be in it.
        own_layers: each manifest has a layer of its own, else all have the same.

    Raises:
        Inconsistent: a foreign key is broken.
    """
    database = data / "stowage.sqlite3"
    migrate_sqlite(database)
    connection = pysqlite3.connect(database, isolation_level=None)
    try:
        for pragma in _BEFORE:
            connection.execute(pragma)
        connection.execute("BEGIN")
        rows = _Rows(connection, data / "storage", own_layers=own_layers)
        for repository in repositories:
            rows.add_repository(repository)
        rows.flush()
        connection.execute("COMMIT")
        check_references(connection)
        connection.execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()


def check_references(connection: Any) -> None:
    """Raise Inconsistent if a foreign key of the database is broken."""
    broken = connection.execute("PRAGMA foreign_key_check").fetchall()
    if broken:
        raise Inconsistent(f"{len(broken)} broken references, the first: {broken[0]}")


class _Rows:
    """Makes rows, with ids above those that are there, and writes many at a time."""

    def __init__(self, connection: Any, storage: Path, *, own_layers: bool) -> None:
        self._connection = connection
        self._now = time.time_ns() // 1000
        self._rows: dict[str, list[tuple[Any, ...]]] = {table: [] for table in _INSERT}
        self._last = dict.fromkeys(("repositories", "blobs", "manifests"), 0)
        self._config = self._add_file(storage, Content.random(4096))
        self._layer = None if own_layers else self._add_file(storage, Content.random(4096))

    def add_repository(self, repository: Filled) -> None:
        """Make the rows of a repository and its tags."""
        self._last["repositories"] += 1
        repository_id, now, rows = self._last["repositories"], self._now, self._rows
        rows["repositories"].append((repository_id, repository.name, now))
        rows["links"].append((repository_id, self._config.id, now, now))
        if self._layer is not None:
            rows["links"].append((repository_id, self._layer.id, now, now))
        for number in range(repository.tags):
            self._add_tag(repository_id, tag_name(number))
            if len(rows["tags"]) == _BATCH:
                self.flush()

    def flush(self) -> None:
        """Write what was made."""
        for table, statement in _INSERT.items():
            self._connection.executemany(statement, self._rows[table])
            self._rows[table].clear()

    def _add_tag(self, repository_id: int, tag: str) -> None:
        self._last["manifests"] += 1
        rows, now, manifest_id = self._rows, self._now, self._last["manifests"]
        layer = self._layer or self._add_layer(repository_id)
        content = _manifest(self._config, layer, manifest_id)
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        rows["manifests"].append((manifest_id, repository_id, digest, MANIFEST, len(content), CONFIG, now, content))
        rows["manifest_blobs"].append((manifest_id, "config", repository_id, self._config.id))
        rows["manifest_blobs"].append((manifest_id, "layer", repository_id, layer.id))
        rows["tags"].append((repository_id, tag, manifest_id, now))
        rows["tag_history"].append((repository_id, tag, manifest_id, digest, now))

    def _add_layer(self, repository_id: int) -> _Blob:
        """Make a blob without a file. No bytes have its digest, made up so that digests ascend: that is fast."""
        layer, _ = self._add_blob(f"sha256:{self._last['blobs'] + 1:064x}", 4096)
        self._rows["links"].append((repository_id, layer.id, self._now, self._now))
        return layer

    def _add_file(self, storage: Path, content: Content) -> _Blob:
        """Make a blob with its file."""
        blob, key = self._add_blob(content.digest, len(content.data))
        (storage / key).parent.mkdir(parents=True, exist_ok=True)
        (storage / key).write_bytes(content.data)
        return blob

    def _add_blob(self, digest: str, size: int) -> tuple[_Blob, str]:
        self._last["blobs"] += 1
        blob = _Blob(self._last["blobs"], digest, size)
        encoded = digest.partition(":")[2]
        key = f"blobs/sha256/{encoded[:2]}/{encoded}-{blob.id:012x}"
        self._rows["blobs"].append((blob.id, digest, size, "filesystem", key, self._now))
        return blob, key


def _manifest(config: _Blob, layer: _Blob, number: int) -> bytes:
    return (
        f'{{"schemaVersion":2,"mediaType":"{MANIFEST}",'
        f'"config":{{"mediaType":"{CONFIG}","digest":"{config.digest}",'
        f'"size":{config.size}}},'
        f'"layers":[{{"mediaType":"{LAYER}","digest":"{layer.digest}",'
        f'"size":{layer.size}}}],"annotations":{{"number":"{number}"}}}}'
    ).encode()
