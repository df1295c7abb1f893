"""Fixtures that every test folder may use: servers, an HTTP client, a repository name of one's own."""

import os
import re
import uuid
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer  # type: ignore[import-untyped]  # it brings no types
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # likewise

from registry.db.connection import Database
from registry.db.migrate import migrate_sqlite
from tests.support import databases
from tests.support.databases import DIALECTS, Place
from tests.support.fleet import Fleet
from tests.support.people import People, settings_for
from tests.support.server import Connect, Server, ServerFactory, new_client

# How long an example takes says what else the machine does, and nothing about what is tested. The examples are the same
# in each run, so that one that fails does so because of a change; long runs look for others.
LONG_RUN = os.environ.get("STOWAGE_LONG") == "1"
settings.register_profile(
    "stowage", deadline=None, derandomize=not LONG_RUN, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("stowage")

TOGETHER = {"clients", "packaging"}
"""Folders whose tests share engines that take long to start, and images that take long to build."""

LONG = (
    *("clients", "packaging", "faults", "replicas", "conformance", "takeover", "webhooks", "machine", "backup", "s3"),
    *("postgresql", "moving", "scrub", "outside", "deploy", "events"),
)
"""Folders whose tests take long: they are begun first, so that no process is left with one of them at the end."""


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The event loop that asynchronous tests run on."""
    return "asyncio"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server with default settings, shared by all tests: use `repository` for a name of your own."""
    with Server(tmp_path_factory.mktemp("stowage")) as running:
        yield running


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server with users, shared by all tests: use a repository of your own in the project `test`."""
    with Server(tmp_path_factory.mktemp("guarded"), settings_for({}), ("--workers", "2")) as running:
        People(running).populate()
        yield running


@pytest.fixture(scope="session")
def people(guarded: Server) -> People:
    """Those of the shared server."""
    return People(guarded)


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Three replicas behind nginx, shared by all tests: nobody ends one of them."""
    with Fleet(tmp_path_factory.mktemp("fleet")) as running:
        yield running


@pytest.fixture
def fresh_server(tmp_path: Path) -> Iterator[ServerFactory]:
    """Starts servers for one test alone: `fresh_server(STOWAGE_MANIFESTS__SPARSE="allow")`."""
    factory = ServerFactory(tmp_path / "servers")
    try:
        yield factory
    finally:
        factory.stop()


@pytest.fixture(scope="session")
def client(server: Server) -> Iterator[httpx.Client]:
    """A blocking HTTP client of the shared server; redirects are not followed. One for all: making one takes long."""
    with new_client(server) as connected:
        yield connected


@pytest.fixture(scope="session")
def new_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a new registry that no server runs on: to be copied, since making one takes long."""
    folder = tmp_path_factory.mktemp("new") / "data"
    migrate_sqlite(folder / "stowage.sqlite3")
    return folder


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes clients of servers that a test started itself."""
    with ExitStack() as opened:
        yield lambda server: opened.enter_context(new_client(server))


@pytest.fixture(params=DIALECTS)
async def place(request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str) -> AsyncIterator[Place]:
    """A database with this version's schema; what asks for it runs on SQLite and on PostgreSQL."""
    made = await databases.place(request.param, tmp_path)
    yield made
    made.remove()


@pytest.fixture
async def database(place: Place) -> AsyncIterator[Database]:
    """The same, started."""
    opened = place.new()
    await opened.start()
    yield opened
    await opened.stop()


@pytest.fixture
def repository(request: pytest.FixtureRequest) -> str:
    """A repository name that no other test uses."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:60].strip("-")
    return f"test/{words}-{uuid.uuid4().hex[:8]}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long."""
    order = {folder: place for place, folder in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.parent.name, len(LONG)))


class TogetherScheduling(LoadScopeScheduling):  # type: ignore[misc]  # a class without types
    """Gives a process what shares costly fixtures: a file, or a whole folder."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        folder = Path(file).parent.name
        return folder if folder in TOGETHER else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> TogetherScheduling:
    """Spread tests over processes so that what costs much is set up once. By marks it can't be: pytest 9 hides them."""
    return TogetherScheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the servers of a failed test logged."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        for value in item.funcargs.values():
            for used in _servers_of(value):
                if isinstance(used, Server):
                    report.sections.append((f"log of {used.url}", used.log_tail()))
    return report


def _servers_of(value: object) -> list[object]:
    if isinstance(value, ServerFactory):
        return [*value.servers]
    return [*value.replicas] if isinstance(value, Fleet) else [value]
