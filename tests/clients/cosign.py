"""cosign with a key pair on disk, asking no service for anything: each way in which it keeps signatures."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Self

from tests.clients.folders import trusted_by_go
from tests.clients.tools import Output, Tool

_NO_SERVICES = ("--use-signing-config=false", "--tlog-upload=false", "--new-bundle-format=false")
_REFERRERS: Mapping[str, str] = {"COSIGN_EXPERIMENTAL": "1"}


class Keeping(Enum):
    """Where signatures are kept: under a tag made of the digest, or as referrers in the former or present format."""

    TAG = "tag"
    REFERRER = "referrer"
    BUNDLE = "bundle"


@dataclass(frozen=True)
class Cosign:
    """The program and two key pairs: `cosign.key` signs, `other.key` does not.

    Attributes:
        folder: where the keys are, a signing configuration (`signing.json`) and a trusted root (`root.json`) that name
            no service.
    """

    tool: Tool
    folder: Path

    @classmethod
    def prepared(cls, tool: Tool, folder: Path) -> Self:
        """Make the keys and files."""
        for name in ("cosign", "other"):
            tool.run("generate-key-pair", "--output-key-prefix", folder / name)
        tool.run("signing-config", "create", "--out", folder / "signing.json")
        tool.run("trusted-root", "create", "--out", folder / "root.json")
        return cls(tool, folder)

    def trusting(self, certificate: Path) -> Self:
        """The same, for a registry with TLS."""
        return replace(self, tool=trusted_by_go(self.tool, certificate))

    def sign(self, reference: str, keeping: Keeping, *options: str) -> None:
        """Sign what HOST:PORT/NAME@DIGEST names."""
        how: tuple[str | Path, ...] = _NO_SERVICES
        if keeping is Keeping.BUNDLE:
            how = self._no_services()
        elif keeping is Keeping.REFERRER:
            how = (*_NO_SERVICES, "--registry-referrers-mode=oci-1-1")
        self._for(keeping).run("sign", "--yes", "--key", self.folder / "cosign.key", *how, *options, reference)

    def attest(self, reference: str, predicate: Path) -> None:
        """Attach a statement of one's own type, signed."""
        how = ("--key", self.folder / "cosign.key", *self._no_services(), "--type", "custom", "--predicate", predicate)
        self.tool.run("attest", "--yes", *how, reference)

    def verify(self, reference: str, keeping: Keeping) -> None:
        """Check that what the reference names was signed with the key."""
        self._for(keeping).run(*self._verify("cosign.pub", keeping), reference)

    def refuse(self, reference: str, keeping: Keeping, *, key: str = "cosign.pub") -> Output:
        """Check that no signature is found that this public key made."""
        return self._for(keeping).fail(*self._verify(key, keeping), reference)

    def _for(self, keeping: Keeping) -> Tool:
        more = _REFERRERS if keeping is Keeping.REFERRER else {}
        return replace(self.tool, environment={**self.tool.environment, **more})

    def _no_services(self) -> tuple[str | Path, ...]:
        return ("--signing-config", self.folder / "signing.json", "--trusted-root", self.folder / "root.json")

    def _verify(self, key: str, keeping: Keeping) -> tuple[str | Path, ...]:
        how: tuple[str, ...] = ("--insecure-ignore-tlog=true",)
        if keeping is not Keeping.BUNDLE:
            how += ("--new-bundle-format=false",)
        if keeping is Keeping.REFERRER:
            how += ("--experimental-oci11=true",)
        return ("verify", "--key", self.folder / key, *how)
