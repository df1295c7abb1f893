"""PgBouncer before a database: each transaction may get another connection."""

import os
import shutil
import subprocess
import time
from types import TracebackType
from typing import Self

from tests.support.ports import free_port
from tests.support.postgresql import USER, Cluster, name_of


class PgBouncer:
    """A pooler with few connections, transaction pooling, in a folder that its user may read."""

    def __init__(self, cluster: Cluster, url: str) -> None:
        program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            raise RuntimeError("pgbouncer is missing: scripts/install-test-tools installs it")
        self.port = free_port()
        self.url = f"postgresql://{USER}@127.0.0.1:{self.port}/{name_of(url)}"
        self._log = cluster.folder / f"pgbouncer-{self.port}.log"
        file = cluster.folder / f"pgbouncer-{self.port}.ini"
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "any",
            "pool_mode": "transaction",
            "default_pool_size": 3,
            "server_round_robin": 1,
            "max_client_conn": 200,
        }
        lines = [f"[databases]\n* = host={cluster.folder} port={cluster.port} user={USER}\n[pgbouncer]"]
        file.write_text("\n".join([*lines, *(f"{name} = {value}" for name, value in settings.items()), ""]))
        self._command = [program, "-u", USER, str(file)] if os.getuid() == 0 else [program, str(file)]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        deadline = time.monotonic() + 120
        while b"process up" not in self._log.read_bytes():
            assert self._process.poll() is None and time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.02)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def log(self) -> str:
        """What it wrote."""
        return self._log.read_text()
