"""The servers that are measured: each a process of its own, with its data in a folder of its own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_PEER_CONFIG = """version: 0.1
storage:
  filesystem: {{rootdirectory: {folder}}}
  delete: {{enabled: true}}
http:
  addr: 127.0.0.1:{port}
"""


class MissingPeer(Exception):
    """A program that is to be measured is not installed."""


class Server(ABC):
    """A registry on a free port of loopback, with default settings; its log goes to a file."""

    name: str

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command line. Raises MissingPeer."""

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = self.command()
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise MissingPeer(f"{self.name} does not listen: {(self.folder / 'log').read_text(errors='replace')[-500:]}")

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(40)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def cpu_seconds(self) -> float:
        """Return the CPU time used so far, user and system."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    def peak_mib(self) -> float:
        """Return the greatest resident size so far."""
        for line in Path(f"/proc/{self._pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        return 0.0

    @property
    def _pid(self) -> int:
        assert self._process is not None
        return self._process.pid


class Stowage(Server):
    """This project, as `stowage serve` runs it."""

    name = "stowage"

    def command(self) -> list[str]:
        """Return the command line."""
        return [
            sys.executable,
            "-m",
            "registry",
            "serve",
            "--data",
            str(self.folder / "data"),
            "--port",
            str(self.port),
        ]


class Distribution(Server):
    """CNCF distribution v3 on a folder."""

    name = "distribution"
    program = "registry"

    def command(self) -> list[str]:
        """Return the command line. Raises MissingPeer."""
        config = self.folder / "config.yml"
        config.write_text(_PEER_CONFIG.format(folder=self.folder / "data", port=self.port))
        return [find_program(self.program), "serve", str(config)]


class DockerRegistry(Distribution):
    """Debian's docker-registry (distribution v2) on a folder."""

    name = "docker-registry"
    program = "docker-registry"


PEERS: dict[str, type[Server]] = {"distribution": Distribution, "docker-registry": DockerRegistry}


def find_program(name: str) -> str:
    """Return a program's path: installed by `make bench`, or on PATH. Raises MissingPeer."""
    tools = Path(os.environ.get("STOWAGE_TOOLS", Path(__file__).parents[1] / ".tools"))
    found = shutil.which(name, path=f"{tools / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        raise MissingPeer(f"{name} is missing: `make bench` installs it, or choose another with --peer")
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
