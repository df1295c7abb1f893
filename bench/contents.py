"""What is pushed, and the requests that push it: made before the clock starts, as far as the server allows."""

import functools
import hashlib
import json
import os
from typing import NamedTuple

from bench.load import Answer, Operation, Request

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
# By name: distribution does not take `*/*` as including OCI manifests.
_ACCEPT = f"{MANIFEST}, application/vnd.oci.image.index.v1+json, */*"
_TAIL = 4096


class Content(NamedTuple):
    """Bytes and their sha256 digest."""

    data: bytes
    digest: str

    @classmethod
    def of(cls, data: bytes) -> "Content":
        """Hash `data`."""
        return cls(data, f"sha256:{hashlib.sha256(data).hexdigest()}")

    @classmethod
    def random(cls, size: int) -> "Content":
        """Make `size` random bytes."""
        return cls.of(os.urandom(size))


class Image(NamedTuple):
    """An image of two blobs of 4 KiB."""

    config: Content
    layer: Content
    manifest: Content

    @classmethod
    def random(cls) -> "Image":
        """Make an image that no other is like."""
        config, layer = Content.random(4096), Content.random(4096)
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": config.digest, "size": len(config.data)},
            "layers": [{"mediaType": LAYER, "digest": layer.digest, "size": len(layer.data)}],
        }
        return cls(config, layer, Content.of(json.dumps(manifest).encode()))


class LargeContent:
    """`size` bytes, at least 4 KiB, that are new each time they are pushed.

    Only the last 4 KiB differ, so that the hash of what stands before is computed once: what hashing half a gigabyte
    costs here must not count as the server's time.
    """

    def __init__(self, size: int) -> None:
        block = os.urandom(min(16 * 1024 * 1024, size))
        self.size = size
        self._front = memoryview(block * (size // len(block) + 1))[: size - _TAIL]
        self._hash = hashlib.sha256(self._front)

    def renew(self) -> tuple[tuple[memoryview, ...], str]:
        """Return the parts of content that was never pushed before, and its digest."""
        tail, complete = os.urandom(_TAIL), self._hash.copy()
        complete.update(tail)
        return (self._front, memoryview(tail)), f"sha256:{complete.hexdigest()}"


@functools.lru_cache(maxsize=1)
def large_content(size: int) -> LargeContent:
    """Return the large content of this run: it takes seconds to make."""
    return LargeContent(size)


def head(method: str, target: str, *, length: int | None = None, content_type: str = "") -> bytes:
    """Return a request's head."""
    lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1", f"Accept: {_ACCEPT}"]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    if content_type:
        lines.append(f"Content-Type: {content_type}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def ask(request: Request) -> Operation:
    """Send one request."""
    yield request


def push_blob(repository: str, content: Content) -> Operation:
    """Push a small blob with POST and PUT."""
    started = yield Request(_start_of_upload(repository), 202)
    target = _with_digest(location_of(started), content.digest)
    yield Request(b"PUT " + target.encode() + _after_target(len(content.data)) + content.data, 201)


def push_stream(repository: str, parts: tuple[memoryview, ...], digest: str) -> Operation:
    """Push a large blob with POST, one PATCH that streams, and PUT."""
    started = yield Request(_start_of_upload(repository), 202)
    size = sum(len(part) for part in parts)
    patched = yield Request(head("PATCH", location_of(started), length=size), 202, rest=parts)
    yield Request(head("PUT", _with_digest(location_of(patched), digest), length=0), 201)


def put_manifest(repository: str, tag: str, manifest: Content) -> Operation:
    """Push a manifest under a tag."""
    target = f"/v2/{repository}/manifests/{tag}"
    data = manifest.data
    yield Request(head("PUT", target, length=len(data), content_type=MANIFEST) + data, 201)


def push_image(repository: str, tag: str, image: Image) -> Operation:
    """Push config, layer and manifest, one after another."""
    yield from push_blob(repository, image.config)
    yield from push_blob(repository, image.layer)
    yield from put_manifest(repository, tag, image.manifest)


def location_of(answer: Answer) -> str:
    """Return the path and query of an answer's Location, which may be absolute."""
    text = answer.field(b"location").decode("latin-1")
    return "/" + text.split("://", 1)[1].split("/", 1)[1] if "://" in text else text


@functools.cache
def _start_of_upload(repository: str) -> bytes:
    return head("POST", f"/v2/{repository}/blobs/uploads/", length=0)


@functools.cache
def _after_target(length: int) -> bytes:
    return head("PUT", "", length=length)[len(b"PUT ") :]


def _with_digest(target: str, digest: str) -> str:
    return f"{target}{'&' if '?' in target else '?'}digest={digest}"
