"""One shape for all clients, so that one test asks the same of each: load, push, remove, pull, look."""

import json
import subprocess
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.clients.tools import SECONDS, Tool, ToolError
from tests.support.images import Image, merged_files


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


class Client(ABC):
    """What the tests ask of a client. A reference is HOST:PORT/NAME:TAG or HOST:PORT/NAME@DIGEST.

    Args:
        tool: the program.
        folder: where the client may keep files.
    """

    name: str

    def __init__(self, tool: Tool, folder: Path) -> None:
        self.tool = tool
        self.folder = folder

    def push(self, reference: str) -> None:
        """Push what was loaded under the reference."""
        self.tool.run(*self.push_command(reference))

    def start_push(self, reference: str, log: Path) -> subprocess.Popen[bytes]:
        """Start to push, and don't wait."""
        return self.tool.start(*self.push_command(reference), log=log)

    def end_push(self, process: subprocess.Popen[bytes], reference: str, log: Path) -> None:
        """Wait until what `start_push` began is pushed. Raises ToolError: it failed."""
        if process.wait(SECONDS) != 0:
            raise ToolError(f"{self.name} could not push {reference}\n{log.read_text(errors='replace')}")

    def pull(self, reference: str) -> None:
        """Pull into the client's store."""
        self.tool.run(*self.pull_command(reference))

    def pull_missing(self, reference: str) -> None:
        """Try to pull what is not there, and be told that it is not there.

        Raises:
            AssertionError: it succeeded, or failed for another reason.
        """
        said = self.tool.fail(*self.pull_command(reference)).both.lower()
        assert "unknown" in said or "not found" in said, said

    @abstractmethod
    def trusting(self, address: str, certificate: Path) -> Self:
        """This client and its store, for a registry with TLS.

        Args:
            address: HOST:PORT.
            certificate: PEM file to trust, called `ca.crt`, alone in its folder.
        """

    @abstractmethod
    def load(self, image: Image, reference: str) -> None:
        """Put an image into the client's own store, under the reference that it is to be pushed to."""

    @abstractmethod
    def remove(self, reference: str) -> None:
        """Remove the image from the client's store, layers too."""

    @abstractmethod
    def look(self, reference: str) -> Seen:
        """The image in the client's store."""

    @abstractmethod
    def push_command(self, reference: str) -> tuple[str | Path, ...]:
        """Arguments of the program that push."""

    @abstractmethod
    def pull_command(self, reference: str) -> tuple[str | Path, ...]:
        """Arguments of the program that pull."""
