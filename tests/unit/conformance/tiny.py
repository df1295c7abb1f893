"""A tiny registry in memory that follows the specification, but for the faults that a test switches on.

It is what the conformance checks are tried on: without faults none may fail, with a fault the right ones must.
"""

import hashlib
import json
import re
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

NAME = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")
TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
INDEX = "application/vnd.oci.image.index.v1+json"
LARGEST_MANIFEST = 4 * 1024 * 1024
JSON_TYPE = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Request:
    """What came. Query parameters in their order, header names in lower case."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: Mapping[str, str]
    body: bytes

    def param(self, name: str) -> str | None:
        return dict(reversed(self.query)).get(name)

    def params(self, name: str) -> list[str]:
        return [value for key, value in self.query if key == name]


@dataclass(frozen=True)
class Answer:
    """What goes back."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class Repository:
    """Blobs by digest, manifests (type and bytes) by digest, digests by tag."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """An error with a code of the specification."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


def digest(data: bytes, like: str = "sha256:") -> str:
    algorithm = like.partition(":")[0]
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


class Tiny:
    """The registry. `faults`: names of what it does wrong, each used where it is named below."""

    def __init__(self, faults: Collection[str] = ()) -> None:
        self.faults = set(faults)
        self.repositories: dict[str, Repository] = {}
        self.uploads: dict[str, bytearray] = {}
        self._routes: list[tuple[str, dict[str, Callable[..., Answer]]]] = [
            (r"/v2/?", {"GET": self.support}),
            (r"/v2/_catalog", {"GET": self.catalog}),
            (r"/v2/(.+)/tags/list", {"GET": self.list_tags}),
            (r"/v2/(.+)/referrers/([^/]+)", {"GET": self.list_referrers}),
            (r"/v2/(.+)/blobs/uploads/?", {"POST": self.post}),
            (
                r"/v2/(.+)/blobs/uploads/([^/]+)",
                {"PATCH": self.patch, "PUT": self.put, "GET": self.status, "DELETE": self.cancel},
            ),
            (r"/v2/(.+)/blobs/([^/]+)", {"GET": self.get_blob, "DELETE": self.delete_blob}),
            (
                r"/v2/(.+)/manifests/([^/]+)",
                {"GET": self.get_manifest, "PUT": self.put_manifest, "DELETE": self.delete_manifest},
            ),
        ]

    def has(self, fault: str) -> bool:
        return fault in self.faults

    def handle(self, request: Request) -> Answer:
        try:
            return self._dispatch(request)
        except Refusal as refusal:
            if self.has("no codes"):
                return Answer(refusal.status)
            error: dict[str, Any] = {"code": refusal.code, "message": "", "detail": None}
            if self.has("codes of its own"):
                error["code"] = "Something_" + refusal.code
            value: Any = {"error": error} if self.has("errors of its own format") else {"errors": [error]}
            return Answer(refusal.status, JSON_TYPE, json.dumps(value).encode())

    def _dispatch(self, request: Request) -> Answer:
        for pattern, methods in self._routes:
            match = re.fullmatch(pattern, request.path)
            if match is None:
                continue
            method = methods.get("GET" if request.method == "HEAD" else request.method)
            if method is None:
                error = b'{"errors":[{"code":"UNSUPPORTED"}]}'
                return Answer(405, {"Allow": ", ".join(methods), **JSON_TYPE}, error)
            if match.groups() and NAME.fullmatch(match.group(1)) is None:
                raise Refusal(400, "NAME_INVALID")
            return method(request, *match.groups())
        return Answer(404)

    def _known(self, name: str) -> Repository:
        if name not in self.repositories:
            raise Refusal(404, "NAME_UNKNOWN")
        return self.repositories[name]

    def support(self, request: Request) -> Answer:
        if self.has("support is 500"):
            return Answer(500)
        if self.has("API version not said"):
            return Answer(200, {}, b"{}")
        warning = {"Warning": '199 server "old"'} if self.has("odd warning") else {}
        return Answer(200, {"Docker-Distribution-Api-Version": "registry/2.0", **warning}, b"{}")

    def catalog(self, request: Request) -> Answer:
        names = [name for name in sorted(self.repositories) if name > (request.param("last") or "")]
        return Answer(200, JSON_TYPE, json.dumps({"repositories": names}).encode())

    # Uploads

    def post(self, request: Request, name: str) -> Answer:
        if request.param("digest-algorithm") not in (None, "sha256", "sha512"):
            raise Refusal(400, "DIGEST_INVALID")
        given, mounted, source = (request.param(one) for one in ("digest", "mount", "from"))
        if given is not None and not self.has("no single POST"):
            return self._store(name, given, request.body)
        if mounted is not None and not self.has("no mounts"):
            sources = self.repositories if source is None else {source} & set(self.repositories)
            found = next((r for r in sources if mounted in self.repositories[r].blobs), None)
            if found is not None and self.has("mount without a blob"):
                return Answer(201, {"Location": f"/v2/{name}/blobs/{mounted}"})
            if found is not None:
                return self._store(name, mounted, self.repositories[found].blobs[mounted])
        session = "one" if self.has("one session for all") else str(uuid.uuid4())
        if self.has("numbered sessions"):
            session = f"session-{len(self.uploads)}"
        self.uploads[session] = bytearray()
        answer = self._progress(202, name, session)
        if self.has("only huge chunks"):
            return Answer(202, {**answer.headers, "OCI-Chunk-Min-Length": str(1 << 40)})
        return answer

    def _progress(self, status: int, name: str, session: str) -> Answer:
        headers = {"Location": f"/v2/{name}/blobs/uploads/{session}?state=secret"}
        if not self.has("no Range in chunks"):
            headers["Range"] = f"0-{max(len(self.uploads[session]) - 1, 0)}"
        return Answer(status, headers)

    def _session(self, session: str) -> bytearray:
        if session not in self.uploads:
            raise Refusal(404, "BLOB_UPLOAD_UNKNOWN")
        return self.uploads[session]

    def _append(self, request: Request, session: str) -> None:
        received = self._session(session)
        value = request.headers.get("content-range")
        if value is not None and not self.has("chunks in any order"):
            match = re.fullmatch(r"([0-9]+)-([0-9]+)", value)
            if match is None or int(match.group(2)) - int(match.group(1)) + 1 != len(request.body):
                raise Refusal(400, "BLOB_UPLOAD_INVALID")
            if int(match.group(1)) != len(received):
                raise Refusal(416, "BLOB_UPLOAD_INVALID")
        received += request.body

    def patch(self, request: Request, name: str, session: str) -> Answer:
        self._append(request, session)
        return self._progress(202, name, session)

    def put(self, request: Request, name: str, session: str) -> Answer:
        given = request.param("digest")
        if given is None:
            raise Refusal(400, "DIGEST_INVALID")
        self._append(request, session)
        return self._store(name, given, bytes(self.uploads.pop(session)))

    def status(self, request: Request, name: str, session: str) -> Answer:
        self._session(session)
        return self._progress(200 if self.has("status is 200") else 204, name, session)

    def cancel(self, request: Request, name: str, session: str) -> Answer:
        self._session(session)
        if self.has("cancel is refused"):
            raise Refusal(400, "UNSUPPORTED")
        if not self.has("cancel does nothing"):
            del self.uploads[session]
        return Answer(204)

    def _store(self, name: str, given: str, data: bytes) -> Answer:
        right = DIGEST.fullmatch(given) is not None and digest(data, given) == given
        if self.has("no sha512") and given.startswith("sha512"):
            raise Refusal(400, "DIGEST_INVALID")
        if not right and not self.has("any digest"):
            raise Refusal(400, "DIGEST_INVALID")
        self.repositories.setdefault(name, Repository()).blobs[given] = data
        shown = digest(data) if self.has("sha256 shown for sha512") else given
        return Answer(201, {"Location": f"/v2/{name}/blobs/{given}", "Docker-Content-Digest": shown})

    # Blobs

    def get_blob(self, request: Request, name: str, given: str) -> Answer:
        repository = self._known(name)
        everywhere = {d: b for r in self.repositories.values() for d, b in r.blobs.items()}
        blobs = everywhere if self.has("blobs of all repositories") else repository.blobs
        if given not in blobs:
            raise Refusal(404, "BLOB_UNKNOWN")
        data = blobs[given]
        if self.has("wrong bytes") and data:
            data = data[:-1] + bytes([data[-1] ^ 1])
        headers = {"Docker-Content-Digest": given, "ETag": f'"{given}"', "Content-Type": "application/octet-stream"}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Answer(304, headers)
        wanted = re.fullmatch(r"bytes=([0-9]*)-([0-9]*)", request.headers.get("range", ""))
        stale = request.headers.get("if-range", headers["ETag"]) != headers["ETag"]
        if wanted is None or stale or request.method != "GET" or self.has("no ranges"):
            return Answer(200, headers, data)
        return self._part(wanted.group(1), wanted.group(2), headers, data)

    def _part(self, first: str, last: str, headers: Mapping[str, str], data: bytes) -> Answer:
        size = len(data)
        if first:
            start, end = int(first), min(int(last) + 1 if last else size, size)
        else:
            start, end = max(size - int(last), 0), size
        if last and first and int(last) < start:
            return Answer(200, headers, data)
        if start >= size:
            return Answer(416, {"Content-Range": f"bytes */{size}"})
        if self.has("a byte too few in ranges"):
            end -= 1
        return Answer(206, {**headers, "Content-Range": f"bytes {start}-{end - 1}/{size}"}, data[start:end])

    def delete_blob(self, request: Request, name: str, given: str) -> Answer:
        if self.has("no deletion"):
            raise Refusal(405, "UNSUPPORTED")
        if self._known(name).blobs.pop(given, None) is None:
            raise Refusal(404, "BLOB_UNKNOWN")
        return Answer(202)

    # Manifests

    def put_manifest(self, request: Request, name: str, reference: str) -> Answer:
        if len(request.body) > LARGEST_MANIFEST and not self.has("no limit"):
            raise Refusal(413, "SIZE_INVALID")
        by_digest = DIGEST.fullmatch(reference) is not None
        if not by_digest and TAG.fullmatch(reference) is None:
            raise Refusal(400, "MANIFEST_INVALID")
        if self.has("no sha512") and reference.startswith("sha512:"):
            raise Refusal(400, "DIGEST_INVALID")
        actual = digest(request.body, reference if by_digest else "sha256:")
        if by_digest and actual != reference and not self.has("any digest"):
            raise Refusal(400, "DIGEST_INVALID")
        media_type = request.headers.get("content-type", "").partition(";")[0]
        repository = self.repositories.get(name, Repository())
        self._may_change(request, reference, repository)
        value = self._parse(request.body, media_type, repository)
        self.repositories[name] = repository
        stored = json.dumps(value).encode() if self.has("manifests written anew") else request.body
        repository.manifests[reference if by_digest else actual] = (media_type, stored)
        tags = request.params("tag") if by_digest and not self.has("no tag parameters") else []
        if not self.has("any tag"):
            tags = [tag for tag in tags if TAG.fullmatch(tag)]
        if not by_digest:
            tags = [reference]
        repository.tags.update(dict.fromkeys(tags, reference if by_digest else actual))
        headers = {"Location": f"/v2/{name}/manifests/{reference}", "Docker-Content-Digest": actual}
        if "subject" in value and not self.has("no OCI-Subject"):
            headers["OCI-Subject"] = value["subject"]["digest"]
        if by_digest and tags and not self.has("no OCI-Tag"):
            headers["OCI-Tag"] = ", ".join(tags)
        return Answer(201, headers)

    def _may_change(self, request: Request, reference: str, repository: Repository) -> None:
        current = repository.tags.get(reference)
        if current is not None and self.has("tags are fixed"):
            raise Refusal(400, "DENIED")
        wanted = request.headers.get("if-match")
        if wanted is not None and wanted != f'"{current}"' and not self.has("no If-Match"):
            raise Refusal(412, "DENIED")

    def _parse(self, data: bytes, media_type: str, repository: Repository) -> Any:
        try:
            value = json.loads(data)
            descriptors = [*value.get("layers", []), *([value["config"]] if "config" in value else [])]
            wanted = {one["digest"] for one in descriptors if "nondistributable" not in one["mediaType"]}
            children = {one["digest"] for one in value.get("manifests", [])}
        except (ValueError, TypeError, AttributeError, KeyError):
            raise Refusal(400, "MANIFEST_INVALID") from None
        if value.get("mediaType", media_type) != media_type:
            raise Refusal(400, "MANIFEST_INVALID")
        complete = wanted <= set(repository.blobs) and children <= set(repository.manifests)
        if not complete and not self.has("parts may be missing"):
            raise Refusal(404, "BLOB_UNKNOWN" if self.has("wrong code for missing parts") else "MANIFEST_BLOB_UNKNOWN")
        return value

    def get_manifest(self, request: Request, name: str, reference: str) -> Answer:
        repository = self._known(name)
        given = repository.tags.get(reference, reference)
        if given not in repository.manifests:
            if self.has("everything is there"):
                return Answer(200, {"Content-Type": INDEX}, b"{}")
            raise Refusal(404, "MANIFEST_UNKNOWN")
        media_type, data = repository.manifests[given]
        headers = {"ETag": f'"{given}"', "Content-Type": media_type}
        if self.has("parameters on types"):
            headers["Content-Type"] += "; charset=utf-8"
        if not self.has("no digest header"):
            headers["Docker-Content-Digest"] = given
        if request.headers.get("if-none-match") == headers["ETag"] and not self.has("no conditions"):
            return Answer(304, headers)
        return Answer(200, headers, data)

    def delete_manifest(self, request: Request, name: str, reference: str) -> Answer:
        repository = self._known(name)
        if self.has("no deletion"):
            raise Refusal(405, "UNSUPPORTED")
        given = repository.tags.get(reference, reference)
        if given not in repository.manifests:
            raise Refusal(404, "MANIFEST_UNKNOWN")
        if reference != given and not self.has("tags delete manifests"):
            del repository.tags[reference]
            return Answer(202)
        kept = repository.manifests.pop(given)
        if self.has("tags outlive manifests"):
            repository.manifests["kept"] = kept
            repository.tags = {tag: "kept" if d == given else d for tag, d in repository.tags.items()}
        repository.tags = {tag: d for tag, d in repository.tags.items() if d != given}
        return Answer(202)

    # Lists

    def list_tags(self, request: Request, name: str) -> Answer:
        tags = sorted(self._known(name).tags, reverse=self.has("tags in reverse"))
        last, limit = request.param("last"), request.param("n")
        if limit is not None and not limit.isdigit():
            raise Refusal(400, "UNSUPPORTED")
        if last is not None and not self.has("last is included"):
            tags = [tag for tag in tags if tag > last]
        elif last is not None:
            tags = [tag for tag in tags if tag >= last]
        headers = dict(JSON_TYPE)
        if limit is not None and len(tags) > int(limit) and not self.has("n is ignored"):
            tags = tags[: int(limit)]
            if (tags or self.has("Link for n=0")) and not self.has("no Link"):
                relation = "" if self.has("Link without rel") else '; rel="next"'
                headers["Link"] = f"</v2/{name}/tags/list?n={limit}&last={tags[-1] if tags else ''}>{relation}"
        return Answer(200, headers, json.dumps({"name": name, "tags": tags}).encode())

    def list_referrers(self, request: Request, name: str, subject: str) -> Answer:
        if self.has("no referrers"):
            return Answer(404)
        if DIGEST.fullmatch(subject) is None:
            raise Refusal(400, "DIGEST_INVALID")
        manifests = self.repositories.get(name, Repository()).manifests
        found = [self._descriptor(d, *one) for d, one in manifests.items() if _subject(one[1]) == subject]
        headers = {"Content-Type": INDEX}
        kind = request.param("artifactType")
        if kind is not None and not self.has("no filter"):
            found = [one for one in found if one.get("artifactType") == kind]
            if not self.has("filter not announced"):
                headers["OCI-Filters-Applied"] = "artifactType"
        value = {"schemaVersion": 2, "mediaType": INDEX, "manifests": found}
        return Answer(200, headers, json.dumps(value).encode())

    def _descriptor(self, given: str, media_type: str, data: bytes) -> dict[str, Any]:
        value = json.loads(data)
        found = {"mediaType": media_type, "digest": given, "size": len(data)}
        kind = value.get("artifactType") or value.get("config", {}).get("mediaType")
        if kind or self.has("artifactType for all"):
            found["artifactType"] = kind or media_type
        if "annotations" in value and not self.has("no annotations"):
            found["annotations"] = value["annotations"]
        return found


def _subject(data: bytes) -> str | None:
    value = json.loads(data)
    found: str | None = value.get("subject", {}).get("digest")
    return found
