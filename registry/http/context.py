"""What handlers work with: the services and the few settings they need, built once in `registry.main`."""

from dataclasses import dataclass

from auth.policy import Action, Policy, authorize
from registry.db.connection import Database
from registry.http.proxies import ORIGIN
from registry.http.request import Request
from registry.oci.names import RepositoryName
from registry.services.blobs import Blobs
from registry.services.deletion import Deletion
from registry.services.maintenance import Maintenance
from registry.services.manifests import Manifests
from registry.services.stores import Stores
from registry.services.uploads import Uploads
from registry.settings import Settings
from storage.contents import Contents
from storage.driver import BlobDriver


@dataclass(frozen=True, slots=True)
class Context:
    """The registry as handlers see it."""

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

    async def authorize(self, request: Request, action: Action, repository: RepositoryName | None) -> None:
        """Return if whoever asks may do this. Raises Denied."""
        await authorize(self.policy, request.principal, action, repository)

    def location(self, request: Request, path: str) -> bytes:
        """Return a Location or Link target for `path`.

        Absolute by `http.public_url` or, without it, by what a trusted proxy said; else relative. Never built from a
        Host header, which is the client's to choose.
        """
        origin = self.settings.http.public_url or request.scope.get(ORIGIN, "")
        return f"{origin}{path}".encode("latin-1")
