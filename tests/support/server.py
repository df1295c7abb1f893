"""A Stowage server as an operator runs it: a process of its own, a data folder, a port on loopback."""

import functools
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from tests.support import postgresql, s3
from tests.support.databases import new_sqlite, sql_on_file, sql_on_server
from tests.support.nursery import Forked, nursery
from tests.support.ports import free_port
from tests.support.stored import InBucket, InFolder, Stored
from tests.support.workers import group_is_gone

ROOT = Path(__file__).resolve().parents[2]
"""The project's root: `python -m registry` finds the code from here, installed or not."""

Connect = Callable[["Server"], httpx.Client]

_FROM_THE_BEGINNING = frozenset({"COVERAGE_PROCESS_CONFIG", "LD_PRELOAD"})
"""Variables that must be there when a process begins: coverage that is measured, and a clock that is wrong."""
TEST_DATABASE = "STOWAGE_TEST_DATABASE"
TEST_STORAGE = "STOWAGE_TEST_STORAGE"
_BACKEND = ("STOWAGE_DATABASE__URL", "STOWAGE_STORAGE__DRIVER", "STOWAGE_STORAGE__S3__")
_LOG_LINES_SHOWN = 80


class ServerError(Exception):
    """The server did not come up, or did not go. The message ends with what it logged last."""


class Server:
    """One server on one data folder. It can be stopped or killed, and started again on the same data and port.

    Args:
        folder: where the data (`data/`) and the log (`server.log`) go; made when missing.
        settings: environment variables beside the present ones, e.g. `{"STOWAGE_MANIFESTS__SPARSE": "allow"}`.
        arguments: more arguments for `stowage serve`.
        wrapper: a command that is put before the server's, and leads to it in the same process.

    The environment is handed on whole, so that coverage measures the server too. With STOWAGE_TEST_DATABASE=postgresql
    each data folder has a database of its own there, with STOWAGE_TEST_STORAGE=s3 a prefix of its own in a bucket,
    unless `settings` name another.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str] | None = None,
        arguments: tuple[str, ...] = (),
        *,
        wrapper: tuple[str, ...] = (),
    ) -> None:
        self.data = folder / "data"
        self.log_file = folder / "server.log"
        self.host = "127.0.0.1"
        self.port = free_port()
        self._settings = dict(settings or {})
        self._arguments = arguments
        self._wrapper = wrapper
        self._process: subprocess.Popen[bytes] | Forked | None = None
        self._log_begins = 0
        self.data.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """HOST:PORT, as image references begin."""
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The server's address with scheme, no slash at the end."""
        scheme = "https" if "STOWAGE_HTTP__TLS__CERTIFICATE" in self._settings else "http"
        return f"{scheme}://{self.address}"

    @property
    def pid(self) -> int:
        """Id of the running process.

        Raises:
            ServerError: the server was not started, or was stopped.
        """
        if self._process is None:
            raise ServerError("the server is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self, *, ready_within: float = 120.0) -> None:
        """Start the process and wait until it says that it listens, and GET /readyz answers 200.

        Raises:
            ServerError: it ended first, or was not ready after `ready_within` seconds.
        """
        if self.running:
            raise ServerError("the server is running already")
        self._settings = {**self.backend(), **self._settings}
        self._spare_migrations()
        arguments = ["serve", "--data", str(self.data), "--host", self.host, "--port", str(self.port), *self._arguments]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **self._settings}
        with self.log_file.open("ab") as log:
            self._log_begins = log.tell()
            if self._wrapper or not _FROM_THE_BEGINNING.isdisjoint(environment):
                self._process = subprocess.Popen(
                    [*self._wrapper, sys.executable, "-m", "registry", *arguments],
                    cwd=ROOT,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # so that kill() reaches workers too
                )
            else:
                self._process = nursery().start(arguments, environment, log.fileno())
        try:
            self._wait_until_ready(ready_within)
        except BaseException:
            self.kill()
            raise

    def stop(self, *, within: float = 120.0) -> int | None:
        """Ask the server to end (SIGTERM) and wait for it. Nothing happens if it does not run.

        Returns:
            The exit status as `subprocess` gives it, None if the server did not run.

        Raises:
            ServerError: it still ran after `within` seconds, and was killed.
        """
        if self._process is None:
            return None
        self._process.terminate()
        try:
            status = self._process.wait(within)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerError(f"the server did not end {within:.0f} s after SIGTERM\n{self.log_tail()}") from None
        self._process = None
        return status

    def kill(self) -> None:
        """End the server and its workers at once (SIGKILL), as a crash would."""
        if self._process is None:
            return
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it ended by itself
        self._process.wait()
        while not group_is_gone(self._process.pid):
            time.sleep(0.005)  # one that waits for a disk has the port until it is done
        self._process = None

    def restart(self) -> None:
        """Stop the server if it runs, and start it on the same data and port."""
        self.stop()
        self.start()

    def backend(self) -> dict[str, str]:
        """Where its database and its blobs are: the settings, for other programs that work on them; none by default."""
        backend = _backend_of(self._data_in_use())
        mine = {name: value for name, value in self._settings.items() if name.startswith(_BACKEND)}
        return {**backend, **mine}

    @property
    def stored(self) -> Stored:
        """What lies in its storage."""
        settings = self.backend()
        if settings.get("STOWAGE_STORAGE__DRIVER") == "s3":
            return InBucket(s3.shared_s3(), settings["STOWAGE_STORAGE__S3__PREFIX"])
        return InFolder(self._data_in_use() / "storage")

    def object_of(self, digest: str) -> Path:
        """The file that has a blob's bytes: in the storage's folder, or in that of the S3 server."""
        ((key,),) = self.sql(f"SELECT key FROM blobs WHERE digest = '{digest}'")
        return self.stored.path_of(key)

    def sql(self, text: str) -> list[tuple[str, ...]]:
        """Run SQL on the server's database, and return the rows that it gives, as text; "" is NULL."""
        url = self.backend().get("STOWAGE_DATABASE__URL", "")
        if url.startswith("postgresql"):
            return sql_on_server(postgresql.shared_cluster(), url, text)
        return sql_on_file(self._data_in_use() / "stowage.sqlite3", text)

    def log_tail(self, lines: int = _LOG_LINES_SHOWN) -> str:
        """The last lines that the server wrote, on stdout and stderr, without those of the access log."""
        if not self.log_file.exists():
            return "(no log)"
        written = self.log_file.read_text(errors="replace").splitlines()
        return "\n".join([line for line in written if "stowage.access" not in line][-lines:])

    def _spare_migrations(self) -> None:
        """Give a new registry a database that is migrated already, as on PostgreSQL: to migrate is half of its start.

        `tests/cli/test_serve.py` and `tests/packaging` start some on nothing, as users do.
        """
        data = self._data_in_use()
        begins_here = not self._wrapper and _FROM_THE_BEGINNING.isdisjoint(self._settings)
        if begins_here and "STOWAGE_DATABASE__URL" not in self._settings and data.is_dir() and not any(data.iterdir()):
            new_sqlite(data / "stowage.sqlite3")

    def _data_in_use(self) -> Path:
        given = [Path(folder) for option, folder in pairwise(self._arguments) if option == "--data"]
        return given[-1] if given else self.data

    def _wait_until_ready(self, seconds: float) -> None:
        process = self._process
        deadline = time.monotonic() + seconds
        with new_client(self) as client:
            while process is not None and time.monotonic() < deadline:
                status = process.poll()
                if status is not None:
                    self._process = None
                    raise ServerError(f"the server ended with status {status} before it was ready\n{self.log_tail()}")
                try:
                    # Not every worker may be ready when the first one answers.
                    if self._has_greeted() and client.get("/readyz", timeout=10).status_code == httpx.codes.OK:
                        return
                except httpx.TransportError:
                    pass  # not listening yet
                time.sleep(0.05)
        raise ServerError(f"GET /readyz did not answer 200 within {seconds:.0f} s\n{self.log_tail()}")

    def _has_greeted(self) -> bool:
        with self.log_file.open("rb") as log:
            log.seek(self._log_begins)
            return b"listening on " in log.read()


class ServerFactory:
    """Starts servers that each have a data folder of their own, and ends them all.

    Args:
        folder: where the servers' folders go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.servers: list[Server] = []

    def __call__(self, *arguments: str, **settings: str) -> Server:
        """Start a server.

        Args:
            arguments: more arguments for `stowage serve`.
            settings: environment variables, e.g. `STOWAGE_MANIFESTS__SPARSE="allow"`.
        """
        server = Server(self._folder / f"server-{len(self.servers)}", settings, arguments)
        self.servers.append(server)
        server.start()
        return server

    def stop(self) -> None:
        """Stop every server that still runs, even if stopping one of them fails."""
        with ExitStack() as stack:
            for server in self.servers:
                stack.callback(server.stop)


@functools.cache
def _backend_of(data: Path) -> dict[str, str]:
    """The settings of the backend that the environment chooses for tests: the same for all servers on one folder."""
    settings: dict[str, str] = {}
    if os.environ.get(TEST_DATABASE) == "postgresql":
        settings["STOWAGE_DATABASE__URL"] = postgresql.shared_cluster().create()
    if os.environ.get(TEST_STORAGE) == "s3":
        settings |= s3.server_settings(s3.shared_s3().url, prefix=f"servers/{uuid.uuid4().hex[:12]}")
    return settings


def new_client(server: Server) -> httpx.Client:
    """A client of this server, which takes any certificate: reading the system's own would take long."""
    return httpx.Client(base_url=server.url, timeout=120, trust_env=False, verify=False)  # noqa: S501 - loopback
