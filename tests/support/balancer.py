"""The nginx of the compose file: a real one with the shipped configuration, before servers of a test."""

import os
import re
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from tests.clients.tools import ToolError, find_tool
from tests.deploy.composed import FOLDER
from tests.support.certificates import make_certificate
from tests.support.ports import free_port

NGINX = FOLDER / "nginx"
REPLICAS = ["stowage-1", "stowage-2", "stowage-3"]


class Balancer:
    """nginx with the shipped files, their paths, names and ports replaced by those of a test. A context manager.

    Args:
        folder: where its files go; made when missing.
        replicas: the ports of three servers on loopback.
        operations: their ports for health, where these are others.

    Attributes:
        port, tls_port: where clients reach it.
        health_port: where the compose file's health check asks.
        certificate: what it shows on `tls_port`.
    """

    def __init__(self, folder: Path, replicas: list[int], *, operations: list[int] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port, self.tls_port, self.health_port = free_port(), free_port(), free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._program = find_tool("nginx")
        said = subprocess.run([self._program, "-v"], capture_output=True, text=True, check=True).stderr
        is_old = tuple(map(int, re.findall(r"\d+", said)[:3])) < (1, 25, 1)  # says `http2 on` otherwise
        tls = {"listen 8443 ssl;": f"listen 127.0.0.1:{self.tls_port} ssl http2;", "http2 on;": ""} if is_old else {}
        self.certificate = make_certificate(folder / "tls")
        changes = {
            "/tmp/": f"{folder}/",
            "/etc/nginx/tls/certificate.pem": str(self.certificate.certificate),
            "/etc/nginx/tls/key.pem": str(self.certificate.key),
            "/etc/nginx/registry.conf": f"{folder}/registry.conf",
            "/etc/nginx/conf.d/": f"{folder}/",
            "/dev/stdout": f"{folder}/access.log",
            "error_log stderr": f"error_log {folder}/error.log",
            "listen 8080;": f"listen 127.0.0.1:{self.port};",
            "worker_processes auto;": "worker_processes 1;",
            **tls,
            "listen 8443": f"listen 127.0.0.1:{self.tls_port}",
            "listen 127.0.0.1:8081;": f"listen 127.0.0.1:{self.health_port};",
            **_upstream(5000, replicas),
            **_upstream(5001, operations or replicas),
        }
        for file in NGINX.glob("*.conf"):
            text = file.read_text()
            for what, instead in changes.items():
                text = text.replace(what, instead)
            (folder / file.name).write_text(text)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self._command(*arguments), capture_output=True, text=True, check=False)

    def __enter__(self) -> Self:
        user = "user root; " if os.geteuid() == 0 else ""  # or its workers could not read this folder
        command = self._command("-g", f"{user}daemon off;")
        with (self._folder / "said").open("ab") as said:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        deadline = time.monotonic() + 120
        while True:
            try:
                httpx.get(f"{self.url}/", trust_env=False, timeout=10)
                return self
            except httpx.TransportError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self._end()
                    raise ToolError(f"nginx did not start\n{(self._folder / 'said').read_text()}") from None
                time.sleep(0.02)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    @property
    def url(self) -> str:
        """Where it listens without TLS."""
        return f"http://127.0.0.1:{self.port}"

    def served_by(self, path: str = "") -> list[tuple[str, str]]:
        """For each request the addresses that were asked, and the statuses that they gave.

        A request may be missing for a moment after its answer has come: it is written down then.

        Args:
            path: of the requests that are meant; all of them by default.
        """
        lines = [line for line in (self._folder / "access.log").read_text().splitlines() if f" {path}" in line]
        return re.findall(r"(127\.[\d., :]+\d) ([\d, ]+)$", "\n".join(lines), re.MULTILINE)

    def _end(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(60)
            finally:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _command(self, *arguments: str) -> list[str]:
        return [str(self._program), "-p", str(self._folder), "-c", str(self._folder / "nginx.conf"), *arguments]


def _upstream(port: int, replicas: list[int]) -> dict[str, str]:
    """What stands for the replicas' addresses with a port, and what is to stand there."""
    names = zip(REPLICAS, replicas, strict=True)
    return {f"server {name}:{port} ": f"server 127.0.0.1:{other} " for name, other in names}
