"""What is measured: each scenario prepares a server once, and then does one operation again and again."""

import hashlib
import itertools
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from bench.http import Connection, UnexpectedAnswer, head, path_of

MIB = 1024 * 1024
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_TAGS = 10_000


@dataclass(slots=True)
class World:
    """What a scenario remembers about one server between preparing and measuring."""

    facts: dict[str, str] = field(default_factory=dict)
    number: "itertools.count[int]" = field(default_factory=itertools.count)
    large: memoryview = field(default_factory=lambda: memoryview(b""))


Step = Callable[[Connection, World], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """`mib`: MiB moved by one operation; 0 where operations are counted instead."""

    name: str
    prepare: Step
    operation: Step
    connections: int = 16
    mib: int = 0
    rounds: int = 3


def digest_of(content: bytes | bytearray) -> str:
    """Return the sha256 digest."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


async def push_blob(connection: Connection, repository: str, content: bytes) -> str:
    """Push a small blob with POST and PUT, and return its digest."""
    digest = digest_of(content)
    started = await connection.ask(head("POST", f"/v2/{repository}/blobs/uploads/", length=0), expect=202)
    target = _with_digest(path_of(started.headers[b"location"]), digest)
    await connection.ask(head("PUT", target, length=len(content)) + content, expect=201)
    return digest


async def push_image(connection: Connection, repository: str, tag: str) -> str:
    """Push an image of two small blobs, and return its manifest's digest."""
    config, layer = os.urandom(4096), os.urandom(4096)
    await push_blob(connection, repository, config)
    await push_blob(connection, repository, layer)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": {"mediaType": _CONFIG, "digest": digest_of(config), "size": len(config)},
            "layers": [{"mediaType": _LAYER, "digest": digest_of(layer), "size": len(layer)}],
        }
    ).encode()
    await _put_manifest(connection, repository, tag, manifest)
    return digest_of(manifest)


async def _put_manifest(connection: Connection, repository: str, tag: str, manifest: bytes) -> None:
    target = f"/v2/{repository}/manifests/{tag}"
    await connection.ask(head("PUT", target, length=len(manifest), content_type=_MANIFEST) + manifest, expect=201)


async def _prepare_image(connection: Connection, world: World) -> None:
    await push_image(connection, "bench/image", "latest")


async def _get_manifest(connection: Connection, world: World) -> None:
    await connection.ask(head("GET", "/v2/bench/image/manifests/latest"), expect=200)


async def _prepare_small(connection: Connection, world: World) -> None:
    world.facts["blob"] = await push_blob(connection, "bench/small", os.urandom(4096))


async def _get_small(connection: Connection, world: World) -> None:
    await _get(connection, f"/v2/bench/small/blobs/{world.facts['blob']}", 4096)


async def _prepare_medium(connection: Connection, world: World) -> None:
    world.facts["blob"] = await push_blob(connection, "bench/medium", os.urandom(MIB))


async def _get_medium(connection: Connection, world: World) -> None:
    await _get(connection, f"/v2/bench/medium/blobs/{world.facts['blob']}", MIB)


async def _prepare_large(connection: Connection, world: World) -> None:
    world.large = memoryview(os.urandom(512 * MIB))
    await _push_large(connection, world)


async def _push_large(connection: Connection, world: World) -> None:
    """Push 512 MiB that no push before had: the first bytes are counted up."""
    content = bytearray(world.large)
    content[:8] = next(world.number).to_bytes(8, "big")
    digest = digest_of(content)
    world.facts["large"] = digest
    started = await connection.ask(head("POST", "/v2/bench/large/blobs/uploads/", length=0), expect=202)
    target = path_of(started.headers[b"location"])
    with memoryview(content) as body:
        patched = await connection.ask_streaming(head("PATCH", target, length=len(content)), body, expect=202)
    target = _with_digest(path_of(patched.headers[b"location"]), digest)
    await connection.ask(head("PUT", target, length=0), expect=201)


async def _get_large(connection: Connection, world: World) -> None:
    await _get(connection, f"/v2/bench/large/blobs/{world.facts['large']}", 512 * MIB)


async def _prepare_nothing(connection: Connection, world: World) -> None:
    pass


async def _put_small(connection: Connection, world: World) -> None:
    await push_blob(connection, "bench/put", os.urandom(4096))


async def _push_image(connection: Connection, world: World) -> None:
    await push_image(connection, "bench/images", f"t{next(world.number)}")


async def _mount(connection: Connection, world: World) -> None:
    target = f"/v2/bench/mounted{next(world.number)}/blobs/uploads/?mount={world.facts['blob']}&from=bench/small"
    await connection.ask(head("POST", target, length=0), expect=201)


async def _prepare_tags(connection: Connection, world: World) -> None:
    digest = await push_image(connection, "bench/tags", "t00000")
    found = await connection.ask(head("GET", f"/v2/bench/tags/manifests/{digest}"), expect=200)
    manifest = bytes(found.body)
    for number in range(1, _TAGS):
        await _put_manifest(connection, "bench/tags", f"t{number:05}", manifest)


async def _list_tags(connection: Connection, world: World) -> None:
    answer = await connection.ask(head("GET", "/v2/bench/tags/tags/list?n=100&last=t05000"), expect=200)
    if not answer.length:
        raise UnexpectedAnswer("a page of tags without a body")


async def _get(connection: Connection, target: str, length: int) -> None:
    answer = await connection.ask(head("GET", target), expect=200)
    if answer.length != length:
        raise UnexpectedAnswer(f"GET {target}: {answer.length} bytes, not {length}")


def _with_digest(target: str, digest: str) -> str:
    return f"{target}{'&' if '?' in target else '?'}digest={digest}"


SCENARIOS = (
    Scenario("manifest GET by tag", _prepare_image, _get_manifest),
    Scenario("blob GET 4 KiB", _prepare_small, _get_small),
    Scenario("blob GET 1 MiB", _prepare_medium, _get_medium, mib=1),
    Scenario("blob PUT 4 KiB", _prepare_nothing, _put_small),
    Scenario("push of a small image", _prepare_nothing, _push_image),
    Scenario("cross-repository mount", _prepare_small, _mount),
    Scenario("100 of 10,000 tags", _prepare_tags, _list_tags),
    Scenario("push of 512 MiB", _prepare_large, _push_large, connections=1, mib=512, rounds=2),
    Scenario("pull of 512 MiB", _prepare_large, _get_large, connections=1, mib=512),
)
