"""TLS served by Stowage itself, beside nginx in front of it."""

import os
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from bench.comparison import compare
from bench.report import Pair, figures, header, row
from bench.scenarios import BlobGet4KiB, LargePull, ManifestGet, Scenario
from bench.sections import Figures, Section, Setting
from bench.servers import Server, Stowage, find_program

# What the manual of a registry behind nginx asks for: bodies of any size, passed on as they come, over connections that
# stay. As many requests on a connection as the load generator likes, on both sides. The log is as Debian has it, on.
_NGINX = """daemon off;
{user}worker_processes auto;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/temporary;
  proxy_temp_path {folder}/temporary;
  fastcgi_temp_path {folder}/temporary;
  uwsgi_temp_path {folder}/temporary;
  scgi_temp_path {folder}/temporary;
  upstream stowage {{
    server 127.0.0.1:{upstream};
    keepalive 64;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} ssl;
    server_name localhost;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.2 TLSv1.3;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    location / {{
      proxy_pass http://stowage;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_buffering off;
      proxy_request_buffering off;
    }}
  }}
}}
"""


class _Certificate:
    """A certificate for localhost and its key, made in a folder with the openssl program."""

    def __init__(self, folder: Path) -> None:
        self.certificate = folder / "certificate.pem"
        self.key = folder / "key.pem"
        command = [find_program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        command += ["-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
        command += ["-keyout", str(self.key), "-out", str(self.certificate)]
        subprocess.run(command, check=True, capture_output=True)

    def client_context(self) -> ssl.SSLContext:
        """Return what clients connect with: they trust this certificate alone."""
        return ssl.create_default_context(cafile=self.certificate)


class StowageTls(Stowage):
    """Stowage with a certificate of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._files = _Certificate(folder)
        self.tls = self._files.client_context()

    def environment(self) -> dict[str, str]:
        """Return the environment, with the settings that turn TLS on."""
        files = {"CERTIFICATE": self._files.certificate, "KEY": self._files.key}
        return super().environment() | {f"STOWAGE_HTTP__TLS__{name}": str(file) for name, file in files.items()}


class BehindNginx(Server):
    """nginx, which does the TLS, with Stowage behind it; CPU time and memory are those of both."""

    name = "nginx"
    ready_path = "/readyz"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._files = _Certificate(folder)
        self.tls = self._files.client_context()
        self._behind = Stowage(folder / "stowage")

    @classmethod
    def version(cls) -> str:
        """Return what the program says. Raises MissingPeer."""
        said = subprocess.run([find_program("nginx"), "-v"], capture_output=True, text=True, check=True)
        return said.stderr.strip().rpartition("/")[2]

    def command(self) -> list[str]:
        """Return the command line of nginx. Raises MissingPeer."""
        config = self.folder / "nginx.conf"
        config.write_text(
            _NGINX.format(
                # Else root's workers would be those of another user, who does not get into this folder.
                user="user root;\n" if os.geteuid() == 0 else "",
                folder=self.folder,
                upstream=self._behind.port,
                port=self.port,
                certificate=self._files.certificate,
                key=self._files.key,
            )
        )
        return [find_program("nginx"), "-e", "stderr", "-p", str(self.folder), "-c", str(config)]

    def start(self) -> None:
        """Start both, and wait until they are ready. Raises MissingPeer, ServerFailed."""
        self._behind.start()
        super().start()

    def stop(self) -> None:
        """End both."""
        super().stop()
        self._behind.stop()

    def cpu_seconds(self) -> float:
        """Return the CPU time of both so far."""
        return super().cpu_seconds() + self._behind.cpu_seconds()

    def peaks_mib(self) -> dict[int, float]:
        """Return the greatest resident size so far of each process of both."""
        return super().peaks_mib() | self._behind.peaks_mib()


class _Manifest(ManifestGet):
    """A manifest by its tag."""

    name = "TLS: manifest"


class _Blob4KiB(BlobGet4KiB):
    """A small blob."""

    name = "TLS: 4 KiB"


class _Pull(LargePull):
    """A large blob."""

    name = "TLS: 512 MiB"
    rounds = 3


class Encryption(Section):
    """GETs over TLS 1.3, on connections that stay."""

    key = "tls"
    scenarios: ClassVar[tuple[type[Scenario], ...]] = (_Manifest, _Blob4KiB, _Pull)
    names = tuple(one.name for one in scenarios)

    def programs(self, peers: Sequence[type[Server]]) -> Sequence[type[Server]]:
        """Return Stowage and what has nginx in front."""
        return [StowageTls, BehindNginx]

    def measure(self, chosen: Sequence[str], setting: Setting) -> list[Figures]:
        """Measure, print and return the figures."""
        title = (
            "TLS by Stowage, beside nginx in front of Stowage (CPU and RSS of both); above 1 Stowage alone is faster"
        )
        print(header(title, "Stowage", "nginx"), flush=True)
        return [self._measure(one, setting) for one in self.scenarios if one.name in chosen]

    def _measure(self, scenario: type[Scenario], setting: Setting) -> Figures:
        kinds = self.programs(())
        results = compare(scenario, {kind.name: kind for kind in kinds}, setting)
        ours, theirs = (results[kind.name] for kind in kinds)
        pair = Pair(scenario.name.partition(": ")[2], ours, theirs)
        print(row(scenario, pair), flush=True)
        return figures(scenario.name, scenario, results, [pair])
