"""The image, built and run by podman on a store of the tests' own."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.clients.mounts import remove_folder
from tests.clients.tools import Output, Tool, ToolError, find_tool
from tests.packaging.cached import base_image, python_of, wheels
from tests.support.server import ROOT

BASE = "localhost/base:test"
IMAGE = "localhost/stowage:test"
_ROOM = 4 * 1024**3
# Limits are given because the default ones are higher than a confined root may set.
_RUN = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000")


@dataclass(frozen=True)
class Images:
    """podman with a base and the image on its store."""

    podman: Tool
    folder: Path

    def refuse(self, *options: str, command: tuple[str, ...] = ()) -> Output:
        """Run a container without a network, that is to end with another status."""
        return self.podman.fail("run", "--rm", "--network", "none", *_RUN, *options, IMAGE, *command)

    @contextmanager
    def start(self, *options: str, network: str = "host", command: tuple[str, ...] = ()) -> Iterator["Container"]:
        """Start a container, and remove it in the end, with the volumes that have no name."""
        options = ("--detach", "--network", network, *_RUN, *options)
        identity = self.podman.run("run", *options, IMAGE, *command).stdout.strip()
        try:
            yield Container(self.podman, identity)
        finally:
            self.podman.run("rm", "--force", "--volumes", "--time", "0", identity)

    def about(self, image: str) -> dict[str, Any]:
        """What `podman image inspect` says."""
        [found] = json.loads(self.podman.run("image", "inspect", image).stdout)
        return dict(found)

    @contextmanager
    def files(self, image: str) -> Iterator[Path]:
        """The image's files, below a folder."""
        folder = self.podman.run("image", "mount", image).stdout.strip()
        try:
            yield Path(folder)
        finally:
            self.podman.run("image", "unmount", image)


@dataclass(frozen=True)
class Container:
    """A container that was started."""

    podman: Tool
    identity: str

    def run(self, *command: str) -> Output:
        """Run a command in it."""
        return self.podman.run("exec", self.identity, *command)

    def is_healthy(self) -> bool:
        """Run the image's HEALTHCHECK in it."""
        try:
            self.podman.run("healthcheck", "run", self.identity)
        except ToolError as error:
            assert "unhealthy" in str(error) or "exceeded timeout" in str(error), error
            return False
        return True

    def log(self) -> str:
        """What it wrote on stdout and stderr."""
        return self.podman.run("logs", self.identity).both

    def state(self) -> dict[str, Any]:
        """What `podman inspect` says of its state."""
        [found] = json.loads(self.podman.run("inspect", self.identity).stdout)
        return dict(found["State"])

    def stop(self) -> int:
        """Send SIGTERM, wait for 40 seconds at most, and return the exit status."""
        self.podman.run("stop", "--time", "40", self.identity)
        return int(self.state()["ExitCode"])


@contextmanager
def built() -> Iterator[Images]:
    """Build the image from the Dockerfile, without a network: pip finds the lock's wheels in a folder."""
    base = base_image()
    packages = wheels(python_of(base))
    folder = Path(tempfile.mkdtemp(prefix="stowage-", dir=_quick_folder()))
    podman = _podman(folder)
    settings = folder / "pip.conf"
    settings.write_text("[global]\nno-index = true\nfind-links = /wheels\n")
    try:
        podman.run("import", "--quiet", base, BASE)
        podman.run(
            *("build", "--format", "docker", "--layers=false", "--network", "host", "--isolation", "chroot"),
            *("--build-arg", f"BUILD_BASE={BASE}", "--build-arg", f"BASE={BASE}", "--tag", IMAGE),
            *("--secret", f"id=pip.conf,src={settings}", "--volume", f"{packages}:/wheels:ro", ROOT),
            seconds=2000,
        )
        yield Images(podman, folder)
    finally:
        podman.run("rm", "--all", "--force", "--time", "0")
        remove_folder(folder)


def _podman(folder: Path) -> Tool:
    """podman, its store in a folder; layers lie over one another where that can be mounted, else they are copied."""
    overlay = _podman_on(folder / "overlay", "overlay")
    try:
        overlay.run("info")
    except ToolError:
        return _podman_on(folder / "vfs", "vfs")
    return overlay


def _podman_on(store: Path, driver: str) -> Tool:
    store.mkdir()
    options = ["--root", str(store / "root"), "--runroot", str(store / "run"), "--tmpdir", str(store / "tmp")]
    options += ["--storage-driver", driver, "--cgroup-manager", "cgroupfs", "--runtime", str(find_tool("runc"))]
    return Tool(find_tool("podman"), options, {"TMPDIR": str(store), "HOME": str(store)})


def _quick_folder() -> str | None:
    """Memory, if there is plenty: podman syncs all that it writes."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or shutil.disk_usage(memory).free < _ROOM or os.statvfs(memory).f_flag & os.ST_NOEXEC:
        return None
    return str(memory)
