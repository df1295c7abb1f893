"""The clients, each with stores and an engine of its own, that leave nothing behind."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clients.adapters import Client
from tests.clients.cosign import Cosign
from tests.clients.daemons import containerd, docker_engine
from tests.clients.engines import Buildah, Ctr, Docker, Podman
from tests.clients.folders import Crane, Regctl, Skopeo
from tests.clients.mounts import remove_folder
from tests.clients.tools import Tool, find_tool
from tests.support.images import Image, large_image, sample_image

_LARGE = 24 * 1024 * 1024
_CLIENTS = ["podman", "buildah", "docker", "ctr", "skopeo", "crane", "regctl"]
_WRITERS = ["podman", "docker", "skopeo"]
"""One of each kind: buildah writes as podman does, and the others the bytes that they were given, as skopeo."""

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
def regctl(tool: ToolFinder, home: Path, environment: dict[str, str]) -> Regctl:
    """Regctl."""
    return Regctl(Tool(tool("regctl"), environment=environment), _folder(home, "regctl"))


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
    with docker_engine(Tool(tool("dockerd"), environment=environment), folder) as socket:
        yield Docker(Tool(tool("docker"), ["--host", socket], environment), folder)


@pytest.fixture(scope="session")
def buildah(tool: ToolFinder, home: Path, environment: dict[str, str]) -> Iterator[Buildah]:
    """Buildah on a store of its own."""
    folder = _folder(home, "buildah")
    options = ["--root", str(folder / "root"), "--runroot", str(folder / "run"), "--storage-driver", "vfs"]
    started = Tool(tool("buildah"), options, {**environment, "TMPDIR": str(folder)})
    try:
        yield Buildah(started, folder)
    finally:
        started.run("rm", "--all")
        remove_folder(folder)


@pytest.fixture(scope="session")
def ctr(tool: ToolFinder, home: Path, environment: dict[str, str]) -> Iterator[Ctr]:
    """ctr on a containerd of its own."""
    folder = _folder(home, "containerd")
    with containerd(Tool(tool("containerd"), environment=environment), folder) as socket:
        yield Ctr(Tool(tool("ctr"), ["--address", socket], environment), folder)


@pytest.fixture(params=_CLIENTS)
def any_client(request: pytest.FixtureRequest) -> Client:
    """Each client in turn."""
    client: Client = request.getfixturevalue(request.param)
    return client


@pytest.fixture(params=_WRITERS)
def writer(request: pytest.FixtureRequest) -> Client:
    """Clients that write different manifests, in turn."""
    client: Client = request.getfixturevalue(request.param)
    return client


@pytest.fixture
def all_clients(request: pytest.FixtureRequest) -> list[Client]:
    """Every client."""
    return [request.getfixturevalue(name) for name in _CLIENTS]


@pytest.fixture(scope="session")
def cosign(tool: ToolFinder, home: Path, environment: dict[str, str]) -> Cosign:
    """Cosign, which reaches nothing but loopback: it would ask sigstore's servers for much."""
    alone = {**environment, "COSIGN_PASSWORD": "", "HTTPS_PROXY": "http://127.0.0.1:1"}
    return Cosign.prepared(Tool(tool("cosign"), environment=alone), _folder(home, "cosign"))


@pytest.fixture
def helm(tool: ToolFinder, home: Path, environment: dict[str, str]) -> Tool:
    """Helm, with empty caches."""
    return Tool(tool("helm"), environment={**environment, "HOME": str(_folder(home, "helm"))})


@pytest.fixture
def image() -> Image:
    """A new image of three small layers."""
    return sample_image()


@pytest.fixture
def large() -> Image:
    """A new image with one layer of 24 MiB that can't be compressed."""
    return large_image(_LARGE)


def _folder(home: Path, name: str) -> Path:
    folder = home / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder
