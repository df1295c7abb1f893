"""Purge: what it takes with it, what it leaves, and what it says of that."""

import pytest

from auth.policy import OpenPolicy
from auth.principal import Principal
from auth.roles import Action
from registry.db import locks, repositories
from registry.db.connection import Database, Transaction
from registry.errors import ContentInUse, RecordUnknown
from registry.oci.names import RepositoryName
from registry.services import purge
from storage.digest import digest_bytes
from tests.factories import OCI_INDEX, OCI_MANIFEST, descriptor, image_manifest, index_manifest
from tests.unit.services.undoing import Registry

pytestmark = pytest.mark.anyio
A = "team/app"


@pytest.fixture
def registry(database: Database) -> Registry:
    return Registry(database)


async def test_a_locked_manifest_is_not_purged(registry: Registry) -> None:
    digest = await registry.push_image(A, b"a")

    async def lock(transaction: Transaction) -> None:
        repository_id = await repositories.lock(transaction, RepositoryName(A))
        assert repository_id is not None
        await locks.add(transaction, repository_id, digest, reason="evidence", actor="user:law")

    await registry.database.write(lock)
    with pytest.raises(ContentInUse, match="user:law locked it"):
        await registry.purge(A, digest)


async def test_a_purge_names_only_repositories_that_may_be_pulled_from(registry: Registry) -> None:
    digest = await registry.push_image(A, b"a")
    for name in ("team/other", "secret/app"):
        await registry.push_blob(name, b"a")

    class Team(OpenPolicy):
        async def allows(
            self, principal: Principal, action: Action, repository: str | None, tag: str | None = None
        ) -> bool:
            return (repository or "").startswith("team/")

    registry.policy = Team()
    done = await registry.purge(A, digest)
    assert [one.elsewhere for one in done.blobs] == [("team/other",)]


async def test_what_several_indexes_list_goes_when_the_last_of_them_does(registry: Registry) -> None:
    """Children are purged with their index where nothing else names them, an index of an index as well."""
    child = image_manifest(b"a")
    await registry.push_image(A, b"a")
    inner = index_manifest([descriptor(child, OCI_MANIFEST)])
    await registry.push(A, inner)
    outer = index_manifest([descriptor(inner, OCI_INDEX), descriptor(child, OCI_MANIFEST)])
    other = index_manifest([descriptor(child, OCI_MANIFEST)], annotations={"other": "1"})
    for content in (outer, other):
        await registry.push(A, content)
    done = await registry.purge(A, digest_bytes(outer))
    assert done.manifests == [digest_bytes(outer), digest_bytes(inner)]
    assert [one.digest for one in done.left] == [digest_bytes(child)]
    done = await registry.purge(A, digest_bytes(other))
    assert done.manifests == [digest_bytes(other), digest_bytes(child)] and not done.left


class _OnlyOne(OpenPolicy):
    """Everybody may do all, in one repository."""

    async def allows(
        self, principal: Principal, action: Action, repository: str | None, tag: str | None = None
    ) -> bool:
        return repository == "z/own"


async def test_a_purge_names_what_is_elsewhere_behind_what_is_others(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many repositories have a layer that whoever asks may not know of."""
    others = [f"other/{number}" for number in range(5)]
    for name in (A, *others, "z/own"):
        await registry.push_blob(name, b"a")
    digest = await registry.push(A, image_manifest(b"a"))
    monkeypatch.setattr(purge, "_PAGE", 2)
    registry.policy = _OnlyOne()
    done = await registry.purge(A, digest)
    assert [(one.elsewhere, one.more) for one in done.blobs] == [(("z/own",), False)]
    await registry.push_blob(A, b"a")
    monkeypatch.setattr(purge, "_MOST_LOOKED_AT", 4)
    done = await registry.purge(A, digest_bytes(b"a"))
    assert [(one.elsewhere, one.more) for one in done.blobs] == [((), True)]


async def test_a_digest_is_purged_as_what_it_is(registry: Registry) -> None:
    """Some clients push a manifest as a blob, too."""
    content = image_manifest(b"a")
    await registry.push_image(A, b"a")
    digest = await registry.push_blob(A, content)
    done = await registry.purge(A, digest)
    assert done.manifests == [digest]
    assert {one.digest for one in done.blobs} == {digest, digest_bytes(b"a")}
    with pytest.raises(RecordUnknown):
        await registry.purge(A, digest)
