"""What collection removes, after changes at random, beside what a model of reachability in plain Python says."""

import asyncio
import os
import tempfile
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from registry.errors import ContentInUse, RegistryError
from registry.oci.names import RepositoryName
from registry.services.retention import Rules
from storage.digest import Digest, digest_bytes
from tests.factories import OCI_MANIFEST, descriptor, image_manifest, index_manifest
from tests.support.databases import new_sqlite
from tests.unit.services.collected import AT_ONCE, Registry

LONG = os.environ.get("STOWAGE_LONG") == "1"
REPOSITORIES = ("m/a", "m/b")
BLOBS = (b"zero", b"one", b"two", b"three")
TAGS = ("x", "y")
IMAGES = tuple(image_manifest(BLOBS[a], [BLOBS[b]]) for a, b in ((0, 1), (1, 2), (2, 3)))
INDEXES = tuple(
    index_manifest([descriptor(IMAGES[a], OCI_MANIFEST) for a in children]) for children in ((0, 1), (1, 2), (2,))
)
REFERRERS = tuple(
    image_manifest(BLOBS[3], subject=descriptor(subject, OCI_MANIFEST)) for subject in (IMAGES[0], INDEXES[0])
)
REFERRERS += (image_manifest(BLOBS[0], subject=descriptor(REFERRERS[0], OCI_MANIFEST)),)
MANIFESTS = (*IMAGES, *INDEXES, *REFERRERS)


@dataclass
class Manifest:
    """A manifest in a repository of the model. `orphaned`: its subject was collected since it was last pushed."""

    blobs: set[Digest]
    children: set[Digest]
    subject: Digest | None
    deleted: bool = False
    orphaned: bool = False


@dataclass
class Repository:
    """A repository of the model. `links`: whether each blob was deleted."""

    manifests: dict[Digest, Manifest] = field(default_factory=dict)
    links: dict[Digest, bool] = field(default_factory=dict)
    tags: dict[str, Digest] = field(default_factory=dict)


class Model:
    """What ought to be there. Nothing is held, and there is no grace; `window`: nothing deleted or untagged goes."""

    def __init__(self) -> None:
        self.repositories = {name: Repository() for name in REPOSITORIES}

    def upload(self, name: str, content: bytes) -> None:
        self.repositories[name].links[digest_bytes(content)] = False

    def push(self, name: str, content: bytes, tag: str | None) -> None:
        repository, digest = self.repositories[name], digest_bytes(content)
        number = MANIFESTS.index(content)
        if content in IMAGES:
            pair = ((0, 1), (1, 2), (2, 3))[number]
            blobs, children, subject = {digest_bytes(BLOBS[one]) for one in pair}, set(), None
        elif content in INDEXES:
            listed = ((0, 1), (1, 2), (2,))[number - len(IMAGES)]
            blobs, children, subject = set(), {digest_bytes(IMAGES[one]) for one in listed}, None
        else:
            of = (IMAGES[0], INDEXES[0], REFERRERS[0])[number - len(IMAGES) - len(INDEXES)]
            blob = BLOBS[0] if of == REFERRERS[0] else BLOBS[3]
            blobs, children, subject = {digest_bytes(blob)}, set[Digest](), digest_bytes(of)
        known = repository.manifests.get(digest)
        orphaned = known.orphaned if known is not None and tag is not None else False
        repository.manifests[digest] = Manifest(blobs, children, subject, orphaned=orphaned)
        if tag is not None:
            before = repository.manifests.get(repository.tags.get(tag, digest))
            if before is not None and repository.tags.get(tag) != digest:
                before.orphaned = before.orphaned and repository.tags.get(tag) is None
            repository.tags[tag] = digest

    def collect(self, rules: Rules) -> None:
        """Remove what nothing reaches, again and again, until nothing changes."""
        changed = True
        while changed:
            changed = False
            for repository in self.repositories.values():
                for digest in [one for one in repository.manifests if not _stays(repository, one, rules)]:
                    del repository.manifests[digest]
                    for other in repository.manifests.values():
                        other.orphaned = other.orphaned or other.subject == digest
                    changed = True
        for repository in self.repositories.values():
            used = {blob for manifest in repository.manifests.values() for blob in manifest.blobs}
            gone = [blob for blob in repository.links if blob not in used]
            for blob in gone:
                del repository.links[blob]


def _stays(repository: Repository, digest: Digest, rules: Rules) -> bool:
    manifest = repository.manifests[digest]
    if digest in repository.tags.values():
        return True
    if any(digest in other.children for other in repository.manifests.values()):
        return True
    if manifest.deleted:
        return False
    if manifest.subject in repository.manifests:
        return True
    if manifest.orphaned and rules.referrers == "collect":
        return False
    return rules.untagged == "keep"


_repository, _blob = st.sampled_from(REPOSITORIES), st.sampled_from(BLOBS)
_manifest, _tag = st.sampled_from(MANIFESTS), st.sampled_from(TAGS)
_RULES = [
    replace(AT_ONCE, untagged=one, referrers=other) for one in ("keep", "collect") for other in ("keep", "collect")
]
STEPS = st.one_of(
    st.tuples(st.just("upload"), _repository, _blob),
    st.tuples(st.just("mount"), _repository, _blob),
    st.tuples(st.just("push"), _repository, _manifest, st.none() | _tag),
    st.tuples(st.just("push"), _repository, _manifest, st.none() | _tag),
    st.tuples(st.just("untag"), _repository, _tag),
    st.tuples(st.just("delete"), _repository, _manifest),
    st.tuples(st.just("delete"), _repository, _manifest),
    st.tuples(st.just("delete blob"), _repository, _blob),
    st.tuples(st.just("collect"), st.sampled_from(_RULES)),
)


async def step(registry: Registry, model: Model, what: tuple[Any, ...]) -> None:
    """Do the same to both. What the registry refuses is not done to the model; it may refuse only what is not there."""
    match what:
        case ("upload", name, content):
            await registry.push_blob(name, content)
            model.upload(name, content)
        case ("mount", name, content):
            [source] = set(REPOSITORIES) - {name}
            there = model.repositories[source].links.get(digest_bytes(content)) is False
            assert await registry.mount(name, digest_bytes(content), source) == there
            if there:
                model.upload(name, content)
        case ("push", name, content, tag):
            await _push(registry, model, name, content, tag)
        case ("untag", name, tag):
            digest = model.repositories[name].tags.pop(tag, None)
            if digest is not None:
                await registry.untag(name, tag)
                model.repositories[name].manifests[digest].orphaned = False
        case ("delete", name, content):
            await _delete(registry, model.repositories[name], name, digest_bytes(content))
        case ("delete blob", name, content):
            repository, digest = model.repositories[name], digest_bytes(content)
            used = any(digest in one.blobs for one in repository.manifests.values() if not one.deleted)
            if repository.links.get(digest) is False and not used:
                await registry.deletion.delete_blob(RepositoryName(name), digest, actor="test")
                repository.links[digest] = True
        case ("collect", rules):
            await registry.collect(untagged=rules.untagged, referrers=rules.referrers)
            model.collect(rules)
            await compare(registry, model)


async def _push(registry: Registry, model: Model, name: str, content: bytes, tag: str | None) -> None:
    tried = Model()
    tried.push(name, content, None)
    [wanted] = tried.repositories[name].manifests.values()
    repository = model.repositories[name]
    blobs = {digest for digest, deleted in repository.links.items() if not deleted}
    manifests = {digest for digest, one in repository.manifests.items() if not one.deleted}
    if wanted.blobs <= blobs and wanted.children <= manifests:
        await registry.push(name, content, *([tag] if tag else []))
        model.push(name, content, tag)
        return
    try:
        await registry.push(name, content)
    except RegistryError:
        return
    raise AssertionError("a manifest was pushed whose parts are not there")


async def _delete(registry: Registry, repository: Repository, name: str, digest: Digest) -> None:
    manifest = repository.manifests.get(digest)
    if manifest is None or manifest.deleted:
        return
    try:
        await registry.delete(name, digest)
    except ContentInUse:
        assert any(digest in one.children and not one.deleted for one in repository.manifests.values())
        return
    manifest.deleted = True
    repository.tags = {tag: one for tag, one in repository.tags.items() if one != digest}


async def compare(registry: Registry, model: Model) -> None:
    """Assert that there is what ought to be, and nothing else."""
    for name, repository in model.repositories.items():
        assert registry.manifest_digests(name) == repository.manifests.keys()
        assert registry.blob_digests(name) == repository.links.keys()
    linked = set().union(*(repository.links for repository in model.repositories.values()))
    assert {row[0] for row in registry.rows("SELECT digest FROM blobs")} == linked
    assert await registry.objects() == {row[0] for row in registry.rows("SELECT key FROM blobs")}
    used = {name for name, repository in model.repositories.items() if repository.links or repository.manifests}
    assert {row[0] for row in registry.rows("SELECT name FROM repositories")} == used
    assert registry.rows("SELECT * FROM doomed") == registry.rows("PRAGMA foreign_key_check") == []


@cache
def empty_database() -> bytes:
    """A new database: making one takes longer than all the rest."""
    with tempfile.TemporaryDirectory() as folder:
        new_sqlite(Path(folder) / "db")
        return (Path(folder) / "db").read_bytes()


async def run(steps: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "db").write_bytes(empty_database())
        registry, model = Registry(Path(folder)), Model()
        registry.manifests._sparse = "deny"
        await registry.database.start()
        try:
            for what in [*(("upload", "m/a", one) for one in BLOBS), *steps, ("collect", _RULES[0])]:
                await step(registry, model, what)
            await registry.collect()
            model.collect(AT_ONCE)
            await compare(registry, model)
        finally:
            await registry.database.stop()


@settings(max_examples=1000 if LONG else 25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(
    steps=[
        *(("push", "m/a", content, None) for content in MANIFESTS),
        ("push", "m/a", INDEXES[0], "x"),
        ("mount", "m/b", BLOBS[0]),
        ("collect", _RULES[3]),
        ("delete", "m/a", INDEXES[0]),
        ("collect", _RULES[1]),
        ("delete", "m/a", IMAGES[0]),
        ("collect", _RULES[0]),
        ("collect", _RULES[3]),
    ]
)
@given(steps=st.lists(STEPS, min_size=15, max_size=40))
def test_collection_removes_what_nothing_reaches_and_nothing_else(steps: list[tuple[Any, ...]]) -> None:
    asyncio.run(run(steps))
