"""Clients that copy between registries and folders, and keep every byte as it is: skopeo, crane, regctl."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Self

from tests.clients.adapters import Client, Seen
from tests.clients.tools import Tool
from tests.support.images import Image, read_directory, read_layout, write_directory, write_layout


class _FolderClient(Client):
    """An image is an OCI layout, in a folder of its own."""

    def load(self, image: Image, reference: str) -> None:
        write_layout(self.place(reference), image)

    def remove(self, reference: str) -> None:
        shutil.rmtree(self.place(reference))

    def look(self, reference: str) -> Seen:
        return Seen.of(read_layout(self.place(reference)))

    def place(self, reference: str) -> Path:
        """The folder of an image."""
        return self.folder / re.sub(r"[^a-z0-9.]", "_", reference)


class Skopeo(_FolderClient):
    """`skopeo copy` from and to folders of its transport `dir:`."""

    name = "skopeo"

    def __init__(self, tool: Tool, folder: Path, access: str = "tls-verify=false") -> None:
        super().__init__(tool, folder)
        self._access = access

    def trusting(self, address: str, certificate: Path) -> Self:
        return type(self)(self.tool, self.folder, f"cert-dir={certificate.parent}")

    def load(self, image: Image, reference: str) -> None:
        write_directory(self.place(reference), image)

    def look(self, reference: str) -> Seen:
        return Seen.of(read_directory(self.place(reference)))

    def push_command(self, reference: str) -> tuple[str | Path, ...]:
        return ("copy", f"--dest-{self._access}", f"dir:{self.place(reference)}", f"docker://{reference}")

    def pull_command(self, reference: str) -> tuple[str | Path, ...]:
        return ("copy", f"--src-{self._access}", f"docker://{reference}", f"dir:{self.place(reference)}")


class Crane(_FolderClient):
    """`crane push` and `crane pull`; on loopback it takes plain HTTP by itself where TLS fails."""

    name = "crane"

    def trusting(self, address: str, certificate: Path) -> Self:
        return type(self)(trusted_by_go(self.tool, certificate), self.folder)

    def push_command(self, reference: str) -> tuple[str | Path, ...]:
        return ("push", self.place(reference), reference)

    def pull_command(self, reference: str) -> tuple[str | Path, ...]:
        return ("pull", "--format=oci", reference, self.place(reference))


class Regctl(_FolderClient):
    """`regctl image copy` from and to layouts (`ocidir://`)."""

    name = "regctl"

    def __init__(self, tool: Tool, folder: Path, *, plain: bool = True) -> None:
        super().__init__(tool, folder)
        self._plain = plain

    def trusting(self, address: str, certificate: Path) -> Self:
        return self.configured(address, "--cacert", certificate.read_text())

    def configured(self, address: str, *options: str) -> Self:
        """One that keeps these options of `regctl registry set` for a registry."""
        settings = {"REGCTL_CONFIG": str(self.folder / f"{self.place(address).name}.json")}
        tool = replace(self.tool, environment={**self.tool.environment, **settings})
        tool.run("registry", "set", "--skip-check", address, *options)
        return type(self)(tool, self.folder, plain=False)

    def access(self, reference: str) -> tuple[str, ...]:
        """Options for every command that says how this registry is reached."""
        return ("--host", f"reg={reference.partition('/')[0]},tls=disabled") if self._plain else ()

    def push_command(self, reference: str) -> tuple[str | Path, ...]:
        return (*self.access(reference), "image", "copy", f"ocidir://{self.place(reference)}:latest", reference)

    def pull_command(self, reference: str) -> tuple[str | Path, ...]:
        return (*self.access(reference), "image", "copy", reference, f"ocidir://{self.place(reference)}:latest")


def trusted_by_go(tool: Tool, certificate: Path) -> Tool:
    """The same program, trusting this certificate alone (Go's crypto/x509: SSL_CERT_FILE)."""
    return replace(tool, environment={**tool.environment, "SSL_CERT_FILE": str(certificate), "SSL_CERT_DIR": "/none"})
