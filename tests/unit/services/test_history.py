"""Listing what tags were, where much has to be looked at that does not count."""

import pytest

from registry.db import history, past, repositories
from registry.db.connection import Database
from registry.db.history import Place
from registry.oci.names import RepositoryName
from tests.factories import image_manifest
from tests.unit.services.undoing import Registry

pytestmark = pytest.mark.anyio
A = "team/app"


async def test_what_counts_is_found_among_what_does_not(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tags that are gone, between moves of one that is there, in parts of any size."""
    registry = Registry(database)
    await registry.push_image(A, b"a")
    images = [image_manifest(b"a", annotations={"number": str(number)}) for number in range(6)]
    there: list[tuple[int, list[str]]] = []
    gone: list[str] = []
    for number, image in enumerate(images):
        await registry.push(A, image, "latest", f"t{number}", f"u{number}")
        there.append((await registry.moment(), ["latest", f"t{number}", f"u{number}"]))
        for tag in (f"t{number}", f"u{number}"):
            await registry.untag(A, tag)
            gone.insert(0, tag)
    repository_id = await repositories.find(database, RepositoryName(A))
    assert repository_id is not None
    for size in (1, 2, 3, 100):
        monkeypatch.setattr(history, "_LOOKED_AT", size)
        monkeypatch.setattr(past, "_LOOKED_AT", size)
        for at, tags in there:
            assert await past.tags(database, RepositoryName(A), at=at, after="", limit=10) == tags
            assert await past.tags(database, RepositoryName(A), at=at, after="latest", limit=1) == tags[1:2]
        place, found = Place(), list[str]()
        while page := await history.page(database, repository_id, tag=None, removed=True, after=place, limit=5):
            found += [one.tag for one in page]
            place = Place(page[-1].ended_at or 0, page[-1].id)
        assert found == gone
