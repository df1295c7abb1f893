"""One shape for four clients, so that one test asks the same of each: load, push, remove, pull, look."""

import json
import re
import shutil
import subprocess
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from tests.clients.tools import Output, Tool
from tests.support.images import (
    Image,
    merged_files,
    read_directory,
    read_layout,
    write_directory,
    write_docker_archive,
    write_layout,
    write_oci_archive,
)


@dataclass(frozen=True)
class Seen:
    """An image as a client has it on its side.

    Attributes:
        config_digest: the image's id.
        diff_ids: digests of the uncompressed layers, lowest first.
        files: regular files of a container made from it, by path.
    """

    config_digest: str
    diff_ids: tuple[str, ...]
    files: dict[str, bytes]

    @classmethod
    def of(cls, image: Image) -> Self:
        """An image that was read from a folder."""
        return cls(image.config_digest, tuple(json.loads(image.config)["rootfs"]["diff_ids"]), image.files)

    def is_same_as(self, image: Image) -> None:
        """Assert that this is the image, to the last byte of every file."""
        assert self.config_digest == image.config_digest
        assert self.diff_ids == image.diff_ids
        missing = {path for path, content in image.files.items() if self.files.get(path) != content}
        assert not missing, f"missing or different: {sorted(missing)}"
        removed = merged_files([layer.tar for layer in image.layers[:-1]]).keys() - image.files.keys()
        assert not removed & self.files.keys(), "a file that the image removed is there"


class Client(Protocol):
    """What the tests ask of a client. A reference is HOST:PORT/NAME:TAG or HOST:PORT/NAME@DIGEST."""

    name: str

    def load(self, image: Image, reference: str) -> None:
        """Put an image into the client's own store, under the reference that it is to be pushed to."""

    def push(self, reference: str) -> None:
        """Push what was loaded under the reference."""

    def start_push(self, reference: str, log: Path) -> subprocess.Popen[bytes]:
        """Start to push, and don't wait."""

    def remove(self, reference: str) -> None:
        """Remove the image from the client's store, layers too."""

    def pull(self, reference: str) -> None:
        """Pull into the client's store."""

    def pull_missing(self, reference: str) -> Output:
        """Try to pull what is not there; an error if that succeeds."""

    def look(self, reference: str) -> Seen:
        """The image in the client's store."""


class _FolderClient(ABC):
    """What skopeo and crane have in common: commands that copy between a registry and folders."""

    def __init__(self, tool: Tool, folder: Path) -> None:
        self.tool = tool
        self._folder = folder

    def push(self, reference: str) -> None:
        self.tool.run(*self._push(reference))

    def start_push(self, reference: str, log: Path) -> subprocess.Popen[bytes]:
        return self.tool.start(*self._push(reference), log=log)

    def remove(self, reference: str) -> None:
        shutil.rmtree(self._place(reference))

    def pull(self, reference: str) -> None:
        self.tool.run(*self._pull(reference))

    def pull_missing(self, reference: str) -> Output:
        return self.tool.fail(*self._pull(reference))

    def _place(self, reference: str) -> Path:
        return self._folder / re.sub(r"[^a-z0-9.]", "_", reference)

    @abstractmethod
    def _push(self, reference: str) -> tuple[str | Path, ...]:
        """The command that pushes."""

    @abstractmethod
    def _pull(self, reference: str) -> tuple[str | Path, ...]:
        """The command that pulls."""


class Skopeo(_FolderClient):
    """`skopeo copy` from and to folders that keep every manifest as it is (`dir:`)."""

    name = "skopeo"

    def load(self, image: Image, reference: str) -> None:
        write_directory(self._place(reference), image)

    def look(self, reference: str) -> Seen:
        return Seen.of(read_directory(self._place(reference)))

    def _push(self, reference: str) -> tuple[str | Path, ...]:
        return ("copy", "--dest-tls-verify=false", f"dir:{self._place(reference)}", f"docker://{reference}")

    def _pull(self, reference: str) -> tuple[str | Path, ...]:
        return ("copy", "--src-tls-verify=false", f"docker://{reference}", f"dir:{self._place(reference)}")


class Crane(_FolderClient):
    """`crane push` and `crane pull` of OCI layouts."""

    name = "crane"

    def load(self, image: Image, reference: str) -> None:
        write_layout(self._place(reference), image)

    def look(self, reference: str) -> Seen:
        return Seen.of(read_layout(self._place(reference)))

    def _push(self, reference: str) -> tuple[str | Path, ...]:
        return ("push", self._place(reference), reference)

    def _pull(self, reference: str) -> tuple[str | Path, ...]:
        return ("pull", "--format=oci", reference, self._place(reference))


class _EngineClient:
    """What podman and docker have in common: commands, and a store of their own."""

    def __init__(self, tool: Tool, folder: Path, insecure: tuple[str, ...] = ()) -> None:
        self.tool = tool
        self._folder = folder
        self._insecure = insecure

    def push(self, reference: str) -> None:
        self.tool.run("push", *self._insecure, reference)

    def start_push(self, reference: str, log: Path) -> subprocess.Popen[bytes]:
        return self.tool.start("push", *self._insecure, reference, log=log)

    def remove(self, reference: str) -> None:
        self.tool.run("rmi", "--force", reference)

    def pull(self, reference: str) -> None:
        self.tool.run("pull", *self._insecure, reference)

    def pull_missing(self, reference: str) -> Output:
        return self.tool.fail("pull", *self._insecure, reference)

    def look(self, reference: str) -> Seen:
        [image] = json.loads(self.tool.run("image", "inspect", reference).stdout)
        container = self.tool.run("create", "--network", "none", reference).stdout.strip()
        archive = self._folder / f"{container}.tar"
        try:
            self.tool.run("export", "--output", archive, container)
            files = merged_files([archive.read_bytes()])
        finally:
            self.tool.run("rm", "--force", container)
            archive.unlink(missing_ok=True)
        digest = str(image["Id"])
        return Seen(f"sha256:{digest.removeprefix('sha256:')}", tuple(image["RootFS"]["Layers"]), files)


class Podman(_EngineClient):
    """`podman`, with a store in a folder."""

    name = "podman"

    def __init__(self, tool: Tool, folder: Path) -> None:
        super().__init__(tool, folder, ("--tls-verify=false",))

    def load(self, image: Image, reference: str) -> None:
        archive = write_oci_archive(self._folder / f"{image.config_digest[7:19]}.tar", image, reference)
        self.tool.run("load", "--input", archive)
        archive.unlink()
        shutil.rmtree(archive.with_suffix(".layout"))

    def run(self, reference: str) -> str:
        """Run a container of the image and return what it printed."""
        # Limits are given because the default ones are higher than a confined root may set.
        limits = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
        return self.tool.run("run", "--rm", "--network", "host", "--runtime", "runc", *limits, reference).stdout


class Docker(_EngineClient):
    """`docker`, with an engine of its own."""

    name = "docker"

    def load(self, image: Image, reference: str) -> None:
        archive = write_docker_archive(self._folder / f"{image.config_digest[7:19]}.tar", image, reference)
        self.tool.run("load", "--input", archive)
        archive.unlink()

    def run(self, reference: str) -> str:
        """Run a container of the image and return what it printed."""
        return self.tool.run("run", "--rm", "--network", "none", reference).stdout
