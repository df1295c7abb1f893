"""Clients with a store that unpacks images: podman, buildah, docker, containerd's ctr."""

import json
import shutil
import subprocess
import tarfile
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tests.clients.adapters import Client, Seen
from tests.clients.tools import Tool, ToolError
from tests.support.images import Image, merged_files, read_layout, write_docker_archive, write_oci_archive

_PLAIN_HTTP = ("--tls-verify=false",)
_HOSTS = """\
server = "https://{address}"
[host."https://{address}"]
ca = "{certificate}"
"""
"""With less than this, ctr speaks plain HTTP on loopback whatever it is told to trust."""


class _ContainerClient(Client):
    """`push` and `pull`, and a look at the files through a container.

    Args:
        access: options of `push` and `pull` that say how the registry is reached.
    """

    _write_archive = staticmethod(write_oci_archive)

    def __init__(self, tool: Tool, folder: Path, access: Sequence[str] = ()) -> None:
        super().__init__(tool, folder)
        self._access = access

    def load(self, image: Image, reference: str) -> None:
        archive = self._write_archive(self.folder / f"{image.config_digest[7:19]}.tar", image, reference)
        try:
            self.tool.run(*self.load_command(archive))
        finally:
            archive.unlink()

    def remove(self, reference: str) -> None:
        self.tool.run("rmi", "--force", reference)

    @abstractmethod
    def load_command(self, archive: Path) -> tuple[str | Path, ...]:
        """Arguments of the program that load an archive with one image."""

    def push_command(self, reference: str) -> tuple[str | Path, ...]:
        return ("push", *self._access, reference)

    def pull_command(self, reference: str) -> tuple[str | Path, ...]:
        return ("pull", *self._access, reference)


class _RunningClient(_ContainerClient):
    """What podman and docker have in common."""

    def look(self, reference: str) -> Seen:
        [image] = json.loads(self.tool.run("image", "inspect", reference).stdout)
        container = self.tool.run("create", "--network", "none", reference).stdout.strip()
        archive = self.folder / f"{container}.tar"
        try:
            self.tool.run("export", "--output", archive, container)
            files = merged_files([archive.read_bytes()])
        finally:
            self.tool.run("rm", "--force", container)
            archive.unlink(missing_ok=True)
        digest = str(image["Id"])
        return Seen(f"sha256:{digest.removeprefix('sha256:')}", tuple(image["RootFS"]["Layers"]), files)

    @abstractmethod
    def run(self, reference: str) -> str:
        """Run a container of the image and return what it printed."""


class Podman(_RunningClient):
    """`podman`, with a store in a folder."""

    name = "podman"

    def __init__(self, tool: Tool, folder: Path, access: Sequence[str] = _PLAIN_HTTP) -> None:
        super().__init__(tool, folder, access)

    def trusting(self, address: str, certificate: Path) -> Self:
        return type(self)(self.tool, self.folder, ("--cert-dir", str(certificate.parent)))

    def load_command(self, archive: Path) -> tuple[str | Path, ...]:
        return ("load", "--input", archive)

    def run(self, reference: str) -> str:
        # Limits are given because the default ones are higher than a confined root may set.
        limits = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
        return self.tool.run("run", "--rm", "--network", "host", "--runtime", "runc", *limits, reference).stdout


class Docker(_RunningClient):
    """`docker`, with an engine of its own. On loopback it takes any certificate, and plain HTTP where TLS fails."""

    name = "docker"
    _write_archive = staticmethod(write_docker_archive)

    def trusting(self, address: str, certificate: Path) -> Self:
        return self

    def load_command(self, archive: Path) -> tuple[str | Path, ...]:
        return ("load", "--input", archive)

    def run(self, reference: str) -> str:
        return self.tool.run("run", "--rm", "--network", "none", reference).stdout


class Buildah(_ContainerClient):
    """`buildah`, with a store in a folder."""

    name = "buildah"

    def __init__(self, tool: Tool, folder: Path, access: Sequence[str] = _PLAIN_HTTP) -> None:
        super().__init__(tool, folder, access)

    def trusting(self, address: str, certificate: Path) -> Self:
        return type(self)(self.tool, self.folder, ("--cert-dir", str(certificate.parent)))

    def load_command(self, archive: Path) -> tuple[str | Path, ...]:
        return ("pull", f"oci-archive:{archive}")

    def look(self, reference: str) -> Seen:
        image = json.loads(self.tool.run("inspect", "--type", "image", reference).stdout)
        container = self.tool.run("from", "--pull-never", reference).stdout.strip()
        try:
            root = Path(self.tool.run("mount", container).stdout.strip())
            files = {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}
        finally:
            self.tool.run("rm", container)
        return Seen(f"sha256:{image['FromImageID']}", tuple(image["OCIv1"]["rootfs"]["diff_ids"]), files)


_LOST_THREAD = "rpc error: code = Internal desc = unexpected EOF"
"""What ctr says, now and then, when it reads a blob of containerd's own store over gRPC: no registry is asked there.

Source: https://github.com/containerd/containerd/issues/5734, https://github.com/containerd/nerdctl/issues/984
"""


class Ctr(_ContainerClient):
    """`ctr`, with a containerd of its own that unpacks into plain folders (the snapshotter `native`)."""

    name = "ctr"

    def __init__(self, tool: Tool, folder: Path, access: Sequence[str] = ("--plain-http",)) -> None:
        super().__init__(tool, folder, access)

    def push(self, reference: str) -> None:
        """Push, again where ctr lost the thread: it ends the whole push then, and has no option to try again."""
        try:
            super().push(reference)
        except ToolError as error:
            if _LOST_THREAD not in str(error):
                raise
            super().push(reference)

    def end_push(self, process: subprocess.Popen[bytes], reference: str, log: Path) -> None:
        """Wait until it is pushed, with a second try as for `push`."""
        try:
            super().end_push(process, reference, log)
        except ToolError as error:
            if _LOST_THREAD not in str(error):
                raise
            self.push(reference)

    def trusting(self, address: str, certificate: Path) -> Self:
        hosts = self.folder / "hosts" / address
        hosts.mkdir(parents=True, exist_ok=True)
        (hosts / "hosts.toml").write_text(_HOSTS.format(address=address, certificate=certificate))
        return type(self)(self.tool, self.folder, ("--hosts-dir", str(hosts.parent)))

    def load_command(self, archive: Path) -> tuple[str | Path, ...]:
        return ("images", "import", "--no-unpack", archive)

    def remove(self, reference: str) -> None:
        self.tool.run("images", "rm", "--sync", reference)

    def look(self, reference: str) -> Seen:
        """The image as ctr exports it; that its layers are what the config says was checked when they were unpacked."""
        archive, layout = self.folder / "exported.tar", self.folder / "exported"
        self.tool.run("images", "export", archive, reference)
        try:
            with tarfile.open(archive) as content:
                content.extractall(layout, filter="data")
            return Seen.of(read_layout(layout))
        finally:
            archive.unlink()
            shutil.rmtree(layout)

    def unpacked(self, reference: str) -> bool:
        """Whether all layers are there and were unpacked, which checks them against the config."""
        printed = self.tool.run("images", "check", "--snapshotter", "native", f"name=={reference}").stdout
        [line] = [line.split() for line in printed.splitlines() if line.startswith(f"{reference} ")]
        return "complete" in line and line[-1] == "true"

    def push_command(self, reference: str) -> tuple[str | Path, ...]:
        return ("images", *super().push_command(reference))

    def pull_command(self, reference: str) -> tuple[str | Path, ...]:
        return ("images", "pull", *self._access, "--snapshotter", "native", reference)
