"""The storage of another registry, written by hand."""

from pathlib import Path

from tests.factories import PushedImage, digest_of, new_image


class Storage:
    """The storage of another registry, written by hand as it writes it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.base = root / "docker/registry/v2"

    def blob(self, content: bytes) -> Path:
        """Store bytes."""
        encoded = digest_of(content).partition(":")[2]
        return self.write(f"blobs/sha256/{encoded[:2]}/{encoded}/data", content)

    def write(self, path: str, content: bytes) -> Path:
        file = self.base / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    def link(self, folder: str, content: bytes) -> Path:
        algorithm, _, encoded = digest_of(content).partition(":")
        return self.write(f"repositories/{folder}/{algorithm}/{encoded}/link", digest_of(content).encode())

    def manifest(self, repository: str, content: bytes, tag: str = "") -> None:
        """Store a manifest and link it."""
        self.blob(content)
        self.link(f"{repository}/_manifests/revisions", content)
        if tag:
            self.link(f"{repository}/_manifests/tags/{tag}/index", content)
            self.write(f"repositories/{repository}/_manifests/tags/{tag}/current/link", digest_of(content).encode())

    def image(self, repository: str, tag: str = "") -> PushedImage:
        """Store an image."""
        image = new_image()
        for blob in image.blobs:
            self.blob(blob)
            self.link(f"{repository}/_layers", blob)
        self.manifest(repository, image.manifest, tag)
        return image

    def data(self, content: bytes) -> Path:
        """The file of stored bytes."""
        encoded = digest_of(content).partition(":")[2]
        return self.base / f"blobs/sha256/{encoded[:2]}/{encoded}/data"

    def revision(self, content: bytes) -> Path:
        """The link of a manifest of `app`."""
        return self.base / "repositories/app/_manifests/revisions" / digest_of(content).replace(":", "/") / "link"
