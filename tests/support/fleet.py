"""Replicas as they are deployed: on one PostgreSQL database and one bucket, each with its own folder, behind nginx."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from tests.support import postgresql, s3
from tests.support.balancer import REPLICAS, Balancer
from tests.support.postgresql import Cluster
from tests.support.s3 import S3Server
from tests.support.server import TEST_DATABASE, TEST_STORAGE, Server, new_client

BACKENDS = ("fleet",) if {TEST_DATABASE, TEST_STORAGE} & os.environ.keys() else ("single", "fleet")
"""What tests of several servers run on: a file of SQLite and a folder, or PostgreSQL and S3. In a run that is on the
latter as a whole there is no need for the former."""


def shared_backend(
    name: str, *, cluster: Cluster | None = None, store: S3Server | None = None, prefix: str | None = None
) -> dict[str, str]:
    """Settings of servers that share a new database and storage.

    Args:
        name: one of BACKENDS. `single`: the servers have to be given the same `--data`.
        cluster: where the database is made; on the server that all tests share by default.
        store: where the bucket is, likewise.
        prefix: of all names in the bucket; that of the database by default.
    """
    if name == "single":
        return {}
    cluster, store = cluster or postgresql.shared_cluster(), store or s3.shared_s3()
    url = cluster.create()
    return {"STOWAGE_DATABASE__URL": url, **s3.server_settings(store.url, prefix or postgresql.name_of(url))}


class Fleet:
    """Three replicas of one worker each, and nginx before them. A context manager that starts and ends all.

    Args:
        folder: where their folders go.
        settings: environment variables, the same for each; without a database or a storage, new ones.

    Attributes:
        replicas: the servers; each may be killed, and started again.
        front: nginx.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        own = settings or {}
        backend = {} if "STOWAGE_DATABASE__URL" in own else shared_backend("fleet")
        self.settings = {"STOWAGE_HTTP__TRUSTED_PROXIES": "127.0.0.1", **backend, **own}
        self.replicas = [Server(folder / name, self.settings, ("--workers", "1")) for name in REPLICAS]
        self.front = Balancer(folder / "nginx", [replica.port for replica in self.replicas])
        self._running = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for replica in self.replicas:
                stack.callback(replica.stop)
            with ThreadPoolExecutor(len(self.replicas)) as pool:
                list(pool.map(lambda replica: replica.start(), self.replicas))
            stack.enter_context(self.front)
            self._running = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._running.close()

    @property
    def address(self) -> str:
        """HOST:PORT of nginx, as image references begin."""
        return f"127.0.0.1:{self.front.port}"

    def client(self) -> httpx.Client:
        """A client that goes through nginx."""
        return httpx.Client(base_url=self.front.url, timeout=120, trust_env=False)

    def clients(self) -> list[httpx.Client]:
        """A client of each replica."""
        return [new_client(replica) for replica in self.replicas]
