"""A PostgreSQL server for tests: Debian's, as a cluster of its own in a temporary folder, on a free port.

`python -m tests.support.postgresql` starts one, prints the URL of an empty database and serves until it is interrupted.
"""

import atexit
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import suppress
from pathlib import Path

from registry.database_settings import DatabaseSettings
from registry.db import postgresql_migrate
from registry.db.postgresql_connection import Target
from tests.support.ports import free_port

USER = "postgres"
_TEMPLATE = "migrated"
_PROGRAMS = Path("/usr/lib/postgresql")

# These clusters have no TLS. Where asyncpg is cancelled while it asks for that, a step of its own, it leaves an error
# that nobody hears of: pytest's event loop takes it for a failure of whatever test runs then.
os.environ.setdefault("PGSSLMODE", "disable")


class Cluster:
    """A server and its databases. It can be stopped or killed, and started again on the same data and port.

    Args:
        settings: for postgresql.conf, beside a few for tests.
    """

    def __init__(self, **settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="stowage-postgresql-"))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._has_template = False
        if os.getuid() == 0:
            shutil.chown(self.folder, USER, USER)
        data = self.folder / "data"
        initdb = [program("initdb"), f"--pgdata={data}", f"--username={USER}", "--auth=trust", "--encoding=UTF8"]
        command = _as_user([*initdb, "--no-locale", "--no-sync"])
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.folder)
        chosen = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
            "fsync": "on",
            "max_connections": "200",
            "shared_buffers": "32MB",
            "autovacuum": "off",
            "deadlock_timeout": "100ms",
            **settings,
        }
        with (data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in chosen.items())
        hba = data / "pg_hba.conf"
        hba.write_text("host with_password all 127.0.0.1/32 scram-sha-256\n" + hba.read_text())
        self.log_file = self.folder / "log"

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self, within: float = 120.0) -> None:
        """Start the server and wait until it takes connections."""
        with self.log_file.open("ab") as log:
            command = _as_user([program("postgres"), "-D", str(self.folder / "data")], dies_with_us=True)
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, start_new_session=True)
        deadline = time.monotonic() + within
        ready = [program("pg_isready"), "--quiet", f"--port={self.port}", "--host=127.0.0.1"]
        while subprocess.run(ready, check=False).returncode:
            if not self.running or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start:\n{self.log_file.read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self, *, how: int = signal.SIGINT) -> None:
        """End the server: SIGINT cuts connections off, SIGQUIT is a crash of all its processes at once."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, how)
            self._process.wait(120)
            self._process = None

    def crash(self) -> None:
        """Kill every process of the server, as when the machine's memory is out."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)  # each of its processes has a session of its own
            for child in _children(self._process.pid):
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            self._process.wait(120)
            self._process = None

    def suspend(self) -> None:
        """Have every process of the server stand still, until it is resumed: whoever asks waits."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Have them go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._process is not None:
            for process in (self._process.pid, *_children(self._process.pid)):
                with suppress(ProcessLookupError):
                    os.kill(process, number)

    def remove(self) -> None:
        """Stop it and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str, *, user: str = USER, host: str | None = None) -> str:
        """Return the URL of a database."""
        return f"postgresql://{user}@{host or '127.0.0.1'}:{self.port}/{database}"

    def run(self, sql: str, database: str = "postgres") -> str:
        """Run SQL, and return the rows that it gives, a line each, with `|` between columns."""
        command = [program("psql"), "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "-v", "ON_ERROR_STOP=1"]
        done = subprocess.run(
            [*command, f"--host={self.folder}", f"--port={self.port}", f"--username={USER}", database],
            input=sql,
            capture_output=True,
            text=True,
            check=False,
        )
        output: str = done.stdout
        if done.returncode:
            raise RuntimeError(f"{sql}: {done.stderr}")
        return output.strip()

    def create(self, *, empty: bool = False) -> str:
        """Make a database with this version's schema, or an empty one, and return its URL."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        if empty:
            self.run(f"CREATE DATABASE {name}")
            return self.url(name)
        if not self._has_template:
            self.run(f"CREATE DATABASE {_TEMPLATE}")
            postgresql_migrate.migrate(target_of(self.url(_TEMPLATE)))
            self._has_template = True
        # Copied as files, not by the log: of a small database that takes a third.
        self.run(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE} STRATEGY FILE_COPY")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a database, whoever is connected to it."""
        if self.running:
            self.run(f"DROP DATABASE IF EXISTS {name_of(url)} WITH (FORCE)")


def name_of(url: str) -> str:
    """Return the name of a database."""
    return url.rpartition("/")[2].partition("?")[0]


def target_of(url: str, **settings: object) -> Target:
    """Return what the settings make of a URL."""
    return Target.of(DatabaseSettings.model_validate({"url": url, **settings}))


@functools.cache
def shared_cluster() -> Cluster:
    """Return the cluster of this process, which ends with it; or with the thread that asks first.

    It does not wait for the disk: nothing here outlives the machine, and databases are made and dropped by the hundred.
    """
    cluster = Cluster(fsync="off")
    atexit.register(cluster.remove)
    cluster.start()
    return cluster


def program(name: str) -> str:
    """Return a program of the newest PostgreSQL that is installed."""
    found = sorted(_PROGRAMS.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise RuntimeError(f"{name} is missing: scripts/install-test-tools installs PostgreSQL")
    return str(found[-1])


def _as_user(command: list[str], *, dies_with_us: bool = False) -> list[str]:
    """Return a command that is run by somebody who is not root, whom PostgreSQL refuses."""
    options = ["--pdeathsig=INT"] if dies_with_us else []
    if os.getuid() == 0:
        options += [f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
    return ["setpriv", *options, *command] if options else command


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit())
    print(shared_cluster().create(empty=True), flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
