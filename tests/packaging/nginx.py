"""A real nginx with the configuration that the project ships, on ports and with a certificate of the test's."""

import os
import re
import resource
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.clients.tools import ToolError, find_tool
from tests.support.certificates import Certificate
from tests.support.ports import free_port
from tests.support.server import ROOT

CONFIGURATION = ROOT / "deploy" / "nginx" / "stowage.conf"
LARGEST_FILE = 1024 * 1024
"""Bytes that nginx may write to a file: a body that it put on its disk would end it."""

_AROUND = """\
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 256; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxied;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/stowage.conf;
}}
"""


class Nginx:
    """nginx in front of a server on a port of loopback. A context manager that starts and ends it.

    Args:
        folder: where its files go.
        behind: the server's port.
        certificate: what it shows.
        changes: texts of the shipped configuration, each there once, and what is to stand in their places.
    """

    def __init__(
        self, folder: Path, behind: int, certificate: Certificate, changes: dict[str, str] | None = None
    ) -> None:
        folder.mkdir(parents=True)
        self.port = free_port()
        self.plain_port = free_port()
        self._folder = folder
        self._program = find_tool("nginx")
        self._process: subprocess.Popen[bytes] | None = None
        own = {
            "server 127.0.0.1:5000;": f"server 127.0.0.1:{behind};",
            "listen 80;": f"listen 127.0.0.1:{self.plain_port};",
            "listen [::]:80;": "",
            "listen 443 ssl http2;": f"listen 127.0.0.1:{self.port} {self._tls()}",
            "listen [::]:443 ssl http2;": "",
            "/etc/nginx/tls/registry.example.org.pem;": f"{certificate.certificate};",
            "/etc/nginx/tls/registry.example.org.key;": f"{certificate.key};",
        }
        (folder / "stowage.conf").write_text(_changed(CONFIGURATION.read_text(), own | (changes or {})))
        user = "user root;" if os.geteuid() == 0 else ""  # or its workers could not read this folder
        (folder / "nginx.conf").write_text(_AROUND.format(folder=folder, user=user))

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, preexec_fn=_write_no_large_files)
        deadline = time.monotonic() + 120
        while not _answers(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._end()
                raise ToolError(f"nginx did not start\n{self.errors()}")
            time.sleep(0.02)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    @property
    def address(self) -> str:
        """HOST:PORT for TLS."""
        return f"127.0.0.1:{self.port}"

    def check(self) -> str:
        """What `nginx -t` says of the configuration."""
        done = subprocess.run([*self._command(), "-t"], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def errors(self) -> str:
        """What it logged of warnings and worse."""
        log = self._folder / "error.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def requests(self) -> list[str]:
        """The request lines that it logged."""
        return re.findall(r'"([A-Z]+ \S+ HTTP/[0-9.]+)"', (self._folder / "access.log").read_text(errors="replace"))

    def _tls(self) -> str:
        """How TLS and HTTP/2 are told to this nginx: the file's comment says what newer ones want instead."""
        said = subprocess.run([self._program, "-v"], capture_output=True, text=True, check=True).stderr
        version = tuple(map(int, re.findall(r"\d+", said)[:3]))
        return "ssl http2;" if version < (1, 25, 1) else "ssl; http2 on;"

    def _command(self) -> list[str]:
        return [str(self._program), "-p", str(self._folder), "-c", str(self._folder / "nginx.conf")]

    def _end(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(60)
        finally:
            self._process.kill()
            self._process.wait()
        self._process = None


def _changed(text: str, changes: dict[str, str]) -> str:
    for line, instead in changes.items():
        assert text.count(line) == 1, f"{CONFIGURATION} has not once {line!r}"
        text = text.replace(line, instead)
    return text


def _write_no_large_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
