"""Pushes, deletions and what undoes them, at random: at each moment of the past the tags are those of a model."""

import asyncio
import itertools
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import ContentInUse, ManifestReferenceUnknown
from storage.digest import Digest, digest_bytes
from tests.factories import OCI_MANIFEST, descriptor, image_manifest, index_manifest
from tests.support import databases
from tests.support.databases import DIALECTS, Place
from tests.unit.services.undoing import Registry

LONG = os.environ.get("STOWAGE_LONG") == "1"
TAGS = ("a", "b", "latest")
BLOBS = (b"zero", b"one", b"two")
IMAGES = tuple(image_manifest(BLOBS[a], [BLOBS[b]]) for a, b in ((0, 1), (1, 2), (2, 0)))
MANIFESTS = (*IMAGES, index_manifest([descriptor(one, OCI_MANIFEST) for one in IMAGES[:2]]))
INDEX = digest_bytes(MANIFESTS[-1])
CHILDREN = {digest_bytes(one) for one in IMAGES[:2]}
_numbers = itertools.count()


@dataclass
class Model:
    """What ought to be: tags now, at moments, manifests to be seen, and tags that went with those that are not."""

    tags: dict[str, Digest] = field(default_factory=dict)
    seen: set[Digest] = field(default_factory=set)
    went: dict[Digest, set[str]] = field(default_factory=dict)
    moments: list[tuple[int, dict[str, Digest]]] = field(default_factory=list)

    def show(self, digest: Digest) -> None:
        self.seen |= {digest} | (CHILDREN if digest == INDEX else set())

    def set_tags(self, tags: dict[str, Digest]) -> None:
        self.tags = dict(tags)
        for digest in set(tags.values()):
            if digest not in self.seen:
                self.show(digest)


_tag, _manifest = st.sampled_from(TAGS), st.sampled_from(MANIFESTS)
STEPS = st.one_of(
    st.tuples(st.just("push"), _manifest, _tag),
    st.tuples(st.just("push"), _manifest, _tag),
    st.tuples(st.just("untag"), _tag),
    st.tuples(st.just("delete"), _manifest),
    st.tuples(st.just("undelete"), _manifest),
    st.tuples(st.just("previous"), _tag),
    st.tuples(st.just("back"), st.integers(0, 99)),
    st.tuples(st.just("tag back"), _tag, st.integers(0, 99)),
    st.tuples(st.just("collect")),
)


async def step(registry: Registry, name: str, model: Model, what: tuple[Any, ...]) -> None:
    match what:
        case ("push", content, tag):
            await _push(registry, name, model, content, tag)
        case ("untag", tag):
            if model.tags.pop(tag, None) is not None:
                await registry.untag(name, tag)
        case ("delete", content):
            await _delete(registry, name, model, digest_bytes(content))
        case ("undelete", content):
            await _undelete(registry, name, model, digest_bytes(content))
        case ("previous", tag):
            was = [then.get(tag) for _, then in model.moments]
            others = [one for one in was if one is not None and one != model.tags.get(tag)]
            if others:
                await registry.roll_back(name, tag=tag)
                model.set_tags({**model.tags, tag: others[-1]})
        case ("back", number):
            at, then = model.moments[number % len(model.moments)]
            outcome = await registry.roll_back(name, at=at)
            changed = {one for one in {*then, *model.tags} if then.get(one) != model.tags.get(one)}
            assert {one.tag for one in outcome.changes} == changed and not outcome.obstacles
            model.set_tags(then)
        case ("tag back", tag, number):
            at, then = model.moments[number % len(model.moments)]
            if any(tag in one for _, one in model.moments):
                await registry.roll_back(name, at=at, tag=tag)
                rest = {one: digest for one, digest in model.tags.items() if one != tag}
                model.set_tags(rest | ({tag: then[tag]} if tag in then else {}))
        case ("collect",):
            await registry.collect()


async def _push(registry: Registry, name: str, model: Model, content: bytes, tag: str) -> None:
    digest = digest_bytes(content)
    for blob in BLOBS:
        await registry.push_blob(name, blob)
    try:
        await registry.push(name, content, tag)
    except ManifestReferenceUnknown:
        assert digest == INDEX and not model.seen >= CHILDREN
    else:
        model.seen.add(digest)
        model.tags[tag] = digest


async def _delete(registry: Registry, name: str, model: Model, digest: Digest) -> None:
    if digest not in model.seen:
        return
    try:
        await registry.delete(name, digest)
    except ContentInUse:
        assert digest in CHILDREN and INDEX in model.seen
        return
    model.seen.discard(digest)
    model.went[digest] = {tag for tag, one in model.tags.items() if one == digest}
    model.tags = {tag: one for tag, one in model.tags.items() if one != digest}


async def _undelete(registry: Registry, name: str, model: Model, digest: Digest) -> None:
    if digest in model.seen or digest not in model.went:
        return
    done = await registry.undelete(name, digest)
    assert done.is_new
    assert {*done.tags, *(one.tag for one in done.left)} == model.went[digest]
    assert not {*done.tags} & model.tags.keys() and {one.tag for one in done.left} <= model.tags.keys()
    model.show(digest)
    model.tags |= dict.fromkeys(done.tags, digest)


async def compare(registry: Registry, name: str, model: Model) -> None:
    """Assert that at each moment the tags were what they were, and that all they named can be pulled."""
    for at, then in model.moments:
        assert await registry.tags_at(name, at) == then, at
        for digest in set(then.values()):
            await registry.pull_at(name, digest, at)


async def run(place: Place, steps: list[tuple[Any, ...]]) -> None:
    database = place.new()
    await database.start()
    try:
        registry, name, model = Registry(database), f"model/n{next(_numbers)}", Model()
        for what in [("push", MANIFESTS[0], "a"), *steps]:
            await step(registry, name, model, what)
            model.moments.append((await registry.moment(), dict(model.tags)))
        await registry.collect()
        await compare(registry, name, model)
    finally:
        await database.stop()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_past_is_what_it_was(dialect: str, tmp_path: Path) -> None:
    place = asyncio.run(databases.place(dialect, tmp_path))

    @settings(max_examples=500 if LONG else 12)
    @given(steps=st.lists(STEPS, min_size=8, max_size=25))
    def check(steps: list[tuple[Any, ...]]) -> None:
        asyncio.run(run(place, steps))

    try:
        check()
    finally:
        place.remove()
