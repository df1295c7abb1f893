"""What handlers work with: the services and the few settings they need, built once in `registry.main`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from auth.errors import Denied, InsufficientScope, Unauthenticated
from auth.policy import Action, Policy, authorize, scope_for
from registry.db.connection import Database
from registry.http.origin import origin_of
from registry.http.proxies import ORIGIN
from registry.http.request import Request
from registry.oci.names import RepositoryName, Tag
from registry.services import audit
from registry.services.audit import Auditor, Origin
from registry.services.blobs import Blobs
from registry.services.deletion import Deletion
from registry.services.feed import Feed
from registry.services.maintenance import Maintenance
from registry.services.manifests import Manifests
from registry.services.pull_events import PullEvents
from registry.services.pulls import Pulls
from registry.services.stores import Stores
from registry.services.uploads import Uploads
from registry.settings import Settings
from storage.contents import Contents
from storage.digest import Digest
from storage.driver import BlobDriver

if TYPE_CHECKING:  # what is about people is not imported where nobody logs in
    from registry.http.login import Login
    from registry.services.founding import Founding


@dataclass(frozen=True, slots=True)
class Context:
    """The registry as handlers see it.

    Attributes:
        over_quota: counts what is refused, by what there is too much of.
        login: who asks; None where nobody is asked who they are.
        founding: makes projects that are pushed to; None where there are none.
        feed: what is followed by those who want to hear of events.
        pulls: remembers when manifests were pulled last; None where nobody does.
        pull_events: gathers pulls as events; None where they are none.
    """

    settings: Settings
    database: Database
    driver: BlobDriver
    stores: Stores
    contents: Contents
    policy: Policy
    blobs: Blobs
    uploads: Uploads
    manifests: Manifests
    deletion: Deletion
    maintenance: Maintenance
    auditor: Auditor
    over_quota: Mapping[str, Callable[[], None]]
    feed: Feed
    login: "Login | None" = None
    founding: "Founding | None" = None
    pulls: Pulls | None = None
    pull_events: PullEvents | None = None

    async def authorize(
        self, request: Request, action: Action, repository: RepositoryName | None, tag: Tag | None = None
    ) -> None:
        """Return if whoever asks may do this.

        Raises:
            Unauthenticated: nobody said who they are, or with credentials that do not count.
            InsufficientScope, Denied: they may not, with this token or at all.
        """
        try:
            if request.refusal is None and await self.policy.allows(request.principal, action, repository, tag):
                return
            if request.refusal is not None:
                refusal = request.refusal
                refusal.scope = scope_for(action, repository)
                raise refusal
            await authorize(self.policy, request.principal, action, repository, tag)
        except (Denied, InsufficientScope, Unauthenticated):
            if action is not Action.ENTER:  # every client asks for that first, to see what it has to show
                self.note_denial(request, action, repository)
            raise

    async def authorize_push(self, request: Request, repository: RepositoryName) -> None:
        """Return if whoever asks may push here, even if it is the first push to the project. Raises as `authorize`."""
        if self.founding is None:
            await self.authorize(request, Action.PUSH, repository)
        else:
            await self.founding.admit(
                request.principal, repository, lambda: self.authorize(request, Action.PUSH, repository)
            )

    def origin(self, request: Request) -> Origin:
        """Return where a request comes from, for events, history and the audit log."""
        return origin_of(request, audited=self.auditor.enabled)

    def note_denial(
        self, request: Request, action: str, repository: RepositoryName | None, detail: Mapping[str, Any] | None = None
    ) -> None:
        """Have the audit log tell, some time, that whoever asks was refused something."""
        self.auditor.note(
            action,
            audit.DENIED,
            request.principal.name,
            self.origin(request),
            repository=repository or "",
            detail=detail,
        )

    def note_pull(
        self, request: Request, repository: RepositoryName, tag: str | None, digest: Digest, media_type: str, size: int
    ) -> None:
        """Remember a pull, and have the audit log tell of it, and an event, if they tell of pulls."""
        if self.pulls is not None:
            self.pulls.note(repository, digest)
        if self.auditor.pulls:
            self.auditor.pulled(request.principal.name, self.origin(request), repository, digest)
        if self.pull_events is not None:
            self.pull_events.note(
                repository,
                request.principal.name,
                self.origin(request),
                digest=digest,
                media_type=media_type,
                size=size,
                tag=tag,
            )

    def location(self, request: Request, path: str) -> bytes:
        """Return a Location or Link target for `path`.

        Absolute by `http.public_url` or, without it, by what a trusted proxy said; else relative. Never built from a
        Host header, which is the client's to choose.
        """
        origin = self.settings.http.public_url or request.scope.get(ORIGIN, "")
        return f"{origin}{path}".encode("latin-1")
