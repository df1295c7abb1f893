"""Servers that keep their facts in PostgreSQL: one with its blobs in a folder, and three with theirs in a bucket."""

import os
from pathlib import Path

from bench.servers import Server, Stowage, find_program
from tests.support.postgresql import Cluster
from tests.support.s3 import S3Server, server_settings

_REPLICAS = 3
_NGINX = """{user}daemon off;
worker_processes auto;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream replicas {{
    {servers}
    keepalive 64;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port};
    keepalive_requests 1000000000;
    client_max_body_size 0;
    location / {{
      proxy_pass http://replicas;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_request_buffering off;
      proxy_buffering off;
    }}
  }}
}}
"""


def new_cluster() -> Cluster:
    """Return a cluster with PostgreSQL's own defaults, where those for tests are others. It is not started."""
    return Cluster(shared_buffers="128MB", autovacuum="on", deadlock_timeout="1s", max_connections="100")


class StowageOnPostgresql(Stowage):
    """Stowage with its blobs in a folder, or in the bucket of a store, below `prefix`."""

    def __init__(self, url: str, folder: Path, store: S3Server | None = None, prefix: str = "") -> None:
        super().__init__(folder)
        self._settings = {"STOWAGE_DATABASE__URL": url}
        if store is not None:
            self._settings |= server_settings(store.url, prefix=prefix)

    def environment(self) -> dict[str, str]:
        """Return the environment, with the settings of database and bucket."""
        return super().environment() | self._settings


class Replicas(Server):
    """Three of them on one database and one bucket, behind nginx; CPU time and memory are those of all."""

    name = Stowage.name
    ready_path = "/v2/"

    def __init__(self, cluster: Cluster, store: S3Server, folder: Path) -> None:
        super().__init__(folder)
        url, prefix = cluster.create(empty=True), f"{folder.name}-replicas"
        self._replicas = [
            StowageOnPostgresql(url, folder / f"replica{number}", store, prefix) for number in range(_REPLICAS)
        ]

    @classmethod
    def version(cls) -> str:
        """Return the version of this checkout."""
        return Stowage.version()

    def command(self) -> list[str]:
        """Return the command line of nginx. Raises MissingPeer."""
        config = self.folder / "nginx.conf"
        config.write_text(
            _NGINX.format(
                # Else root's workers would be those of another user, who does not get into this folder.
                user="user root;\n" if os.geteuid() == 0 else "",
                folder=self.folder,
                servers=" ".join(f"server 127.0.0.1:{one.port};" for one in self._replicas),
                port=self.port,
            )
        )
        return [find_program("nginx"), "-e", "stderr", "-p", str(self.folder), "-c", str(config)]

    def start(self) -> None:
        """Start all, and wait until they are ready. Raises MissingPeer, ServerFailed."""
        for one in self._replicas:
            one.start()
        super().start()

    def stop(self) -> None:
        """End all."""
        super().stop()
        for one in self._replicas:
            one.stop()

    def cpu_seconds(self) -> float:
        """Return the CPU time of all so far."""
        return super().cpu_seconds() + sum(one.cpu_seconds() for one in self._replicas)

    def peaks_mib(self) -> dict[int, float]:
        """Return the greatest resident size so far of each process of all."""
        peaks = super().peaks_mib()
        for one in self._replicas:
            peaks |= one.peaks_mib()
        return peaks
