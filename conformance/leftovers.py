"""What a run leaves on a registry, and how it is removed again where the registry allows that."""

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import parse_qsl, urljoin, urlsplit

import httpx

Ask = Callable[[str, str], int | None]
"""Sends a request, method and URL; gives the status, None when no answer came."""

_MANIFEST = re.compile(r"/v2/(.+)/manifests/([^/]+)")
_BLOB = re.compile(r"/v2/(.+)/blobs/(?:uploads/.*|[^/]+)")
_DECLINED = (400, 401, 403, 405, 501)
"""Statuses with which a registry says that it deletes nothing of a kind."""


@dataclass(frozen=True)
class Removal:
    """How removing went.

    Attributes:
        removed: how many manifests, blobs and upload sessions are gone.
        left: how many are still there.
        reason: why some are left, empty when none is.
    """

    removed: int
    left: int
    reason: str = ""


class Leftovers:
    """Knows the manifests, blobs and upload sessions that a registry said it has."""

    def __init__(self) -> None:
        self._manifests: dict[str, None] = {}  # their paths, in the order in which they came
        self._blobs: dict[str, None] = {}
        self._sessions: dict[str, str] = {}  # URLs by their paths

    def __len__(self) -> int:
        return len(self._manifests) + len(self._blobs) + len(self._sessions)

    def note(self, response: httpx.Response, body: object) -> None:
        """Look at an answer for what is there, or gone, since. `body`: of the request."""
        request = response.history[0].request if response.history else response.request
        path = urlsplit(str(request.url)).path
        if request.method == "DELETE" and response.is_success:
            for kind in (self._manifests, self._blobs, self._sessions):
                kind.pop(path, None)
        elif response.status_code == httpx.codes.CREATED:
            self._created(request, path, body)
        elif response.status_code == httpx.codes.ACCEPTED and request.method in ("POST", "PATCH"):
            self._sessions.pop(path, None)
            location = urljoin(str(request.url), response.headers.get("Location", ""))
            # A registry may send us anywhere, but not to delete what is there.
            if urlsplit(location)[:2] == urlsplit(str(request.url))[:2]:
                self._sessions[urlsplit(location).path] = location

    def remove(self, ask: Ask, told: Callable[[int, int], None]) -> Removal:
        """Remove what is there: sessions, manifests, the newest first, since an index names older ones, then blobs.

        A kind that the registry says it does not delete is left, blobs also when manifests are.

        Args:
            ask: sends a request.
            told: called with how many requests are done, and how many there are.
        """
        total = len(self)
        done, reasons = _Done(total, told), []
        for kind, urls in (
            ("an upload session", list(self._sessions.values())),
            ("a manifest", list(reversed(self._manifests))),
            ("a blob", list(self._blobs)),
        ):
            status = self._remove(urls, ask, done)
            if status is None:
                reasons.append("the registry did not answer")
                break
            if status:
                reasons.append(f"DELETE of {kind} answered {status}")
            if status in _DECLINED and kind == "a manifest":
                break
        return Removal(done.removed, total - done.removed, "; ".join(reasons))

    def _remove(self, urls: Iterable[str], ask: Ask, done: "_Done") -> int | None:
        """Remove a kind. The first status that was no success, 0 when there was none; None when no answer came."""
        first = 0
        for url in urls:
            status = ask("DELETE", url)
            if status is None:
                return None
            gone = 200 <= status < 300 or status in (404, 410)
            done.one(gone=gone)
            first = first or (0 if gone else status)
            if status in _DECLINED:
                break
        return first

    def _created(self, request: httpx.Request, path: str, body: object) -> None:
        manifest, blob = _MANIFEST.fullmatch(path), _BLOB.fullmatch(path)
        params = dict(parse_qsl(request.url.query.decode()))
        given = params.get("digest") or params.get("mount")
        if manifest is not None and isinstance(body, bytes):
            reference = manifest.group(2)
            digest = reference if ":" in reference else f"sha256:{hashlib.sha256(body).hexdigest()}"
            self._manifests[f"/v2/{manifest.group(1)}/manifests/{digest}"] = None
        elif blob is not None and given:
            self._sessions.pop(path, None)
            self._blobs[f"/v2/{blob.group(1)}/blobs/{given}"] = None


class _Done:
    """Counts, and tells."""

    def __init__(self, total: int, told: Callable[[int, int], None]) -> None:
        self.removed = 0
        self._asked = 0
        self._total = total
        self._told = told

    def one(self, *, gone: bool) -> None:
        """One more was asked for."""
        self._asked += 1
        self.removed += gone
        self._told(self._asked, self._total)
