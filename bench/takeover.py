"""How fast the storage of another registry is taken over in place, and how fast a second run finds nothing new."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.contents import CONFIG, LAYER, MANIFEST
from bench.sections import Figures, Section, Setting
from bench.servers import Server, Stowage
from registry.db.migrate import migrate_sqlite

_PER_REPOSITORY = 10
_LAYER = b"\0" * 1024


class TakeOver(Section):
    """`stowage import` of images in repositories of ten, each with a tag, a config and a layer of its own.

    Args:
        images: how many.
    """

    key = "takeover"

    def __init__(self, images: int = 10_000) -> None:
        self._images = images
        self.names = (f"import of {images:,} images",)

    def programs(self, peers: Sequence[type[Server]]) -> Sequence[type[Server]]:
        """Return Stowage: the other registry's storage is written here."""
        return [Stowage]

    def measure(self, chosen: Sequence[str], setting: Setting) -> list[Figures]:
        """Write the storage, measure, print and return the figures."""
        print("\nTaking over the storage of another registry in place")
        print(f"{'':56}{'s':>8}{'images/s':>10}{'peak MiB':>10}", flush=True)
        folder = setting.folder / "takeover"
        try:
            write_storage(folder / "there", self._images)
            data = folder / "data"
            migrate_sqlite(data / "stowage.sqlite3")
            first = self._run(self.names[0], folder / "there", data, expected=self._images)
            again = self._run(f"{self.names[0]}, a second run", folder / "there", data, expected=0)
            return [first, again]
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _run(self, name: str, there: Path, data: Path, *, expected: int) -> Figures:
        command = [sys.executable, "-m", "registry", "import", "--from", str(there), "--data", str(data), "--json"]
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        report = json.loads(process.stdout.read())
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stdout.close()
        seconds = time.perf_counter() - began
        assert (process.returncode, report["tags"]) == (0, expected), report
        rate, peak = self._images / seconds, usage.ru_maxrss / 1024
        print(f"{name:56}{seconds:>8.1f}{rate:>10,.0f}{peak:>10,.0f}", flush=True)
        return {"name": name, "images": self._images, "seconds": seconds, "peak_mib": peak}


def write_storage(root: Path, images: int) -> None:
    """Write what CNCF distribution would have stored if so many images had been pushed to it."""
    base = root / "docker/registry/v2"
    for number in range(images):
        repository = base / f"repositories/team{number // 1000}/app{number // _PER_REPOSITORY}"
        config, layer = json.dumps({"number": number}).encode(), _LAYER + str(number).encode()
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {"mediaType": CONFIG, "digest": f"sha256:{_hash(config)}", "size": len(config)},
                "layers": [{"mediaType": LAYER, "digest": f"sha256:{_hash(layer)}", "size": len(layer)}],
            }
        ).encode()
        for content in (config, layer, manifest):
            encoded = _hash(content)
            _write(base / f"blobs/sha256/{encoded[:2]}/{encoded}/data", content)
        for blob in (config, layer):
            _link(repository / "_layers", blob)
        _link(repository / "_manifests/revisions", manifest)
        tag = repository / f"_manifests/tags/v{number % _PER_REPOSITORY}"
        _link(tag / "index", manifest)
        _write(tag / "current/link", f"sha256:{_hash(manifest)}".encode())


def _link(folder: Path, content: bytes) -> None:
    encoded = _hash(content)
    _write(folder / f"sha256/{encoded}/link", f"sha256:{encoded}".encode())


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
