"""What is still on the disk after jobs had the time to clean up."""

import os
import time

from registry.jobs import orphans, stale_uploads
from tests.support.served import eventually
from tests.support.server import Server

_LONG_S = 30 * 86400
_JOBS = {orphans.NAME, stale_uploads.NAME}


def leftovers(server: Server) -> list[str]:
    """Let a month pass, so that all upload sessions end and jobs clean up; return a line for what is left for nothing.

    The server is restarted.
    """
    server.stop()
    _age(server)
    server.start()
    storage = server.data / "storage"
    eventually(lambda: {name for (name,) in server.sql("SELECT name FROM jobs WHERE due_at > 0")} >= _JOBS, 60)
    left = [f"{file.name}: an upload without a session" for file in (storage / "uploads").iterdir()]
    left += [
        f"{upload}: a session that nobody goes on with" for (upload,) in server.sql("SELECT id FROM upload_sessions")
    ]
    rows = {key: int(size) for key, size in server.sql("SELECT key, size FROM blobs")}
    found = (file for file in (storage / "blobs").rglob("*") if not file.is_dir())
    files = {str(file.relative_to(storage)): file.stat().st_size for file in found}
    left += [f"{name}: an object without a row" for name in files.keys() - rows.keys()]
    left += [f"{name}: a row without an object" for name in rows.keys() - files.keys()]
    both = files.keys() & rows.keys()
    return left + [f"{name}: {files[name]} bytes, not {rows[name]}" for name in both if files[name] != rows[name]]


def _age(server: Server) -> None:
    server.sql(f"UPDATE upload_sessions SET updated_at = updated_at - {_LONG_S * 1_000_000}")
    server.sql("UPDATE jobs SET due_at = 0, lease_until = 0")
    long_ago = time.time() - _LONG_S
    for file in (server.data / "storage").rglob("*"):
        if file.is_file():
            os.utime(file, (long_ago, long_ago))
