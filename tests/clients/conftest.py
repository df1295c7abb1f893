"""The clients, each with stores and an engine of its own, that leave nothing behind."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.clients.adapters import Client, Crane, Docker, Podman, Skopeo
from tests.clients.mounts import remove_folder
from tests.clients.tools import Tool, ToolError, find_tool
from tests.support.images import Image, large_image, sample_image

_LARGE = 64 * 1024 * 1024
_CLIENTS = ["podman", "docker", "skopeo", "crane"]

ToolFinder = Callable[[str], Path]


@pytest.fixture(scope="session")
def tool() -> ToolFinder:
    """Finds a program by name, or fails with its name and how to install it."""
    return find_tool


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """A short folder for everything the clients keep: engines put sockets there, whose paths may have 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="stowage-"))
    try:
        yield folder
    finally:
        remove_folder(folder)


@pytest.fixture(scope="session")
def environment(home: Path) -> dict[str, str]:
    """What keeps the clients from reading the user's credentials and settings."""
    (home / "auth.json").write_text("{}")
    return {"HOME": str(home), "DOCKER_CONFIG": str(home), "REGISTRY_AUTH_FILE": str(home / "auth.json")}


@pytest.fixture(scope="session")
def skopeo(tool: ToolFinder, home: Path, environment: dict[str, str]) -> Skopeo:
    """Skopeo."""
    return Skopeo(Tool(tool("skopeo"), environment=environment), _folder(home, "skopeo"))


@pytest.fixture(scope="session")
def crane(tool: ToolFinder, home: Path, environment: dict[str, str]) -> Crane:
    """Crane."""
    return Crane(Tool(tool("crane"), environment=environment), _folder(home, "crane"))


@pytest.fixture(scope="session")
def podman(tool: ToolFinder, home: Path, environment: dict[str, str]) -> Iterator[Podman]:
    """Podman on a store of its own."""
    folder = _folder(home, "podman")
    options = ["--root", str(folder / "root"), "--runroot", str(folder / "run"), "--tmpdir", str(folder / "tmp")]
    options += ["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--runtime", str(tool("runc"))]
    started = Tool(tool("podman"), options, environment)
    try:
        yield Podman(started, folder)
    finally:
        started.run("rm", "--all", "--force")
        remove_folder(folder)


@pytest.fixture(scope="session")
def docker(tool: ToolFinder, home: Path, environment: dict[str, str]) -> Iterator[Docker]:
    """Docker on an engine of its own; registries on loopback count as insecure by default."""
    folder = _folder(home, "docker")
    with _docker_engine(Tool(tool("dockerd"), environment=environment), folder) as socket:
        yield Docker(Tool(tool("docker"), ["--host", socket], environment), folder)


@pytest.fixture(params=_CLIENTS)
def any_client(request: pytest.FixtureRequest) -> Client:
    """Each client in turn."""
    client: Client = request.getfixturevalue(request.param)
    return client


@pytest.fixture(params=_CLIENTS)
def other_client(request: pytest.FixtureRequest) -> Client:
    """Each client in turn, beside `any_client`."""
    client: Client = request.getfixturevalue(request.param)
    return client


@pytest.fixture
def image() -> Image:
    """A new image of three small layers."""
    return sample_image()


@pytest.fixture(scope="session")
def large() -> Image:
    """An image with one layer of 64 MiB that can't be compressed."""
    return large_image(_LARGE)


@contextmanager
def _docker_engine(engine: Tool, folder: Path) -> Iterator[str]:
    socket = f"unix://{folder}/s"
    log = folder / "engine.log"
    options = ["--host", socket, "--data-root", str(folder / "d"), "--exec-root", str(folder / "x")]
    options += ["--pidfile", str(folder / "pid"), "--storage-driver=vfs", "--iptables=false", "--ip6tables=false"]
    process = engine.start(*options, "--bridge=none", log=log)
    try:
        deadline = time.monotonic() + 60
        while not (folder / "s").exists() or "API listen on" not in log.read_text(errors="replace"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise ToolError(f"dockerd did not start\n{log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.1)
        yield socket
    finally:
        process.terminate()
        try:
            process.wait(30)
        finally:
            process.kill()
            process.wait()
            remove_folder(folder)


def _folder(home: Path, name: str) -> Path:
    folder = home / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder
